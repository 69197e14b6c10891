"""The program that `Runner` starts, ``python -m connectors.testing``.

```text
Runner ── orders ───▶ this program ── fork ──▶ one process per check, leader of its own group
       ◀── verdicts ──    waits, with a deadline
```

It has imported what all checks need and has a single thread, so that a check begins within
milliseconds and forking is safe. With the argument ``once`` it runs one check by itself: that is
how it goes where there is no fork to rely on.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import select
import sys
from pathlib import Path

from ._child import OUTPUT, Order, perform
from ._watch import Fork, watch

_NEEDED = (
    "asyncio",
    "cloudpickle",
    "concurrent.futures.process",
    "connectors._factory",
    "connectors.executors.threading_multiprocessing",
    "connectors.executors.trio",
    "importlib.metadata",
    "platformdirs",
    "tblib.pickling_support",
    "trio",
)
_ORDERS, _VERDICTS = 0, 1


def main() -> None:
    """Run the check that is ordered, or serve orders until there are none."""
    if sys.argv[1:] == ["once"]:
        perform(pickle.load(sys.stdin.buffer))
        return
    for module in _NEEDED:
        importlib.import_module(module)
    _adopt_orphans()
    gc.freeze()  # what is here lives as long as this program: no check need look at it
    while order := _next_order():
        pid = os.fork()
        if pid == 0:
            _begin(order)
            perform(order)
            return
        verdict = pickle.dumps(watch(Fork(pid), order, _abandoned))
        with os.fdopen(_VERDICTS, "wb", closefd=False) as verdicts:
            verdicts.write(verdict)


def _next_order() -> Order | None:
    try:
        order: Order = pickle.load(sys.stdin.buffer)
    except EOFError:
        return None
    return order


def _abandoned() -> bool:
    """Tell whether `Runner` is gone: while a check runs, it sends nothing but its end."""
    return bool(select.select([_ORDERS], [], [], 0)[0])


def _adopt_orphans() -> None:
    """Become the parent of the processes that a check leaves behind, so that they are seen."""
    import ctypes

    set_child_subreaper = 36
    ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def _begin(order: Order) -> None:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(Path(order.folder, OUTPUT), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)


if __name__ == "__main__":
    main()
