"""The contract that every executor keeps, as checks, and the two ways to run them.

`run_checks` runs them from anywhere, each in a process of its own. `ExecutorContract` is for the
test suite of a plugin, which is eight lines long::

    from connectors.testing import ExecutorContract


    class TestNice(ExecutorContract):
        \"\"\"The executor ``nice`` keeps the contract.\"\"\"

        executor = "nice"
        options = {"niceness": 5}

The checks themselves are plain functions that take a maker, a function that returns a new
executor, and raise `AssertionError`. They stand in the modules of this package: `calls`,
`levels`, `maps`, `coroutines`, `sharing`, `limits` and `lifetime`; `CHECKS` has all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._check import Check, Maker
    from ._contract import ExecutorContract
    from ._result import CheckResult
    from ._runner import Runner, run_checks
    from ._table import CHECKS

__all__ = ["CHECKS", "Check", "CheckResult", "ExecutorContract", "Maker", "Runner", "run_checks"]

# Loaded when they are used: workers import this package for the functions that checks give them,
# and only a test suite has pytest.
_HOMES = {
    "CHECKS": "_table",
    "Check": "_check",
    "CheckResult": "_result",
    "ExecutorContract": "_contract",
    "Maker": "_check",
    "Runner": "_runner",
    "run_checks": "_runner",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'connectors.testing' has no attribute '{name}'")
    import importlib

    module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    found = getattr(module, name)
    if getattr(found, "__module__", None) == module.__name__:
        found.__module__ = __name__  # the one address that users see
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
