"""What an executor class says of itself: its pools and what it can do."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol, runtime_checkable

import attrs

from ._calls import Call
from ._envelope import Answer
from ._flags import Parallelization

Pool = concurrent.futures.Executor


@runtime_checkable
class TakesCalls(Protocol):
    """A pool of processes that knows calls, and so needs no envelope around them."""

    def submit_call(
        self,
        call: Call,
        prepare: Callable[[], object] | None = None,
        on_answer: Callable[[Answer], object] | None = None,
    ) -> Future[Any]:
        """Schedule *call*, of which it honours the time limit; see `pools.ProcessPool`."""
        ...


@runtime_checkable
class CanStop(Protocol):
    """A pool that can stop the calls that run."""

    def close(self, cancel: bool = False) -> None:
        """Close; with *cancel*, stop all calls."""
        ...


Pools = Mapping[Parallelization, Pool | Callable[[], Pool]]


def with_sequential(levels: Iterable[Parallelization]) -> frozenset[Parallelization]:
    """Return *levels* and SEQUENTIAL, which is always there."""
    return frozenset(levels) | {Parallelization.SEQUENTIAL}


@attrs.frozen
class Capabilities:
    """What an executor class can do. The contract in `connectors.testing` proves each.

    Attributes:
        levels: The levels at which it may run calls; SEQUENTIAL is always among them.
        remote: Its processes may be on other machines.
        kills: A timeout or a cancellation stops a running PROCESS call.
        cancels: A call that has not begun can be cancelled.
        context: Context variables reach calls: all of them threads, declared ones processes.
        logs: Log records of PROCESS calls reach the handlers of the caller.
        async_methods: ``async def`` methods can be given to it.
        importable: Functions have to be importable where they run: no lambdas, no ``__main__``.
        retries: Its engine runs a call whose worker died again by itself.
    """

    levels: frozenset[Parallelization] = attrs.field(default=(), converter=with_sequential)
    remote: bool = False
    kills: bool = False
    cancels: bool = True
    context: bool = True
    logs: bool = True
    async_methods: bool = True
    importable: bool = False
    retries: bool = False
