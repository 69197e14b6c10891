"""`Ticket`, a call in a worker process as its caller and its pool hold it."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from connectors._envelope import Answer

from ._memory import Segment
from ._worker import Worker

if TYPE_CHECKING:
    from ._core import Core


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
        return super().cancel() if core is None else core.cancel(self, core.kill_on_cancel)

    def stop(self) -> bool:
        """Cancel the call also if it runs, by killing its worker; tell whether it is cancelled."""
        core = self.core
        return super().cancel() if core is None else core.cancel(self, kill=True)

    def end_cancelled(self) -> None:
        """Be cancelled, whether the call has begun or not."""
        with self._condition:
            self._state = concurrent.futures._base.PENDING
        super().cancel()
        self.set_running_or_notify_cancel()
