"""`Outcome`: how a task, an item or a job ended, the same in every room."""

from __future__ import annotations

import concurrent.futures
import enum
from typing import Any

import attrs

from ._errors import WorkerCrashError


class OutcomeState(enum.StrEnum):
    """Where something is between being accepted and having ended."""

    pending = "pending"
    running = "running"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"
    crashed = "crashed"
    abandoned = "abandoned"


@attrs.frozen
class Outcome:
    """How something ended, or that it has not.

    Attributes:
        state: ``pending``: accepted, not started. ``running``: started, not ended. ``done``: it
            returned. ``failed``: it raised, `SystemExit` included. ``cancelled``: it ended because
            somebody asked. ``crashed``: its process died by itself. ``abandoned``: nobody waits
            for it any more though it still runs, or it was dropped unrun at the interpreter's exit.
        id: The task's id, the item's index in the input, or the job's index.
        value: What it returned, else `None`.
        error: The exception with which it failed, crashed or was cancelled, where there is one.
        exit_code: The exit code of its process, if it had one that ended by exiting.
        signal: The number of the signal that ended its process, if one did.
    """

    state: OutcomeState = attrs.field(converter=OutcomeState)
    id: Any = None
    value: Any = None
    error: BaseException | None = None
    exit_code: int | None = None
    signal: int | None = None

    @classmethod
    def of_error(cls, error: BaseException, id: Any = None) -> Outcome:  # noqa: A002 - the field
        """Return the outcome of what ended with *error*.

        A `WorkerCrashError` is a crash, a cancellation or Ctrl-C of either world is cancelled, and
        all else is a failure.
        """
        if isinstance(error, WorkerCrashError):
            code = error.exitcode
            signal = -code if code is not None and code < 0 else None
            exit_code = code if code is not None and code >= 0 else None
            return cls(OutcomeState.crashed, id, None, error, exit_code, signal)
        if is_cancellation(error) or isinstance(error, KeyboardInterrupt):
            return cls(OutcomeState.cancelled, id, None, error)
        return cls(OutcomeState.failed, id, None, error)

    def result(self) -> Any:
        """Return the value.

        Raises:
            BaseException: `error`, if it failed.
            WorkerCrashError: Its process died.
            CancelledError: It was cancelled.
            TimeoutError: It was abandoned.
            InvalidStateError: It has not ended.
        """
        what = "it" if self.id is None else repr(self.id)
        match self.state:
            case OutcomeState.done:
                return self.value
            case OutcomeState.failed:
                assert self.error is not None
                raise self.error
            case OutcomeState.crashed:
                if isinstance(self.error, WorkerCrashError):
                    raise self.error
                code = self.exit_code if self.signal is None else -self.signal
                raise WorkerCrashError(what, code)
            case OutcomeState.cancelled:
                raise concurrent.futures.CancelledError(f"{what} was cancelled") from self.error
            case OutcomeState.abandoned:
                raise TimeoutError(f"{what} was abandoned: nobody waits for it any more")
            case _:
                raise concurrent.futures.InvalidStateError(f"{what} is {self.state}")


def is_cancellation(error: BaseException | None) -> bool:
    """Tell whether *error* is how `concurrent.futures`, asyncio or trio say cancelled."""
    # asyncio's and trio's are not imported for it: who has one of theirs has imported them.
    return isinstance(error, concurrent.futures.CancelledError) or any(
        kind.__name__ == name and kind.__module__.partition(".")[0] == world
        for kind in type(error).__mro__
        for name, world in (("CancelledError", "asyncio"), ("Cancelled", "trio"))
    )
