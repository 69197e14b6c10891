"""Working with awaitables: bound them, stream them, limit their rate, reach threads and processes.

```text
awaitables ─▶ collect, resolve, as_completed ─▶ results
                  │  (rate_limited, semaphores)
                  └─▶ in_thread, generate_in_thread, in_process ─▶ the executors of the registry
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connectors._outcome import Outcome, OutcomeState

from ._collect import collect
from ._generate import generate_in_thread
from ._pools import CPU_CORES, PROCESS_POOL, THREAD_POOL, ExecutorPool, in_process, in_thread
from ._rate import rate_limited
from ._run import force_loop_cycle, run, run_decorator, uvloop_or_none
from ._schedule import schedule
from ._semaphores import BoundedSemaphore, Semaphore
from ._stream import as_completed, resolve

if TYPE_CHECKING:
    from types import ModuleType

    UVLOOP: ModuleType | None

__all__ = [
    "CPU_CORES",
    "PROCESS_POOL",
    "THREAD_POOL",
    "UVLOOP",
    "BoundedSemaphore",
    "ExecutorPool",
    "Outcome",
    "OutcomeState",
    "Semaphore",
    "as_completed",
    "collect",
    "force_loop_cycle",
    "generate_in_thread",
    "in_process",
    "in_thread",
    "rate_limited",
    "resolve",
    "run",
    "run_decorator",
    "schedule",
]

for _public in [globals()[name] for name in __all__ if name in globals()]:
    if getattr(_public, "__module__", "").startswith(f"{__name__}._") and callable(_public):
        _public.__module__ = __name__  # the one address that users see


def __getattr__(name: str) -> Any:
    if name != "UVLOOP":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return globals().setdefault("UVLOOP", uvloop_or_none())  # imported by those who ask for it


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
