"""`BgInvoke`, one call on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from connectors._calls import label_of
from connectors._outcome import Outcome

from . import _forks
from ._checks import check_plain
from ._crew import daemons
from ._outcomes import outcome_of, value_of


class BgInvoke:
    """Calls ``target(*args, **kwargs)`` at once, on a daemon thread that ends with the call.

    Args:
        target: A function.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Attributes:
        thread: The thread. Joining it waits for the end of the call.

    Raises:
        TypeError: *target* cannot be called, or is an ``async def``.

    Example:
        >>> saving = BgInvoke(pow, 2, exp=10)
        >>> saving.thread.join()
        >>> saving.result
        1024
    """

    thread: threading.Thread

    def __init__(self, target: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        check_plain("BgInvoke", target)
        self._label = label_of(target)
        executor, pool = daemons(1, f"BgInvoke-{self._label}")
        self._future: Future[Any] = executor.submit(target, *args, **kwargs)
        (self.thread,) = pool.threads
        executor.shutdown(wait=False)  # what was accepted still runs
        _forks.living.add(self)

    def is_running(self) -> bool:
        """Tell whether the call has not ended yet."""
        return not self._future.done()

    @property
    def result(self) -> Any:
        """What the call returned. Reading it never waits, and can be repeated.

        Raises:
            ValueError: The call has not ended.
            BgException: It failed.
        """
        if self.is_running():
            raise ValueError(
                f"BgInvoke of {self._label}: there is no result as long as it runs; wait with "
                "thread.join(), or look at is_running()"
            )
        return value_of(self.outcome, self._label)

    @property
    def outcome(self) -> Outcome:
        """How the call ended, or that it has not."""
        return outcome_of(self._future)

    def __repr__(self) -> str:
        return f"<BgInvoke of {self._label}, {self.outcome.state}>"

    def start_anew(self) -> None:
        """In a forked child: the call is the parent's."""
        _forks.disown(self._future)
