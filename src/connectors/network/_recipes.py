"""What a call, a connection and a disconnection do, step by step.

A recipe is a generator. It yields what has to be performed, a `Direct` call or a `Run`, is sent the
result as a value and an error, and returns its own result in the same form. `perform` and
`perform_async` cook recipes, the one in plain code and the other in an event loop, so that each is
written once.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, cast

import attrs

from connectors import _worlds
from connectors._calls import Call, is_async
from connectors._errors import NotConnectedError
from connectors._flags import Laziness

from ._drivers import drive, drive_async
from ._executors import Choice, resolved
from ._nodes import NOTHING, WHOLE, Inlet, Link, MultiSink, Sink, Source, lock
from ._pull import tolerant
from ._run import Run
from ._shipping import begin_writing, changed, end_writing
from ._tasks import Task, current_job
from ._waves import Wave, change_made, check_loop, conclude, forget, structure_changed

Result = tuple[Any, BaseException | None]
Recipe = Generator["Direct | Run", Result, Result]


@attrs.frozen(eq=False)
class Direct:
    """A call in the thread of the caller; an ``async def`` is awaited in the executor's loop."""

    function: Callable[..., Any]
    block: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    executor: Choice

    def call(self) -> Call:
        """Return it as a call for the executor."""
        return Call(self.function, self.args, self.kwargs, self.block)


def perform(recipe: Recipe) -> Any:
    """Cook *recipe* and return what it gives, or raise what it fails with."""
    result: Result | None = None
    try:
        while True:
            step = recipe.send(cast("Result", result))  # None begins a generator
            try:
                result = _performed(step), None
            except BaseException as error:
                result = None, error
            del step
    except StopIteration as stop:
        value, failure = stop.value
    result = None
    try:
        if failure is not None:
            raise failure
        return value
    finally:
        del failure  # its traceback leads to this frame


async def perform_async(recipe: Recipe) -> Any:
    """Cook *recipe* without blocking the running event loop."""
    result: Result | None = None
    try:
        while True:
            step = recipe.send(cast("Result", result))  # None begins a generator
            try:
                result = await _performed_async(step), None
            except BaseException as error:
                result = None, error
            del step
    except StopIteration as stop:
        value, failure = stop.value
    result = None
    try:
        if failure is not None:
            raise failure
        return value
    finally:
        del failure


def _performed(step: Direct | Run) -> Any:
    if isinstance(step, Run):
        drive(step)
        return step.result()
    if not is_async(step.function):
        return step.function(step.block, *step.args, **step.kwargs)
    future = resolved(step.executor).submit_call(step.call())
    try:
        return future.result()
    except concurrent.futures.CancelledError as error:
        raise asyncio.CancelledError(*error.args) from None  # as it is raised where it is awaited
    except BaseException:
        _worlds.abandon(future)
        raise


async def _performed_async(step: Direct | Run) -> Any:
    if isinstance(step, Run):
        await drive_async(step)
        return step.result()
    if not is_async(step.function):
        return step.function(step.block, *step.args, **step.kwargs)
    return await resolved(step.executor).run_call(step.call())


# Reading


def read(
    source: Source, choice: Choice, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Recipe:
    """Give what *source* computes, for *args* if there are any."""
    block = source.block()
    key, args, kwargs = source.asked(args, kwargs)
    if args or kwargs or key is NOTHING:
        run = Run(resolved(choice), [(Run.request_loose, source, args, kwargs)])
    else:
        run = Run(resolved(choice), [(Run.request_cell, source, key)])
    result = yield run
    del block  # it was needed until now
    return result


def update(sinks: Sequence[Sink], choice: Choice) -> Run:
    """Return the run that brings *sinks* up to date, all of them, before it fails."""
    wanted = [(Run.request_sink, sink) for sink in sinks]
    return Run(resolved(choice), wanted, patient=True)


def plain(
    function: Callable[..., Any], block: Any, choice: Choice, args: Any, kwargs: Any
) -> Recipe:
    """Call *function* and nothing else."""
    return (yield Direct(function, block, args, kwargs, choice))


# Setting


def change(
    block: Any,
    observers: Sequence[Source],
    choice: Choice,
    steps: Generator[Direct | Run, Result, Any],
    condition: Callable[[Any], bool] | None = None,
    finish: Callable[[], object] | None = None,
    situation: Laziness = Laziness.ON_ANNOUNCE,
) -> Recipe:
    """Change *block* as *steps* say, announced before and told afterwards to *observers*.

    Args:
        block: The block.
        observers: What depends on the change.
        choice: The executor that brings up to date what wants to be at once.
        steps: Yields like a recipe, returns a value, and raises.
        condition: Is asked about the value whether the change is to be passed on.
        finish: Is called when the change is made.
        situation: The laziness from which on an input wants to be brought up to date at once.
    """
    ticket = object()
    wave = Wave(situation)
    value, error, changed = None, None, True
    try:
        wave.from_observers(observers, ticket)
        begin_writing(ticket, block)
        try:
            value = yield from steps
        finally:
            end_writing(ticket, block)
        if condition is not None:
            changed = condition(value)
    except BaseException as failure:
        error = failure.error if isinstance(failure, _Stop) else failure
    with lock:
        if error is None and finish is not None:
            finish()
        conclude(observers, ticket, changed=changed)
        change_made()
    if error is None and wave.lazy and not _left_to_caller(wave.lazy):
        _, error = yield update(wave.lazy, choice)
    del block
    try:
        return value, error
    finally:
        del error


def _left_to_caller(sinks: Sequence[Sink]) -> bool:
    """Leave *sinks* to the read in which this change is made, if there is one.

    They may depend on the very method that makes the change.
    """
    job = current_job.get()
    task = job if isinstance(job, Task) else None if job is None else job.task
    with lock:
        if task is None or task.done or task.run.closed:
            return False
        for sink in sinks:
            task.run.request_extra(sink)
        task.run.ring()
    return True


def call(direct: Direct | Run) -> Generator[Direct | Run, Result, Any]:
    """Perform *direct* as the step of a change."""
    value, error = yield direct
    try:
        if isinstance(error, StopIteration):
            raise _Stop(error)  # in a generator it would mean something else
        if error is not None:
            raise error
        return value
    finally:
        del error


class _Stop(Exception):  # noqa: N818 - it carries one
    def __init__(self, error: StopIteration) -> None:
        self.error = error


def set_single(
    sink: Sink, choice: Choice, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Recipe:
    """Set *sink* by hand: what is pending from its connections is discarded."""
    block, condition = sink.block(), sink._notify_condition

    def finish() -> None:
        for inlet in [*sink._active, *sink._holds]:
            sink.drop(inlet)
        for observer in sink._observers:
            observer._announcers.pop(sink._ref, None)

    def passes(_: Any) -> bool:
        assert condition is not None
        return bool(condition(block, argument(sink._method, args, kwargs)))

    return change(
        block,
        sink._observers,
        choice,
        call(Direct(sink._method, block, args, kwargs, choice)),
        None if condition is None else passes,
        finish,
    )


def add(
    sink: MultiSink, choice: Choice, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Recipe:
    """Add a value to *sink* by hand, behind what is pending from its connections."""
    block, condition = sink.block(), sink._notify_condition
    changes: list[tuple[Any, Any]] = []

    def steps() -> Generator[Direct | Run, Result, Any]:
        if sink._active:
            pull = Run(resolved(choice), [(Run.pull, sink)])
            changes.extend((yield from call(pull)) or ())
        data_id = yield from call(Direct(sink._method, block, args, kwargs, choice))
        changes.append((data_id, argument(sink._method, args, kwargs)))
        return data_id

    def finish() -> None:
        if not sink._active:
            for observer in sink._observers:
                observer._announcers.pop(sink._ref, None)

    def passes(_: Any) -> bool:
        assert condition is not None
        return any(condition(block, data_id, value) for data_id, value in changes)

    return change(
        block, sink._observers, choice, steps(), None if condition is None else passes, finish
    )


@attrs.frozen(eq=False)
class Store:
    """How a multi-input stores a value under a key.

    Attributes:
        block: The block.
        add: Adds a value and returns its id.
        replace: Replaces the value with an id, or `None`.
        remove: Gives the method that removes the value with an id.
        condition: Is asked whether a change is passed on, or `None`.
    """

    block: Any
    add: Callable[..., Any]
    replace: Callable[..., Any] | None
    remove: Callable[[], Callable[..., Any]]
    condition: Callable[..., Any] | None

    def recipe(
        self,
        observers: Sequence[Source],
        choice: Choice,
        key: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Recipe:
        """Store what the arguments say under *key*; gives the block."""
        stored: list[Any] = []

        def steps() -> Generator[Direct | Run, Result, Any]:
            direct = Direct(self.add, self.block, args, kwargs, choice)
            if self.replace is not None:
                direct = Direct(self.replace, self.block, (key, *args), kwargs, choice)
            else:
                remove = tolerant(self.remove())
                yield from call(Direct(remove, self.block, (key,), {}, choice))
            stored.append((yield from call(direct)))
            return self.block

        def passes(_: Any) -> bool:
            assert self.condition is not None
            value = argument(self.add, args, kwargs)
            return bool(self.condition(self.block, stored[0], value))

        asks = self.condition is not None and observers
        return change(self.block, observers, choice, steps(), passes if asks else None)


def argument(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    index: int = 0,
) -> Any:
    """Return the argument of *function* number *index* behind the instance."""
    if len(args) > index:
        return args[index]
    if not index and not args and len(kwargs) == 1:
        return next(iter(kwargs.values()))
    names = list(inspect.signature(function).parameters)[1 + index :]
    return next((kwargs[name] for name in names if name in kwargs), None)


def invalidate(source: Source, choice: Choice) -> Recipe:
    """Drop what *source* computed, and announce that downstream."""
    wave = Wave()
    changed(source._block(), unseen=True)
    with lock:
        source.change()
        change_made()
    wave.from_source(source)
    if wave.lazy:
        return (yield update(wave.lazy, choice))
    return None, None


# Connecting


@attrs.frozen(eq=False)
class Socket:
    """One end of a connection on the side of the input: a sink, and the data id if it is fixed."""

    sink: Sink
    key: Any
    choice: Choice


def connect(  # noqa: C901 - all ends are connected, or none
    source: Source, part: Any, sockets: Iterable[Socket]
) -> Recipe:
    """Connect a part of *source* to *sockets*."""
    made: list[tuple[Socket, Link]] = []
    sockets = list(sockets)
    for socket in sockets:
        hash(socket.key)  # before anything is connected
    with lock:
        for socket in sockets:
            check_loop(source, socket.sink)
        links = source.cell(part).links
        named = [(socket, (id(socket.sink), socket.key), socket.sink.block()) for socket in sockets]
        for socket, name, block in named:
            if name not in links:
                inlet = Inlet(source, part, socket.key)
                links[name] = link = Link(inlet, socket.sink, block)
                socket.sink._inlets[inlet] = None
                made.append((socket, link))
        structure_changed()
        change_made()
    lazy = []
    try:
        for socket, link in made:
            wave = Wave(Laziness.ON_CONNECT)
            wave.from_source(source, [link])
            lazy.append((socket, wave))
    except BaseException:
        with lock:
            for socket, link in made:
                _unlink(source, part, socket.sink, link)
        raise
    errors = []
    for socket, wave in lazy:
        if wave.lazy:
            _, error = yield update(wave.lazy, socket.choice)
            if error is not None:
                errors.append(error)
    return None, _joined(errors)


def disconnect(source: Source, part: Any, sockets: Sequence[Socket]) -> Recipe:
    """Cut the connections of a part of *source* to *sockets*."""
    errors = []
    with lock:
        cuts = [(socket, link) for socket in sockets for link in _found(source, part, socket)]
    for socket, link in cuts:
        if isinstance(socket.sink, MultiSink):
            _, error = yield from _disconnect_multi(source, socket, link)
        else:
            _, error = yield from _disconnect_single(source, part, socket, link)
        if error is not None:
            errors.append(error)
    return None, _joined(errors)


def _joined(errors: list[BaseException]) -> BaseException | None:
    if len(errors) > 1:
        return BaseExceptionGroup(f"{len(errors)} connections failed", errors)
    return errors[0] if errors else None


def _found(source: Source, part: Any, socket: Socket) -> list[Link]:
    links = source.cell(part).links
    same = [link for link in links.values() if link.sink is socket.sink]
    if socket.key is not NOTHING and len(same) > 1:
        same = [link for link in same if link.inlet.key == socket.key]
    if not same:
        key = "" if socket.key is NOTHING else f"[{socket.key!r}]"
        raise NotConnectedError(source.label(), f"{socket.sink.label()}{key}")
    return same


def _unlink(source: Source, part: Any, sink: Sink, link: Link) -> None:
    source.cell(part).links.pop((id(sink), link.inlet.key), None)
    sink._inlets.pop(link.inlet, None)
    forget(sink, link.inlet)
    structure_changed()


def _disconnect_single(source: Source, part: Any, socket: Socket, link: Link) -> Recipe:
    sink = socket.sink
    if sink._active:
        _, error = yield update([sink], socket.choice)
        if error is not None:
            return None, error
    with lock:
        _unlink(source, part, sink, link)
    return None, None


def _disconnect_multi(source: Source, socket: Socket, link: Link) -> Recipe:
    sink, inlet, block = socket.sink, link.inlet, link.block
    assert isinstance(sink, MultiSink)
    condition = sink._notify_condition
    if sink._task is not None:  # it may be about to store the value that has to go
        yield Run(resolved(socket.choice), [(Run.wait_for_sink, sink)])
    ids = list(inlet.ids.values()) if inlet.part is WHOLE else [inlet.data_id]
    ids = [data_id for data_id in ids if data_id is not NOTHING]
    with lock:
        _unlink(source, inlet.part, sink, link)

    def steps() -> Generator[Direct | Run, Result, Any]:
        for data_id in ids:
            yield from call(Direct(sink._remove_method(), block, (data_id,), {}, socket.choice))

    def passes(_: Any) -> bool:
        if condition is None:
            return bool(ids)
        return any(condition(block, data_id, None) for data_id in ids)

    return (
        yield from change(
            block,
            sink._observers,
            socket.choice,
            steps(),
            passes,
            situation=Laziness.ON_CONNECT,
        )
    )
