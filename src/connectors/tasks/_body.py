"""`Body`: the block of an ``async with``, which a failing task cancels, and its loop."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from connectors import _worlds

from ._supervision import Supervision


class Body(Protocol):
    """The block of an ``async with`` in one of the two worlds."""

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run *coroutine* in the running loop; what cancels the block does not cancel it."""

    def enter(self) -> None:
        """Note that the block begins."""

    def cancel(self) -> None:
        """Cancel the block, if it has begun and not ended."""

    def leave(self, error: BaseException | None) -> BaseException | None:
        """Note that *error* ends the block; return it, unless it is what `cancel` made."""

    async def wait(
        self, supervision: Supervision, holds: Callable[[], bool]
    ) -> BaseException | None:
        """Wait until something holds.

        When that is cancelled the tasks are stopped, and then it is waited for their end.

        Returns:
            The cancellation.
        """


def body_of(world: _worlds.World | None) -> Body:
    """Return the body of a block in *world*."""
    return TrioBody() if world == "trio" else AsyncioBody()


class AsyncioBody:
    """The block of an ``async with`` under asyncio."""

    def __init__(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._parent: Any = asyncio.current_task()
        self._spawned: set[Any] = set()
        self._entered = False
        self._cancelled = False
        self._before = 0

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run *coroutine* in a task of its own."""
        task = self._loop.create_task(coroutine)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    def enter(self) -> None:
        """Note that the block begins."""
        self._entered = True
        self._before = self._parent.cancelling()

    def cancel(self) -> None:
        """Cancel the task that is in the block, once."""
        # Not now: it may be the caller, and have left the block before it hears of it.
        self._loop.call_soon(self._cancel)

    def _cancel(self) -> None:
        if self._entered and not self._cancelled:
            self._cancelled = True
            self._parent.cancel()

    def leave(self, error: BaseException | None) -> BaseException | None:
        """Note that *error* ends the block; return it, unless it is what `cancel` made."""
        import asyncio

        self._entered = False
        if self._cancelled and self._parent.uncancel() <= self._before:
            return None if isinstance(error, asyncio.CancelledError) else error
        return error

    async def wait(
        self, supervision: Supervision, holds: Callable[[], bool]
    ) -> BaseException | None:
        """Wait until something holds; see `Body`."""
        import asyncio

        cancelled: BaseException | None = None
        while True:
            try:
                await supervision.await_(holds)
            except asyncio.CancelledError as error:
                cancelled, holds = error, supervision.is_finished
                supervision.break_off()
            else:
                return cancelled


class TrioBody:
    """The block of an ``async with`` under trio."""

    def __init__(self) -> None:
        self._scope: Any = None

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run *coroutine* in a system task."""
        import trio

        context = contextvars.copy_context()
        trio.lowlevel.spawn_system_task(_worlds.awaited, coroutine, context=context)

    def enter(self) -> None:
        """Note that the block begins."""
        import trio

        self._scope = trio.CancelScope()
        self._scope.__enter__()

    def cancel(self) -> None:
        """Cancel the block."""
        if self._scope is not None:
            self._scope.cancel()

    def leave(self, error: BaseException | None) -> BaseException | None:
        """Note that *error* ends the block; return what of it is not what `cancel` made."""
        scope, self._scope = self._scope, None
        kind, traceback = (None, None) if error is None else (type(error), error.__traceback__)
        try:
            swallowed = scope.__exit__(kind, error, traceback)
        except BaseException as rest:
            return rest
        return None if swallowed else error

    async def wait(
        self, supervision: Supervision, holds: Callable[[], bool]
    ) -> BaseException | None:
        """Wait until something holds; see `Body`."""
        import trio

        try:
            await supervision.await_(holds)
        except trio.Cancelled as error:
            supervision.break_off()
            with trio.CancelScope(shield=True):
                await supervision.await_(supervision.is_finished)
            return error
        return None
