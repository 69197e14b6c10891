"""Working with awaitables: `connectors.aio` beside what the standard library offers.

Each value is of a fresh process (``aio_worker.py``). The ratios hold on any machine; the absolute
budgets are those of 2 CPUs, Linux and CPython 3.11.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness import Row

WORKER = Path(__file__).with_name("aio_worker.py")
ROUNDS = 5


def fresh(name, count, loop="asyncio", *, peak=False):
    """Return a measure of the seconds, or of the peak memory, of one thing."""

    def measure():
        done = subprocess.run(
            [sys.executable, WORKER, name, str(count), loop],
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return float(done.stdout.split()[int(peak)])

    return measure


def rows():
    many, more = 100_000, 1_000_000
    found = [
        Row(
            "collect, 100,000 trivial coroutines, per item",
            fresh("collect", many),
            {
                "TaskGroup and semaphore": fresh("task_group", many),
                "gather": fresh("gather", many),
            },
            absolute=6,
            alone=True,
            rounds=ROUNDS,
            spread=True,
        ),
        Row(
            "collect, 100,000 trivial coroutines, peak memory",
            fresh("collect", many, peak=True),
            {
                "TaskGroup and semaphore": fresh("task_group", many, peak=True),
                "gather": fresh("gather", many, peak=True),
            },
            absolute=35,
            alone=True,
            unit="MiB",
            rounds=ROUNDS,
        ),
        Row(
            "resolve, 1,000,000, greediness 1, peak memory",
            fresh("resolve", more, peak=True),
            {"ordered window of tasks": fresh("window", more, peak=True)},
            absolute=40,
            alone=True,
            unit="MiB",
            rounds=1,
        ),
        Row(
            "resolve, 100,000, greediness 1, per item",
            fresh("resolve", many),
            {"ordered window of tasks": fresh("window", many)},
            rounds=ROUNDS,
        ),
        Row(
            "in_thread, one call at a time, median",
            fresh("in_thread", 5000),
            {"asyncio.to_thread": fresh("to_thread", 5000)},
            limit=1.3,
            rounds=ROUNDS,
            spread=True,
        ),
        Row(
            "in_process, warm, one call at a time, median",
            fresh("in_process", 3000),
            {
                "ProcessPoolExecutor": fresh("raw_process", 3000),
                "our ProcessPool": fresh("raw_ours", 3000),
            },
            limit=1.3,
            rounds=ROUNDS,
            spread=True,
        ),
    ]
    for title, name, count in (
        ("20,000 in_thread at once, per call", "threads_at_once", 20_000),
        ("generate_in_thread, per item", "generate", 5000),
        ("rate_limited without waiting", "rate", 50_000),
        ("acquire_many(5)", "permits", 50_000),
    ):
        found.append(Row(title, fresh(name, count), rounds=ROUNDS))
    for loop in ("uvloop", "trio"):
        found += [
            Row(f"collect on {loop}, per item", fresh("collect", 20_000, loop), rounds=ROUNDS),
            Row(f"resolve on {loop}, per item", fresh("resolve", 20_000, loop), rounds=ROUNDS),
            Row(f"in_thread on {loop}", fresh("in_thread", 3000, loop), rounds=ROUNDS),
        ]
    return found
