"""Pools: what performs calls. Each is a `concurrent.futures.Executor` that serves alone as well."""

from ._inline import InlinePool
from ._threads import ThreadPool
from ._trio import TrioThreadPool

__all__ = ["InlinePool", "ThreadPool", "TrioThreadPool"]

for _name in __all__:
    globals()[_name].__module__ = __name__
