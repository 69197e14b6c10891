"""What ``connectors doctor`` runs in a process of its own: one import, and what came of it.

The answer goes to the standard output that the process was started with; what a plugin prints
while it is imported goes to standard error, so that it cannot be taken for the answer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

#: Run by ``python -c``; gives the new process the module path of its parent.
BOOTSTRAP = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from connectors.cli._probe import main
main(*sys.argv[2:])
"""


def main(kind: str, name: str) -> None:
    """Print as JSON what came of importing *name*."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    found = PROBES[kind](name)
    with answer:
        json.dump(found, answer)


def probe_executor(address: str) -> dict[str, Any]:
    """Load the executor at *address*."""
    from connectors._registry import registry

    from ._list import capabilities_as_json

    registry.table()  # what is the same for all executors is not their time
    begin = time.perf_counter()
    try:
        selection = registry.select(address)
    except Exception as error:
        return {"error": str(error), "seconds": time.perf_counter() - begin}
    seconds = time.perf_counter() - begin
    capabilities = capabilities_as_json(selection.executor_class.capabilities)
    return {"error": None, "seconds": seconds, "capabilities": capabilities}


def probe_plugin(address: str) -> dict[str, Any]:
    """Load the plugin at *address*, which is ``distribution:name``."""
    from connectors._discovery import scan
    from connectors._registry import registry

    offers = [offer for offer in scan().plugins if offer.address == address]
    begin = time.perf_counter()
    registry.plugins.activate(offers)
    seconds = time.perf_counter() - begin
    errors = registry.plugins.errors.values()
    return {"error": next(map(str, errors), None), "seconds": seconds}


def probe_blas(_: str) -> dict[str, Any]:
    """Say which BLAS and OpenMP libraries there are, and how many threads each has."""
    import importlib.util

    import threadpoolctl

    if importlib.util.find_spec("numpy") is not None:
        import numpy  # noqa: F401, ICN001 - brings its BLAS along
    keys = ("internal_api", "user_api", "num_threads", "version")
    return {
        "error": None,
        "libraries": [
            {key: pool.get(key) for key in keys} for pool in threadpoolctl.threadpool_info()
        ],
    }


PROBES: dict[str, Callable[[str], dict[str, Any]]] = {
    "executor": probe_executor,
    "plugin": probe_plugin,
    "blas": probe_blas,
}
