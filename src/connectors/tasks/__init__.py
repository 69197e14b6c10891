"""Tasks that run for long: a task starts and stops one thing, a group runs several at once.

```text
_task         what a user writes: start, stop, create_async_task
_policies     what becomes of the others when one fails
_checks       what users give, looked at when they give it
_records      how a failure is logged
_engine       what is to be done next: plain data, no thread, no loop, no clock
_supervision  the engine between those who tell it and those who do what it says
_launch       the executor, and how a task is started in a thread, a process or a loop ...
_runs         ... as a future, ...
_bodies       ... a coroutine, ...
_travel       ... or what travels to a process
_group        TaskGroup, with ...
_body         ... the block of an async with
_executors    the multiple executors
_runner       AbstractMultipleRunner
```
"""

from __future__ import annotations

from connectors._outcome import Outcome, OutcomeState

from ._executors import AbstractMultipleExecutor, AsyncExecutor, ProcessExecutor, ThreadExecutor
from ._group import TaskGroup
from ._policies import ExecutorExceptionPolicies
from ._runner import AbstractMultipleRunner
from ._task import AbstractExecutorTask, AbstractMultiprocessExecutorTask, TaskAwaitable

__all__ = [
    "AbstractExecutorTask",
    "AbstractMultipleExecutor",
    "AbstractMultipleRunner",
    "AbstractMultiprocessExecutorTask",
    "AsyncExecutor",
    "ExecutorExceptionPolicies",
    "Outcome",
    "OutcomeState",
    "ProcessExecutor",
    "TaskAwaitable",
    "TaskGroup",
    "ThreadExecutor",
]

for _name in __all__:
    _found = globals()[_name]
    if getattr(_found, "__module__", "").startswith(f"{__name__}._"):
        _found.__module__ = __name__
