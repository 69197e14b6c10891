"""Work behind the caller's back: plain, blocking calls, and no event loop.

```text
BgInvoke ──▶ one call on a thread of its own
BgThread ──▶ one function, many calls, one after the other on one thread
parallelise ──▶ numbered jobs, in threads or processes, and a list of what they returned
bg_run_proc ──▶ procedures that are queued and forgotten
```
"""

from __future__ import annotations

from connectors._outcome import Outcome, OutcomeState

from ._exception import BgException
from ._invoke import BgInvoke
from ._manager import BgProcManager, bg_proc_manager, bg_run_proc
from ._parallelise import parallelise
from ._thread import BgThread

__all__ = [
    "BgException",
    "BgInvoke",
    "BgProcManager",
    "BgThread",
    "Outcome",
    "OutcomeState",
    "bg_proc_manager",
    "bg_run_proc",
    "parallelise",
]

for _public in (BgException, BgInvoke, BgProcManager, BgThread, bg_run_proc, parallelise):
    _public.__module__ = __name__  # the one address that users see
