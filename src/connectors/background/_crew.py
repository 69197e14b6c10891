"""The threads of this room, which are an executor's."""

from __future__ import annotations

import contextvars
from concurrent.futures import Future
from typing import Any

from connectors._calls import Call
from connectors._executor import Executor
from connectors._factory import executor
from connectors._flags import Parallelization
from connectors.pools import ThreadPool


def daemons(threads: int, name: str) -> tuple[Executor, ThreadPool]:
    """Return a new executor of that many daemon threads, and its pool.

    Args:
        threads: How many calls run at a time, at most.
        name: What the names of the threads begin with.
    """
    made = executor("threading", threads=threads, daemon=True, thread_name_prefix=name)
    pool = made._pool(Parallelization.THREAD)
    assert isinstance(pool, ThreadPool)
    return made, pool


def submit_apart(crew: Executor, call: Call) -> Future[Any]:
    """Submit *call* as from nowhere: its caller may be a call of *crew* that does not wait for it.

    A pool grows by a thread for each of its calls that submits to it, lest a nested call starve.
    Here one thread, or one for each CPU, is a promise; and *call* brings its context along.
    """
    return contextvars.Context().run(crew.submit_call, call)
