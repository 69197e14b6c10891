"""``connectors check NAME``: does an executor keep the contract, and what does a call cost."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from connectors import Executor, Parallelization

from ._arguments import add_command, add_options
from ._choice import make_executor, names_of, option_values
from ._output import is_terminal, print_json, print_table
from ._usage import UsageError

if TYPE_CHECKING:
    from connectors.testing import CheckResult

_CALLS = 200


def add_to(subparsers: Any) -> None:
    """Add the command to the program."""
    about = "run the contract's checks on an executor and measure what a call costs"
    parser = add_command(subparsers, "check", run, about)
    parser.add_argument("name", metavar="NAME", help="an executor")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the scorecard; the exit code is 1 if a check failed."""
    from connectors.testing import run_checks

    name = names_of(args.name)
    if not isinstance(name, str):
        raise UsageError(f"check takes one executor at a time, and got '{args.name}'")
    costs = overheads(make_executor(name, args.option))
    values = option_values(name, args.option)
    results = run_checks(name, values, report=_tell if is_terminal(sys.stderr) else None)
    failed = sum(result.outcome == "failed" for result in results)
    if args.json:
        print_json({"executor": name, "checks": list(map(_as_json, results)), "seconds": costs})
        return 1 if failed else 0
    rows = [
        (result.outcome, result.id, result.title, f"{result.seconds:.2f} s", result.detail)
        for result in results
    ]
    print_table(["outcome", "check", "promise", "time", "detail"], rows)
    print()
    cost_rows = [(level, f"{seconds * 1e6:.1f} us") for level, seconds in costs.items()]
    print_table(["level", "overhead of a call"], cost_rows)
    print(f"\n{len(results)} checks: {_tally([result.outcome for result in results])}")
    return 1 if failed else 0


def overheads(executor: Executor) -> dict[str, float]:
    """Return the median seconds that ``submit().result()`` takes over a direct call, by level."""
    with executor:
        levels = [level for level in Parallelization if executor.level_for(level) is level]
        return {level.name: _overhead(executor.options(wish=level)) for level in levels}


def _overhead(view: Executor) -> float:
    view.submit(abs, -1).result()  # opens the pool
    direct = _median(lambda: abs(-1))
    return max(0.0, _median(lambda: view.submit(abs, -1).result()) - direct)


def _median(function: Callable[[], object]) -> float:
    times = []
    for _ in range(_CALLS):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _tell(result: CheckResult) -> None:
    print(f"{result.outcome}: {result.title}", file=sys.stderr)


def _tally(outcomes: list[str]) -> str:
    kinds = ("passed", "failed", "skipped")
    return ", ".join(f"{outcomes.count(kind)} {kind}" for kind in kinds)


def _as_json(result: CheckResult) -> dict[str, Any]:
    return {name: getattr(result, name) for name in ("id", "title", "outcome", "detail", "seconds")}
