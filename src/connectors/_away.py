"""Calls on their way to another process, for engines that know nothing of calls."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from . import events, settings
from ._calls import Call
from ._capabilities import Pool
from ._envelope import Answer, context_variable, seal, unseal
from ._errors import PicklingError, WorkerCrashError
from ._flags import Parallelization
from ._flight import CallFuture

if TYPE_CHECKING:
    from ._executor import Executor

_UNSET = object()
_settings_travelled = False


class Away(CallFuture):
    """The future of a call that an engine runs in another process, for which it was sealed.

    Args:
        sent: The engine's future of `open_envelope`.
        call: The call.
        executor: The executor that gave it to the engine.
        pool: The engine.
        answered: Is given the `Answer`, before the future has what is in it.
    """

    def __init__(
        self,
        sent: Future[Any],
        call: Call,
        executor: Executor,
        pool: Pool,
        answered: Callable[[Answer], object],
    ) -> None:
        super().__init__()
        self.run = sent
        sent.add_done_callback(functools.partial(self._back, call, executor, pool, answered))

    def _back(
        self,
        call: Call,
        executor: Executor,
        pool: Pool,
        answered: Callable[[Answer], object],
        sent: Future[Any],
    ) -> None:
        self.run = None
        if sent.cancelled():
            self.give_up()
            return
        self.set_running_or_notify_cancel()
        error = sent.exception()
        if error is None:
            answer = unseal(sent.result(), call.label, executor.name)
            answered(answer)
            if answer.error is None:
                self.set_result(answer.value)
            else:
                self.set_exception(answer.error)
        elif isinstance(error, concurrent.futures.BrokenExecutor):
            executor._discard_pool(pool)
            if events.observed():
                events.emit(events.WorkerDied(executor=executor.name, pid=0, reason=str(error)))
            self.set_exception(WorkerCrashError(call.label))
        else:
            self.set_exception(error)


def declared_context(executor: Executor) -> Mapping[str, Any] | None:
    """Return the values of the context variables that *executor* declares, by address."""
    declared: Sequence[str] = getattr(executor, "context", ())
    if not declared:
        return None
    found = {}
    for address in declared:
        variable = context_variable(address)
        value = variable.get(_UNSET)
        if value is not _UNSET:
            found[address] = value
    return found


def settings_restorer() -> Callable[[], object] | None:
    """Return what makes the settings of a worker those that hold here; `None` if it has them."""
    global _settings_travelled  # noqa: PLW0603 - from then on workers have to be told of all
    snapshot = settings.snapshot()
    if snapshot is None and not _settings_travelled:
        return None
    _settings_travelled = True
    return functools.partial(settings.restore, snapshot)


def cannot_travel(call: Call, level: Parallelization) -> str | None:
    """Return why *call* cannot be sent to *level*, or `None`."""
    if level is not Parallelization.PROCESS:
        return None
    try:
        seal(call)
    except PicklingError as error:
        return f"{error.culprit} cannot be pickled ({error.reason})"
    return None
