"""The registry, the in-process executors and the price of the one door."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import operator
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trio
from harness import Measure, Row, timed

import connectors
from connectors import Parallelization

_STRANGERS = 200


def _process(folder: Path | None, code: str) -> Measure:
    """Return a measure of a whole process that runs *code*, with *folder* on its path."""
    path = os.pathsep.join(filter(None, [str(folder or ""), os.environ.get("PYTHONPATH", "")]))

    def measure() -> float:
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path}
        )
        return time.perf_counter() - begin

    return measure


def _strangers(folder: Path) -> None:
    for number in range(_STRANGERS):
        info = folder / f"stranger_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: stranger-{number}\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(
            f"[connectors.executors]\nstranger{number} = stranger_{number}:Executor\n"
        )


def _timed_inside(folder: Path, code: str) -> Measure:
    """Return a measure of *code* in a fresh process, where *folder* has not been searched yet.

    All modules that the code needs are loaded before, ours as well as the standard library's.
    """
    program = (
        "import sys, time, importlib.metadata, connectors\n"
        "importlib.metadata.entry_points()\n"
        'connectors.executor("sequential")\n'
        f"sys.path.append({str(folder)!r})\n"
        f"begin = time.perf_counter()\n{code}\n"
        "print(time.perf_counter() - begin)\n"
        "assert not [name for name in sys.modules if name.startswith('stranger')]\n"
    )

    def measure() -> float:
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        )
        return float(done.stdout)

    return measure


def _submits(pool: concurrent.futures.Executor, calls: int) -> Measure:
    def run() -> None:
        submit = pool.submit
        for _ in range(calls):
            submit(abs, -1).result()

    return timed(run, calls)


def _maps(pool: concurrent.futures.Executor, items: int) -> Measure:
    return timed(lambda: sum(pool.map(abs, range(items))), items)


def _under(run: object, body: object) -> Measure:
    return lambda: run(body)  # type: ignore[operator, no-any-return]


def _awaits(function: object, calls: int) -> object:
    async def body() -> float:
        await function()  # type: ignore[operator]
        begin = time.perf_counter()
        for _ in range(calls):
            await function()  # type: ignore[operator]
        return (time.perf_counter() - begin) / calls

    return body


def _growth(executor: connectors.Executor, items: int) -> float:
    """Return by how many MiB the process grows during a map over *items*."""
    before = _resident()
    most = before
    for number, _ in enumerate(executor.map(abs, iter(range(items)))):
        if number % 100_000 == 0:
            most = max(most, _resident())
    return (max(most, _resident()) - before) / 2**20


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def rows() -> Iterator[Row]:
    """Yield the rows; what they need is open while they are measured."""
    yield Row(
        "`import connectors`, whole process",
        _process(None, "import connectors"),
        {"`import attrs`": _process(None, "import attrs")},
        limit=1.3,
        unit="ms",
        rounds=15,
    )
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _strangers(folder)
        yield Row(
            f'`executor("sequential")`, {_STRANGERS} more distributions, modules loaded',
            _timed_inside(folder, 'connectors.executor("sequential")'),
            {"bare `entry_points()`": _timed_inside(folder, "importlib.metadata.entry_points()")},
            limit=1.5,
            unit="ms",
            rounds=15,
        )
        yield Row(
            "the same, whole process with all imports (beside `entry_points()` alone)",
            _process(folder, 'import connectors; connectors.executor("sequential")'),
            {
                "bare `entry_points()`": _process(
                    folder, "import importlib.metadata; importlib.metadata.entry_points()"
                )
            },
            unit="ms",
            rounds=15,
        )
        sequential = stack.enter_context(connectors.executor("sequential"))
        threading = stack.enter_context(connectors.executor("threading", threads=4))
        trio_executor = stack.enter_context(connectors.executor("trio", threads=4))
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(4))
        calls = 20_000
        yield Row(
            "sequential: `submit().result()`",
            _submits(sequential, calls),
            {"direct call": timed(lambda: [abs(-1) for _ in range(calls)], calls)},
            absolute=5.0,
        )
        yield Row(
            "threading: `submit().result()`",
            _submits(threading, 5_000),
            {"ThreadPoolExecutor": _submits(pool, 5_000)},
            limit=1.3,
        )
        yield Row(
            "threading: `map` of 20,000 calls, per item",
            _maps(threading, 20_000),
            {"ThreadPoolExecutor": _maps(pool, 20_000)},
            limit=1.0,
        )
        yield from _awaited(threading, trio_executor, pool)
        yield Row(
            "sequential: `map` of 10 million items, growth of the process",
            functools.partial(_growth, sequential, 10_000_000),
            absolute=20.0,
            unit="MiB",
            rounds=1,
        )


def _awaited(
    threading: connectors.Executor,
    trio_executor: connectors.Executor,
    pool: concurrent.futures.Executor,
) -> Iterator[Row]:
    def ours(executor: connectors.Executor) -> object:
        return lambda: executor.run_method(Parallelization.THREAD, operator.abs, None, -1)

    def in_asyncio() -> object:
        return asyncio.get_running_loop().run_in_executor(pool, abs, -1)

    calls = 2_000
    yield Row(
        "asyncio: `await run_method` THREAD on threading",
        _under(lambda body: asyncio.run(body()), _awaits(ours(threading), calls)),
        {"`run_in_executor`": _under(lambda body: asyncio.run(body()), _awaits(in_asyncio, calls))},
        limit=1.2,
    )
    peers = {
        "`trio.to_thread.run_sync`": _under(
            trio.run, _awaits(lambda: trio.to_thread.run_sync(abs, -1), calls)
        )
    }
    for executor in (threading, trio_executor):
        yield Row(
            f"trio: `await run_method` THREAD on {executor.name}",
            _under(trio.run, _awaits(ours(executor), calls)),
            peers,
            limit=1.2,
        )
