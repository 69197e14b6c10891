"""Working with awaitables: `connectors.aio`, the standard library and the older library.

Each value is of a fresh process (``aio_worker.py``), for the older library of one in a virtual
environment of its own. The ratios hold on any machine; the absolute budgets are those of 2 CPUs,
Linux and CPython 3.11.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import peers
from harness import Failed, Row

OLDER = "aioextensions==21.7.2261349"
WORKER = Path(__file__).with_name("aio_worker.py")
ROUNDS = 5


def fresh(name, count, loop="asyncio", *, peak=False, python=sys.executable):
    """Return a measure of the seconds, or of the peak memory, of one thing."""

    def measure():
        command = [python, WORKER, name, str(count), loop]
        try:
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        except subprocess.CalledProcessError as error:
            raise Failed(error.stderr.strip().splitlines()[-1]) from error
        except subprocess.TimeoutExpired as error:
            raise Failed("it did not end") from error
        return float(done.stdout.split()[int(peak)])

    return measure


def rows():
    absent = {}
    try:
        python = peers.environment(OLDER, "import aioextensions")
    except peers.Unavailable as error:
        absent[OLDER] = str(error)

    def row(title, name, count, theirs, *, older=None, peak=False, **options):
        """Return a row of *name*, beside *theirs* and *name*, or *older*, of the older library."""
        beside = {title: fresh(peer, count, peak=peak) for title, peer in theirs.items()}
        if not absent:
            beside[OLDER] = fresh(older or name, count, peak=peak, python=python)
        options = {"absent": absent, "rounds": ROUNDS, "spread": True, **options}
        return Row(title, fresh(name, count, peak=peak), beside, **options)

    many, more = 100_000, 1_000_000
    collecting = {"TaskGroup and semaphore": "task_group", "gather": "gather"}
    window = {"ordered window of tasks": "window"}
    memory = {"peak": True, "unit": "MiB", "alone": True}
    each = "one awaitable after the other"
    found = [
        row(
            "collect, 100,000 trivial coroutines, per item",
            "collect",
            many,
            collecting,
            absolute=6,
            alone=True,
        ),
        row(
            "collect, 100,000 trivial coroutines, peak memory",
            "collect",
            many,
            collecting,
            absolute=35,
            **memory,
        ),
        row(
            "resolve, 1,000,000, greediness 1, `async for`, peak memory",
            "resolve",
            more,
            window,
            older="resolve_each",
            absolute=40,
            rounds=1,
            **memory,
        ),
        row(
            f"the same, {each}",
            "resolve_each",
            more,
            {},
            absolute=40,
            rounds=1,
            **memory,
        ),
        row(
            "resolve, 100,000, greediness 1, `async for`, per item",
            "resolve",
            many,
            window,
            older="resolve_each",
        ),
        row(f"the same, {each}", "resolve_each", many, {}),
        row(
            "in_thread, one call at a time, median",
            "in_thread",
            5000,
            {"asyncio.to_thread": "to_thread"},
            limit=1.3,
        ),
        row(
            "in_process, warm, one call at a time, median",
            "in_process",
            3000,
            {"ProcessPoolExecutor": "raw_process", "our ProcessPool": "raw_ours"},
            limit=1.3,
        ),
        row("20,000 in_thread at once, per call", "threads_at_once", 20_000, {}),
        row("generate_in_thread, per item", "generate", 5000, {}),
        row("rate_limited without waiting", "rate", 50_000, {}),
        row("acquire_many(5)", "permits", 50_000, {}),
    ]
    for loop in ("uvloop", "trio"):
        found += [
            Row(f"collect on {loop}, per item", fresh("collect", 20_000, loop), rounds=ROUNDS),
            Row(f"resolve on {loop}, per item", fresh("resolve", 20_000, loop), rounds=ROUNDS),
            Row(f"in_thread on {loop}", fresh("in_thread", 3000, loop), rounds=ROUNDS),
        ]
    return found
