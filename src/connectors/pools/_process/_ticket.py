"""`Ticket`, a call in a worker process as its caller and its pool hold it."""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from connectors._envelope import Answer

from ._memory import Segment
from ._worker import Worker

if TYPE_CHECKING:
    from ._core import Core

_logger = logging.getLogger("connectors")
_PENDING, _RUNNING = concurrent.futures._base.PENDING, concurrent.futures._base.RUNNING
_CANCELLED = concurrent.futures._base.CANCELLED


class Ticket(concurrent.futures.Future[Any]):
    """A call in a worker process: the future that its caller holds, and what the pool needs.

    One object for both, because every object of every call is a burden for the garbage collector.

    Attributes:
        number: It is never another's.
        label: The name of the call.
        payload: The packed call, or the sizes of its parts.
        flags: How to read the payload.
        segment: Where its large parts are.
        needs: The definitions that it needs.
        timeout: Limit of one run in seconds, or `None`.
        retries: How many more times it is run if its worker dies.
        on_answer: Is given what came back.
        core: The pool's engine, until the call has ended.
        worker: Where it was sent.
        begun: The future was told that it runs.
        ended: Its outcome is decided.
        verdict: Why its worker was killed.
    """

    number: int
    flags: int = 0
    segment: Segment | None = None
    needs: AbstractSet[int] = frozenset()
    timeout: float | None = None
    retries: int = 0
    on_answer: Callable[[Answer], object] | None = None
    core: Core | None = None
    worker: Worker | None = None
    begun: bool = False
    ended: bool = False
    verdict: BaseException | None = None

    def __init__(self, label: str, payload: bytes) -> None:
        super().__init__()
        self.label = label
        self.payload = payload

    def cancel(self) -> bool:
        """Cancel the call if it has not begun, or even then if its pool has *kill_on_cancel*."""
        core = self.core
        return self.cancelled() if core is None else core.cancel(self, core.kill_on_cancel)

    def stop(self) -> bool:
        """Cancel the call also if it runs, by killing its worker; tell whether it is cancelled."""
        core = self.core
        return self.cancelled() if core is None else core.cancel(self, kill=True)

    def begin(self) -> None:
        """Tell that the call runs, unless it has ended."""
        self.begun = True
        with self._condition:
            if self._state == _PENDING:
                self._state = _RUNNING

    def settle(self, value: Any = None, error: BaseException | None = None) -> bool:
        """End with *value*, or with *error*; tell whether it had not ended before."""
        try:
            if error is None:
                self.set_result(value)
            else:
                self.set_exception(error)
        except concurrent.futures.InvalidStateError:
            return False
        return True

    def end_cancelled(self) -> bool:
        """Be cancelled, whether the call has begun or not; tell whether it had not ended."""
        with self._condition:
            if self._state not in {_PENDING, _RUNNING}:
                return False
            self._state = _CANCELLED
            self.set_running_or_notify_cancel()
            self._condition.notify_all()
        self._invoke_callbacks()
        return True

    def _invoke_callbacks(self) -> None:
        # As in the base class, but a callback that exits does not take the others along.
        exits: BaseException | None = None
        for callback in self._done_callbacks:  # type: ignore[attr-defined]
            try:
                callback(self)
            except Exception:
                _logger.exception("a callback of %s raised", self.label)
            except BaseException as error:
                exits = exits or error
        if exits is not None:
            raise exits
