"""The task that brings a multi-input up to date."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from connectors._calls import is_async
from connectors._flags import Parallelization

from ._nodes import NOTHING, WHOLE, Inlet, MultiSink
from ._tasks import Job, Part, Task
from ._waves import conclude, tell_changed

if TYPE_CHECKING:
    from ._run import Run

SEQUENTIAL = Parallelization.SEQUENTIAL
_Step = list[tuple[Callable[..., Any], tuple[Any, ...]]]


class MultiTask(Task):
    """Brings a multi-input up to date: its values are set one after another.

    Args:
        pull: A direct call does it, which tells the observers itself.

    Attributes:
        changes: The ids that were changed, and their values.
    """

    sink: MultiSink

    def __init__(self, run: Run, sink: MultiSink, *, pull: bool = False) -> None:
        self.sink = sink
        self.pull = pull
        self.out: list[Job] = []
        self.changes: list[tuple[Any, Any]] = []
        self.steps: Generator[_Step, list[Any], None] | None = None
        self.results: list[Any] = []
        self.undone = 0
        super().__init__(run)
        sink._task = self

    def step(self) -> None:
        """Go on, as far as that is possible now."""
        if self.done:
            return
        if self.error is not None:
            self.end(error=self.error)
            return
        if self.state == 0:
            self.state = 1
            for inlet in list(self.sink._active):
                if inlet.announcer is not None:
                    self.run.request_cell(inlet.announcer, inlet.part, self)
        if self.missing or self.state != 1:
            return
        self.state = 2
        self.steps = self._set_all()
        self._advance(None)

    def release(self) -> None:
        """Let another task bring the sink up to date."""
        if self.sink._task is self:
            self.sink._task = None
        self.steps = None  # it leads here, and so do the jobs
        self.out = []

    def jobs(self) -> list[Job]:
        """Return what it has given out."""
        return self.out

    def completed(self, job: Job, value: Any) -> None:
        """Take the result of one step."""
        self.out = [other for other in self.out if other is not job]
        if self.state == 3:
            self._finish(changed=value)
            return
        self.results.append(value)
        self.undone -= 1
        if not self.undone:
            results, self.results = self.results, []
            self._advance(results)

    def abort(self) -> None:
        """Give up; what was done before was done."""
        self.failed()
        super().abort()

    def failed(self) -> None:
        """Take note that what was done before was done."""
        if self.changes:
            for observer in self.sink._observers:
                observer.change()

    def _advance(self, results: list[Any] | None) -> None:
        assert self.steps is not None
        try:
            step = next(self.steps) if results is None else self.steps.send(results)
        except StopIteration:
            self._ask_condition()
            return
        self.undone = len(step)
        for function, args in step:
            part = Part(self)
            part.args = args
            part.writes = True
            self.out.append(part)
            self.run.start(part, self.sink, function)

    def _ask_condition(self) -> None:
        condition, changes = self.sink._notify_condition, self.changes
        if condition is None or not changes or self.pull:
            self._finish(changed=bool(changes))
            return
        self.state = 3

        def changed(block: Any) -> bool:
            return any(condition(block, data_id, value) for data_id, value in changes)

        part = Part(self)
        self.out.append(part)
        self.run.start(part, self.sink, changed, SEQUENTIAL)

    def _finish(self, *, changed: bool) -> None:
        sink = self.sink
        if self.pull:
            pass
        elif changed:
            tell_changed(sink)
        else:
            conclude(sink._observers, sink._ref, changed=False, pending=bool(sink._active))
        self.end(self.changes)

    def _set_all(self) -> Generator[_Step, list[Any], None]:
        """Give out the calls that set what is pending, in the order of connections."""
        sink = self.sink
        for inlet in sorted(sink._active, key=lambda inlet: inlet.position):
            value = inlet.value
            if value is NOTHING:
                continue
            if inlet.part is WHOLE:
                gone = [key for key in inlet.ids if key not in value]
                if gone:
                    remove = tolerant(sink._remove_method())
                    yield [(remove, (inlet.ids[key],)) for key in gone]
                for key in gone:
                    self.changes.append((inlet.ids.pop(key), None))
                for key, item in value.items():
                    data_id = yield from self._set(inlet, inlet.ids.get(key, NOTHING), key, item)
                    inlet.ids[key] = data_id
            else:
                inlet.data_id = yield from self._set(inlet, inlet.data_id, inlet.key, value)
            sink.done(inlet, value)

    def _set(
        self, inlet: Inlet, data_id: Any, key: Any, value: Any
    ) -> Generator[_Step, list[Any], Any]:
        """Give out the calls that set *value*, and return the id under which it is stored."""
        sink = self.sink
        if sink._replace is not None and not data_id is key is NOTHING:
            known = key if data_id is NOTHING else data_id
            (data_id,) = yield [(sink._replace, (known, value))]
        else:
            if data_id is not NOTHING:
                yield [(tolerant(sink._remove_method()), (data_id,))]
                if inlet.part is WHOLE:
                    inlet.ids.pop(key, None)
                else:
                    inlet.data_id = NOTHING
            (data_id,) = yield [(sink._method, (value,))]
        self.changes.append((data_id, value))
        return data_id


def tolerant(remove: Callable[..., Any]) -> Callable[..., Any]:
    """Return *remove* so that it does nothing for an id that is not stored."""

    async def remove_if_stored_async(block: Any, data_id: Any) -> Any:
        with contextlib.suppress(LookupError):
            return await remove(block, data_id)

    def remove_if_stored(block: Any, data_id: Any) -> Any:
        with contextlib.suppress(LookupError):
            return remove(block, data_id)

    return remove_if_stored_async if is_async(remove) else remove_if_stored
