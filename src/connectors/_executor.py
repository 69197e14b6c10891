"""`Executor`, which runs calls at the level they wish for, or nearer.

```text
submit, map  ─┐                                         ┌─ inline
run_method   ─┼─▶ Call ─▶ the one door: level, limits, ─┼─ thread pool
rooms        ─┘           events, fallback              ├─ process pool, in an envelope
                                                        └─ event loop, for async def
```

A concrete executor says which pools it has (`Executor.pools`), or overrides `Executor.run_method`.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import functools
import logging
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, ClassVar, Self

import attrs

from . import _map, _worlds, events
from ._away import Away, declared_context, settings_restorer
from ._calls import Call, Decision, is_async
from ._capabilities import CanStop, Pool, Pools, TakesCalls
from ._envelope import inside_worker, open_envelope, seal
from ._errors import (
    CallTimeoutError,
    ExecutorClosedError,
    ExecutorOpenError,
    OptionError,
    PicklingError,
    breaks_off,
)
from ._flags import Parallelization
from ._flight import Flight, Story, annotate, conduct
from ._levels import PROCESS, SEQUENTIAL, THREAD, Levels, checked_wish, within
from ._loops import Loops
from ._scattered import Scattered, brought_home
from .pools import InlinePool, ThreadPool, TrioThreadPool
from .settings import Setting, check_options, option, options_of

_logger = logging.getLogger("connectors")
_inline = InlinePool()
_performing: contextvars.ContextVar[tuple[Executor, Any] | None] = contextvars.ContextVar(
    "_performing", default=None
)


_POOLS_TRIED = 5


class Executor(Loops, Levels, concurrent.futures.Executor):
    """Runs calls where they wish to run, as far as it can: the base of every executor.

    A subclass overrides `pools`, which is all that most need, or the coroutine `run_method`, for
    full control. It declares its options in the class body with `option`. An executor opens its
    pools when they are first needed and keeps them until it is closed. It may be shared by
    threads and event loops, and be used by the calls that it runs.

    Args:
        **options: Values of the declared options.

    Attributes:
        name: The name by which messages and events speak of it.
        settings: The effective value of each option and where it came from.
        decisions: How it was chosen, if `connectors.executor` chose it.

    Raises:
        OptionError: An option is unknown or its value is not allowed.

    Example:
        >>> import connectors
        >>> with connectors.executor("threading", threads=2) as executor:
        ...     list(executor.map(pow, [1, 2, 3], [2, 2, 2]))
        [1, 4, 9]
    """

    hook_api: ClassVar[int] = 1
    #: Called with ``"opened"`` or ``"closed"`` and the executor.
    lifecycle_observers: ClassVar[list[Callable[[str, Executor], object]]] = []

    strict: bool = option(default=False, help="a fallback to a nearer level is an error")
    timeout: float | None = option(
        default=None, minimum=0, help="limit of each call in seconds; none: no limit"
    )
    retries: int = option(default=0, minimum=0, help="how often a call that failed is run again")
    label: str | None = option(default=None, help="the name of its calls in messages and events")

    settings: Mapping[str, Setting]
    decisions: tuple[Decision, ...]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.get("run_method")
        if own is not None:
            cls._overrides = True
            cls.run_method = _through_the_door(own)  # type: ignore[method-assign]

    def __init__(self, **options: Any) -> None:
        cls = type(self)
        declared = options_of(cls)
        self.name = getattr(self, "name", None) or name_of(cls)
        self._given = check_options(self.name, declared, options, "keyword argument")
        self.__dict__.update(self._given)
        self.settings = {
            key: Setting(
                self._given.get(key, declared[key].default),
                "keyword argument" if key in self._given else "default",
            )
            for key in declared
        }
        self.decisions = ()
        self._identity = uuid.uuid4().hex
        self._lock = threading.RLock()
        self._closed = False
        self._ended = False  # closed, and this was told
        self._pools: dict[Parallelization, Pool] = {}
        # The open thread pool, if it gives calls their context and lets nested calls through.
        self._own_threads: ThreadPool | None = None
        self._sources: Pools | None = None
        self._widest_found: Parallelization | None = None
        self._scatters = False
        self._native_loops = []
        self._told = set()

    # What a concrete executor says

    def pools(self) -> Pools:
        """Return the pools of this executor, by level.

        A value may be the pool or a function that makes it, which is called when the level is
        first needed. Whatever is imported for an engine is imported there.
        """
        return {}

    def _set_up(self) -> None:
        """Is called before the pools open, for subclasses written for the older library."""

    def _tear_down(self) -> None:
        """Is called after the pools closed, for subclasses written for the older library."""

    # Running calls

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedule ``fn(*args, **kwargs)`` as far away as this executor can run it.

        Args:
            fn: A function, method, or ``async def`` function, which is awaited in the loop of
                this executor.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The future of the call.

        Raises:
            ExecutorClosedError: The executor is closed.
            FallbackError: It is strict and the call cannot run there.
        """
        return self.submit_call(self._call(fn, args, kwargs))

    def submit_call(self, call: Call) -> Future[Any]:
        """Schedule *call* and return its future: the one door through which all calls go.

        Raises:
            ExecutorClosedError: The executor is closed.
            FallbackError: It is strict and the call cannot run at the level that it wishes for.
        """
        awaited = self._overrides or is_async(call.function)
        limited = call.timeout is not None or call.retries > 0
        plain = not (awaited or limited or self._scatters or events.observed())
        if plain and call.wish is THREAD and self._own_threads is not None:
            return self._own_threads.submit(_run_noted, call, self.name, THREAD)
        level, reason = self._place(call)
        if reason is not None:
            self._report(call, level, reason)
        if level is PROCESS and not awaited:
            return self._submit_away(call, reason)
        if self._scatters:
            call = brought_home(call)
        if awaited:
            return self._schedule(self._conduct(call, level, reason))
        if not plain:
            return self._fly(call, level, reason, self._run_here, here=True)
        if level is SEQUENTIAL:
            return _inline.submit(_run_noted, call, self.name, level)
        return self._pool(THREAD).submit(self._wrap(_run_noted), call, self.name, level)

    def map(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        unordered: bool = False,
    ) -> Iterator[Any]:
        """Return an iterator over ``fn`` of each item of *iterables*, as the builtin `map` does.

        Items are taken from the iterables while results are taken from the iterator, so both may
        be infinite.

        Args:
            fn: The function.
            *iterables: Its arguments, one iterable each; the shortest ends the map.
            timeout: How long to wait for all results, in seconds from now.
            chunksize: How many items travel together. By default that is found out by measuring;
                where calls have a timeout or retries of their own, each item travels alone.
            buffersize: How many chunks are under way at most; by default four for each CPU, and
                at least 16.
            unordered: Give the results as they come.

        Raises:
            CallTimeoutError: The results did not come in time.
            OptionError: *chunksize* or *buffersize* is no number or less than 1.
            ExecutorClosedError: The executor is closed.
        """
        _at_least_one("chunksize", chunksize)
        _at_least_one("buffersize", buffersize)
        template = self._call(fn, (), {})
        level = self.level_for(template.wish)
        self._check_open()
        if level is SEQUENTIAL and chunksize is None and not unordered:
            return self._map_inline(template, iterables, timeout)
        limited = template.timeout is not None or template.retries > 0
        alone = is_async(fn) or (chunksize is None and (limited or self._overrides))
        mapping = _map.Mapping(
            self.submit_call,
            template,
            iterables,
            _map.Sizer(1 if alone else chunksize, _map.length_of(iterables), 4 * _cpus()),
            buffersize=buffersize or max(16, 4 * _cpus()),
            timeout=timeout,
            note=lambda error: annotate(error, template.label, self.name, level),
            alone=alone,
        )
        return mapping.results(unordered=unordered)

    def _map_inline(
        self, template: Call, iterables: Sequence[Iterable[Any]], timeout: float | None
    ) -> Iterator[Any]:
        fn, label = template.function, template.name
        limit, retries = template.timeout, template.retries
        deadline = None if timeout is None else time.monotonic() + timeout
        for args in zip(*iterables, strict=False):
            call = Call(fn, args, {}, None, template.wish, label, limit, retries)
            result = self.submit_call(call).result()
            if deadline is not None and time.monotonic() > deadline:
                raise CallTimeoutError(f"map of {template.label}", timeout or 0.0)
            yield result

    def options(
        self,
        *,
        wish: Parallelization | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        label: str | None = None,
    ) -> Executor:
        """Return a view of this executor whose calls have another wish or other limits.

        Closing the view does not close this executor.

        Args:
            wish: How far away the calls of `submit` and `map` may run.
            timeout: Limit of each call in seconds.
            retries: How often a call that failed is run again.
            label: The name of the calls in messages and events.

        Raises:
            OptionError: A value is not allowed.
        """
        from ._view import View  # it is an executor itself

        return View(self, wish=wish, timeout=timeout, retries=retries, label=label)

    async def run_method(
        self,
        parallelization: Parallelization,
        method: Callable[..., Any],
        instance: Any,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Run *method* and return its result. Can be awaited under asyncio and under trio.

        Args:
            parallelization: How far away it may run.
            method: A function, or the plain function of a method.
            instance: The object that *method* is a method of, or `None`.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Raises:
            ExecutorClosedError: The executor is closed.
            FallbackError: It is strict and the call cannot run at that level.
        """
        wish = checked_wish(parallelization)
        call = Call(method, args, kwargs, instance, wish, self.label, self.timeout, self.retries)
        if _performing.get() == (self, method):  # super().run_method(...) in an override
            return await self._perform(call)
        return await self.run_call(call)

    async def run_call(self, call: Call) -> Any:
        """Run *call* and return its result, under asyncio or trio: `submit_call` for coroutines."""
        awaited = self._overrides or is_async(call.function)
        if awaited and _worlds.current_world() == self.world:
            level, reason = self._place(call)
            if reason is not None:
                self._report(call, level, reason)
            if self._scatters:
                call = brought_home(call)
            return await self._conduct(call, level, reason)
        if self.world == "trio" and not awaited:
            native = self._native_in_trio(call)
            if native is not None:
                return await native(self._wrap(_run_noted), call, self.name, THREAD)
        return await _worlds.result_of(self.submit_call(call))

    def _native_in_trio(self, call: Call) -> Callable[..., Any] | None:
        """Return what runs *call* in a thread of the running trio, if nothing stands against it."""
        if call.timeout is not None or call.retries or self._scatters or events.observed():
            return None
        level, reason = self._place(call)
        if level is not THREAD or reason is not None or _worlds.current_world() != "trio":
            return None
        return getattr(self._pool(THREAD), "run_sync", None)

    def scatter(self, value: Any) -> Scattered:
        """Return what stands for *value* in calls, so that each worker is sent it at most once.

        Args:
            value: A large argument, or an instance whose methods are to be run.

        Raises:
            ExecutorClosedError: The executor is closed.

        Example:
            >>> import connectors
            >>> with connectors.executor("multiprocessing", processes=1) as executor:
            ...     table = executor.scatter(list(range(100_000)))
            ...     [executor.submit(len, table).result() for _ in range(3)]
            [100000, 100000, 100000]
        """
        self._check_open()
        self._scatters = True
        if self.level_for(PROCESS) is not PROCESS or inside_worker():
            return Scattered(value)
        scatter = getattr(self._pool(PROCESS), "scatter", None)
        try:
            return Scattered(value, None if scatter is None else scatter(value))
        except PicklingError:
            return Scattered(value)  # the calls that are given it fall back, and say why

    # For rooms that run many small calls

    @property
    def uneventful(self) -> bool:
        """Whether a call needs nothing but to be run: nobody observes, no limits, not closed."""
        return not (
            self._closed
            or self._overrides
            or self._scatters
            or self.timeout is not None
            or self.retries
            or events.observed()
        )

    @property
    def thread_count(self) -> int:
        """How many threads the pool of this executor has, or 0 if it is none of ours."""
        return 0 if self._own_threads is None else self._own_threads.size

    def has_own_threads(self) -> bool:
        """Open the pool for THREAD; tell whether it gives calls their context."""
        self._pool(THREAD)
        return self._own_threads is not None

    # How a call is run at each level

    def _call(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Call:
        return Call(fn, args, kwargs, None, self._widest(), self.label, self.timeout, self.retries)

    def _widest(self) -> Parallelization:
        if self._widest_found is None:
            self._widest_found = max(self._available())
        return self._widest_found

    def _fly(
        self,
        call: Call,
        level: Parallelization,
        reason: str | None,
        runner: Callable[[Flight], Future[Any]],
        *,
        here: bool,
        limited: bool = False,
    ) -> Future[Any]:
        story = Story(call, self.name, level)
        story.submitted()
        if reason is not None:
            story.fell_back(reason)
        return Flight(story, runner, here=here, limited=limited).take_off()

    def _run_here(self, flight: Flight) -> Future[Any]:
        if flight.story.level is SEQUENTIAL:
            return _inline.submit(flight.perform)
        return self._pool(THREAD).submit(self._wrap(flight.perform))

    def _submit_away(self, call: Call, reason: str | None) -> Future[Any]:
        pool = self._pool(PROCESS)
        try:
            packed = call if call.packer is None else call.packer(call, pool)
            if isinstance(pool, TakesCalls):
                if not (call.retries or events.observed()):
                    return pool.submit_call(packed, settings_restorer())
                # The flight runs it again, whether it raised or killed its worker.
                once = attrs.evolve(packed, retries=0)
                return self._fly(
                    call,
                    PROCESS,
                    reason,
                    lambda flight: pool.submit_call(once, settings_restorer(), flight.answered),
                    here=False,
                    limited=True,
                )
            sealed = seal(packed, declared_context(self), settings_restorer())
        except PicklingError as error:
            return self._fall_back(call, error)

        def runner(flight: Flight) -> Future[Any]:
            sent, pool = self._send(sealed)
            return Away(sent, call, self, pool, flight.answered)

        return self._fly(call, PROCESS, reason, runner, here=False)

    def _send(self, sealed: bytes) -> tuple[Future[Any], Pool]:
        """Give *sealed* to the process pool, or to the next one if that broke as a whole."""
        for attempt in range(_POOLS_TRIED):
            pool = self._pool(PROCESS)
            try:
                return pool.submit(open_envelope, sealed), pool
            except RuntimeError as error:  # a BrokenExecutor is one
                broken = isinstance(error, concurrent.futures.BrokenExecutor)
                discarded = self._pools.get(PROCESS) is not pool  # when a neighbour's call crashed
                if attempt == _POOLS_TRIED - 1 or self._closed or not (broken or discarded):
                    raise
                if broken:
                    self._discard_pool(pool)
        raise AssertionError("unreachable")

    def _fall_back(self, call: Call, error: PicklingError) -> Future[Any]:
        if self.strict:
            raise error
        near = attrs.evolve(brought_home(call), wish=THREAD)
        level, _ = self._place(near)
        reason = f"{error.culprit} cannot be pickled ({error.reason})"
        self._report(call, level, reason)
        call = attrs.evolve(near, wish=call.wish)
        return self._fly(call, level, reason, self._run_here, here=True)

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return *function* with what our own thread pool gives a call by itself."""
        pool = self._pool(THREAD)
        if isinstance(pool, ThreadPool):
            return function
        function = functools.partial(_run_within, self, function)
        if isinstance(pool, TrioThreadPool):
            return function
        return functools.partial(contextvars.copy_context().run, function)

    async def _conduct(self, call: Call, level: Parallelization, reason: str | None) -> Any:
        story = Story(call, self.name, level)
        story.submitted()
        if reason is not None:
            story.fell_back(reason)
        loop = _worlds.current_loop()
        with self._lock:
            self._native_loops.append(loop)
        try:
            return await conduct(story, functools.partial(self._perform_once, call, level))
        finally:
            with self._lock:
                self._native_loops.remove(loop)

    async def _perform_once(self, call: Call, wish: Parallelization) -> Any:
        if not self._overrides:
            return await call.run()
        token = _performing.set((self, call.function))
        try:
            return await self.run_method(
                wish, call.function, call.instance, *call.args, **call.kwargs
            )
        finally:
            _performing.reset(token)

    async def _perform(self, call: Call) -> Any:
        """Run *call* in the pools, for an override that leaves it to its base class."""
        if is_async(call.function):
            return await call.run()
        pools = self._find_pools()
        level = next(
            level for level in call.wish.fallbacks if level in pools or level is SEQUENTIAL
        )
        if level is PROCESS and not inside_worker():
            return await _worlds.result_of(self._submit_away(call, None))
        if level is SEQUENTIAL or THREAD not in pools:
            return call.run()
        return await _worlds.result_of(self._pool(THREAD).submit(self._wrap(call.run)))

    # Opening and closing

    @property
    def closed(self) -> bool:
        """Whether the executor is closed."""
        return self._closed

    def open(self) -> Self:
        """Open all pools now instead of when they are first needed.

        Raises:
            ExecutorOpenError: A pool does not open; says why.
        """
        self._check_open()
        for level in sorted(self._available() - {SEQUENTIAL}):
            if level in (self._sources or {}):
                self._pool(level)
        return self

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls and close the pools. Repeating it is allowed.

        Args:
            wait: Return when all calls are done.
            cancel_futures: Cancel the calls that have not begun.
        """
        with self._lock:
            self._closed = True
            self._own_threads = None
            first, self._ended = not self._ended, True
            pools, portal = list(self._pools.values()), self._portal_made
        # Its own worker thread cannot wait for itself; only our threads see to that by themselves.
        wait = wait and self not in within.get()
        if portal is not None:
            portal.close(wait=wait)
        for pool in pools:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)
        if first:
            self._tear_down()
        if first and (pools or portal is not None):
            self._tell_lifecycle("closed", events.ExecutorClosed)

    def close(self, cancel: bool = False) -> None:
        """Close the pools when all calls are done.

        Args:
            cancel: Cancel the calls that have not begun, and stop those that can be stopped:
                coroutines, and calls in worker processes.
        """
        if cancel:
            self._stop()
        self.shutdown(wait=True, cancel_futures=cancel)

    def _stop(self) -> None:
        with self._lock:
            self._closed = True
            pools, portal = list(self._pools.values()), self._portal_made
        if portal is not None:
            portal.close(wait=False, cancel=True)
        for pool in pools:
            if isinstance(pool, CanStop):
                pool.close(cancel=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(cancel=breaks_off(error))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await _worlds.in_thread(functools.partial(self.__exit__, kind, error, traceback))

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open" if self._pools else "not yet open"
        return f"<{type(self).__name__} '{self.name}', {state}>"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # A call that uses its executor finds one in its worker, the same for all calls.
        return _in_this_process, (self._identity, type(self), self.name, self._given)

    def _check_open(self) -> None:
        if self.closed:
            raise ExecutorClosedError(self.name)

    def _find_pools(self) -> Pools:
        with self._lock:
            if self._sources is None:
                self._set_up()
                self._sources = dict(self.pools())
            return self._sources

    def _pool(self, level: Parallelization) -> Pool:
        pool = self._pools.get(level)
        return pool if pool is not None else self._open_pool(level)

    def _open_pool(self, level: Parallelization) -> Pool:
        source = self._find_pools()[level]
        with self._lock:
            if self._closed:
                raise ExecutorClosedError(self.name)
            pool = self._pools.get(level)
            if pool is not None:
                return pool
            first = not self._pools and self._portal_made is None
            pool = source if isinstance(source, Pool) else self._made(source)
            self._pools[level] = pool
            if isinstance(pool, ThreadPool) and level is THREAD:
                self._own_threads = pool
        if first:
            self._tell_lifecycle("opened", events.ExecutorOpened)
        return pool

    def _made(self, source: Callable[[], Pool]) -> Pool:
        try:
            return source()
        except ExecutorOpenError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ExecutorOpenError(f"'{self.name}'", {self.name: reason}) from error

    def _discard_pool(self, pool: Pool) -> None:
        """Forget a pool that broke as a whole; the next call opens a new one."""
        with self._lock:
            for level, known in list(self._pools.items()):
                if known is pool:
                    del self._pools[level]
                    self._sources = dict(self.pools())
        pool.shutdown(wait=False)

    def _loop_made(self) -> None:
        if not self._pools:
            self._tell_lifecycle("opened", events.ExecutorOpened)

    def _tell_lifecycle(self, what: str, kind: type[events.Event]) -> None:
        if events.observed():
            events.emit(kind(executor=self.name))
        for observer in self.lifecycle_observers:
            try:
                observer(what, self)
            except Exception:
                _logger.exception("an observer raised when '%s' was %s", self.name, what)


def _run_within(executor: Executor, function: Callable[..., Any], *args: Any) -> Any:
    """Run *function* so that the calls that it makes know whose thread they would wait for."""
    token = within.set((*within.get(), executor))
    try:
        return function(*args)
    finally:
        within.reset(token)


def _run_noted(call: Call, executor: str, level: Parallelization) -> Any:
    try:
        return call.run()
    except Exception as error:
        annotate(error, call.label, executor, level)
        raise


def _through_the_door(own: Callable[..., Any]) -> Callable[..., Any]:
    """Return the override *own* of `run_method` so that a caller's call passes the one door."""

    @functools.wraps(own)
    async def run_method(
        self: Executor,
        parallelization: Parallelization,
        method: Callable[..., Any],
        instance: Any,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if _performing.get() == (self, method):
            return await own(self, parallelization, method, instance, *args, **kwargs)
        return await Executor.run_method(self, parallelization, method, instance, *args, **kwargs)

    return run_method


_remade: weakref.WeakValueDictionary[str, Executor] = weakref.WeakValueDictionary()


def _in_this_process(
    identity: str, cls: type[Executor], name: str, given: Mapping[str, Any]
) -> Executor:
    """Return the executor that stands in this process for the one with *identity*."""
    found = _remade.get(identity)
    if found is None:
        found = cls(**given)
        found.name = name
        found._identity = identity
        _remade[identity] = found
    return found


def name_of(cls: type) -> str:
    words = cls.__name__.removesuffix("Executor") or cls.__name__
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(words))


def _at_least_one(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise OptionError(f"{name}={value!r}: it has to be a number, at least 1, or None")
    if value < 1:
        raise OptionError(f"{name}={value}: it has to be at least 1")


def _cpus() -> int:
    return os.cpu_count() or 1
