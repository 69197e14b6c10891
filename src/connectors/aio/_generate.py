"""`generate_in_thread`, a generator that runs in one thread from first to last.

```text
consumer: asend, athrow, aclose ─▶ orders ─▶ thread: send, throw, close ─▶ answer ─▶ consumer
```
"""

from __future__ import annotations

import functools
import inspect
import os
import queue
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

import attrs

from connectors import _worlds
from connectors._calls import Call, label_of
from connectors._flags import Parallelization
from connectors.pools._threads import make_room

from ._inside import Mark
from ._pools import thread_pool
from ._run import check_callable

P = ParamSpec("P")
T = TypeVar("T")

_END: Final = object()  # the answer when there are no more items


@attrs.frozen(eq=False)
class _Order:
    """What the consumer wants: the next item, or that the generator is closed."""

    answer: Future[Any]
    value: Any = None
    error: BaseException | None = None
    closes: bool = False


class _Server:
    """The thread's side: it has the generator and fills orders, one after the other.

    It knows nothing of the consumer's side, so that dropping that can end it.
    """

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self._make: tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]] | None
        self._make = (function, args, kwargs)
        self._label = label_of(function)
        self._pid = os.getpid()
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._lock = threading.RLock()  # finalizers run in the midst of anything
        self._over = False
        self._started = False
        self._serving: Future[Any] | None = None
        self.inside = Mark()
        self.why: str | None = None  # it is over, if not by itself

    def order(self, value: Any = None, error: BaseException | None = None) -> Future[Any]:
        """Ask for the next item; the first order finds a thread."""
        order = _Order(Future(), value, error)
        if os.getpid() != self._pid:
            order.answer.set_exception(
                RuntimeError(
                    f"generate_in_thread({self._label}): its thread is one of the process that "
                    "this one was forked from; make it anew"
                )
            )
            return order.answer
        with self._lock:
            if self._over:
                _answer_over(order, self.why)
                return order.answer
            self._orders.put(order)
            first, self._started = not self._started, True
        if first:
            self._start()
        return order.answer

    def close(self) -> Future[Any]:
        """Ask for the generator to be closed; what was asked for before comes first."""
        order = _Order(Future(), closes=True)
        if os.getpid() != self._pid:  # a thread of the parent may have the lock
            order.answer.set_result(_END)
            return order.answer
        with self._lock:
            serving = self._serving
            if self._over or not self._started or (serving is not None and serving.cancel()):
                self._finish(self.why)
                _answer_over(order, None)
            else:
                self._orders.put(order)
        return order.answer

    def dismiss(self) -> None:
        """Have the generator closed, and tell whoever asks for more."""
        self.why = f"generate_in_thread({self._label}) was closed: its thread pool is shut down"
        self.close()

    def _start(self) -> None:
        pool = thread_pool()
        call = Call(self._serve, wish=Parallelization.THREAD, name=self._label)
        try:
            serving, executor = pool.submit_call(call)
        except BaseException as error:
            with self._lock:
                self._finish(str(error))
            raise
        pool._before_waiting.add(self)
        with self._lock:
            self._serving = serving
        # The executor is not to end before the generator does.
        serving.add_done_callback(functools.partial(_keep, executor))

    def _serve(self) -> None:
        self.inside.enter()
        make_room()  # it mostly waits for its consumer
        iterator: Iterator[Any] | None = None
        while True:
            order = self._orders.get()
            if order.closes:
                break
            if iterator is None:
                iterator = self._made(order)
                if iterator is None:
                    break
            if not _fill(order, iterator):
                break
            del order  # an idle thread holds no items
        self._close(iterator, order)

    def _made(self, order: _Order) -> Iterator[Any] | None:
        assert self._make is not None
        function, args, kwargs = self._make
        self._make = None
        try:
            iterator = _checked(function(*args, **kwargs), self._label)
        except BaseException as error:
            with self._lock:
                self._finish(None)
            _fail(order, error, self._label)
            return None
        return iterator

    def _close(self, iterator: Iterator[Any] | None, order: _Order) -> None:
        """Close *iterator*, and only then answer *order*, the last one."""
        failure: BaseException | None = None
        try:
            close = getattr(iterator, "close", None)
            if order.closes and close is not None:
                close()
        except BaseException as error:
            failure = error
        with self._lock:
            self._finish(self.why)
        if not order.closes:
            return
        if failure is None:
            order.answer.set_result(_END)
        else:
            _fail(order, failure, self._label)

    def _finish(self, why: str | None) -> None:
        """Be over, and answer what is still asked for; called with the lock."""
        self._over = True
        self.why = why
        while True:
            try:
                _answer_over(self._orders.get_nowait(), why)
            except queue.Empty:
                return


def _fill(order: _Order, iterator: Iterator[Any]) -> bool:
    """Answer *order*; return whether *iterator* goes on."""
    generator: Any = iterator
    try:
        if order.error is not None:
            item = getattr(iterator, "throw", _raise)(order.error)
        elif order.value is not None and hasattr(iterator, "send"):
            item = generator.send(order.value)
        else:
            item = next(iterator)
    except StopIteration:
        order.answer.set_result(_END)
        return False
    except BaseException as error:
        _fail(order, error, label_of(type(iterator)))
        # One that has not begun has refused a value, and can still begin.
        return (
            inspect.isgenerator(iterator)
            and inspect.getgeneratorstate(iterator) == inspect.GEN_CREATED
        )
    order.answer.set_result(item)
    return True


def _checked(iterator: Any, label: str) -> Iterator[Any]:
    if hasattr(iterator, "__next__") and hasattr(iterator, "__iter__"):
        found: Iterator[Any] = iterator
        return found
    raise TypeError(
        f"generate_in_thread({label}): it returned a {type(iterator).__name__}, which is not an "
        "iterator; return iter(...) of it, or write a generator"
    )


def _raise(error: BaseException) -> NoReturn:
    raise error


def _keep(_executor: object, _serving: Future[Any]) -> None:
    """Hold the executor until the generator has ended."""


def _fail(order: _Order, error: BaseException, label: str) -> None:
    if isinstance(error, (StopIteration, StopAsyncIteration)):
        # In an async generator either would look like its end.
        stray = RuntimeError(f"{label} raised {type(error).__name__}")
        stray.__cause__ = error
        error = stray
    order.answer.set_exception(error)


def _answer_over(order: _Order, why: str | None) -> None:
    if order.error is not None and not order.closes:
        order.answer.set_exception(order.error)
    elif why is None or order.closes:
        order.answer.set_result(_END)
    else:
        order.answer.set_exception(RuntimeError(why))


class ThreadGenerator(AsyncGenerator[T, Any]):
    """What `generate_in_thread` returns: an async generator, served by one thread.

    When the wait for an item is cancelled, that item comes next. When this is dropped, the
    generator is closed in its thread.
    """

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._awaited: Future[Any] | None = None  # the item whose wait was cancelled
        self._running = False
        # At the end of the program too, before its threads are waited for.
        weakref.finalize(self, server.close)

    def __aiter__(self) -> ThreadGenerator[T]:
        return self

    async def __anext__(self) -> T:
        return await self.asend(None)

    async def asend(self, value: Any) -> T:
        """Send *value* into the generator and return its next item.

        Raises:
            RuntimeError: Somebody else waits for an item, or an item whose wait was cancelled is
                still to be taken, which has no use for *value*.
        """
        if value is not None and self._awaited is not None:
            raise RuntimeError(
                "an item whose wait was cancelled comes first: take it with anext(), then send"
            )
        return await self._next(self._awaited or None, value, None)

    async def athrow(
        self,
        kind: BaseException | type[BaseException],
        error: BaseException | object = None,
        traceback: TracebackType | None = None,
    ) -> T:
        """Raise an exception in the generator and return its next item."""
        del traceback
        found = error if isinstance(error, BaseException) else kind
        if isinstance(found, type):
            found = found() if error is None else found(error)
        self._awaited = None
        return await self._next(None, None, found)

    async def aclose(self) -> None:
        """Close the generator in its thread, and wait for it.

        A generator that closes itself does not wait: it is closed when it has given its next item.
        """
        self._awaited = None
        closed = self._server.close()
        if not self._server.inside.is_here():
            await _worlds.result_of(closed, _leave)

    async def _next(
        self, awaited: Future[Any] | None, value: Any, error: BaseException | None
    ) -> T:
        if self._running:
            raise RuntimeError("anext(): the asynchronous generator is already running")
        self._running = True
        try:
            future = self._awaited = awaited or self._server.order(value, error)
            item: Any = await _worlds.result_of(future, _leave)
            self._awaited = None
        except BaseException:
            if self._awaited is not None and self._awaited.done():
                self._forget_error()
            raise
        finally:
            self._running = False
        if item is _END:
            raise StopAsyncIteration
        result: T = item
        return result

    def _forget_error(self) -> None:
        """Forget the item if its error is what was raised; a value is kept for the next wait."""
        assert self._awaited is not None
        if self._awaited.exception() is not None:
            self._awaited = None


def _leave(_: Future[Any]) -> None:
    """Let the thread go on with it."""


def generate_in_thread(
    generator_func: Callable[P, Iterator[T]], /, *args: P.args, **kwargs: P.kwargs
) -> ThreadGenerator[T]:
    """Return an async generator of what a generator gives that runs in a thread.

    The call, the items and the clean-up all run in the same thread of `THREAD_POOL`, which it has
    from its first item to its end. An item is only worked on when it was asked for.

    Args:
        generator_func: A generator function, or a function that returns an iterator.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Raises:
        TypeError: *generator_func* cannot be called.

    Example:
        >>> from connectors import aio
        >>> async def main():
        ...     return [line async for line in aio.generate_in_thread(iter, ["a", "b"])]
        >>> aio.run(main())
        ['a', 'b']
    """
    check_callable("generate_in_thread", generator_func)
    return ThreadGenerator(_Server(generator_func, args, kwargs))
