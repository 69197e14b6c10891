"""Run all benchmarks, or those named, and print their tables: ``run.py [NAME...]``."""

from __future__ import annotations

import importlib
import platform
import sys

import harness

# bench_network.py takes long, bench_process.py prints tables of its own
ALL = ["executors", "aio", "background", "tasks"]


def main(names: list[str]) -> int:
    """Measure and print; return 1 if a row misses its target."""
    print(f"Python {platform.python_version()}, {platform.system()}, {harness.machine()}\n")
    missed = 0
    for name in names or ALL:
        module = importlib.import_module(f"bench_{name}")
        results = []
        for row in module.rows():
            print(f"... {row.title}", file=sys.stderr, flush=True)
            results.append(harness.measure(row))
        print(f"## {module.__doc__.splitlines()[0]}\n\n{harness.markdown(results)}\n", flush=True)
        missed += sum(result.met is False for result in results)
    print(f"{missed} rows miss their target" if missed else "every row meets its target")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
