"""Pools: what performs calls. Each is a `concurrent.futures.Executor` that serves alone as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._inline import InlinePool
from ._threads import ThreadPool
from ._trio import TrioThreadPool

if TYPE_CHECKING:
    from ._process._pool import ProcessPool

__all__ = ["InlinePool", "ProcessPool", "ThreadPool", "TrioThreadPool"]

for _pool in (InlinePool, ThreadPool, TrioThreadPool):
    _pool.__module__ = __name__


def __getattr__(name: str) -> Any:
    if name != "ProcessPool":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from ._process._pool import ProcessPool  # loaded by those who want processes

    ProcessPool.__module__ = __name__
    globals()[name] = ProcessPool
    return ProcessPool
