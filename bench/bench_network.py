"""The network, beside the older library.

Both run in processes of their own, which take turns; the older one has a virtual environment of its
own, since it has the same import name. Usage: ``python bench/bench_network.py``.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import Measure, Row

OLDER = "connectors==4.1"
HERE = Path(__file__).parent
_BUDGET = 0.15  # seconds for one measurement, if it has to be repeated at all
_PATIENCE = 120  # seconds after which a measurement counts as hanging
_ROUNDS = 7


class Failed(Exception):
    """The worker could not measure that."""


class Worker:
    """A process that measures, with the library that its interpreter finds."""

    def __init__(self, python: Path | str) -> None:
        self._python = python
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it is open as long as this
        self._found: dict[tuple[str, int], float] = {}

    def measure(self, name: str, size: int = 1, *, once: bool = False) -> Measure:
        """Return a measure of *name*; a second one does not measure again if it is *once*."""

        def measure() -> float:
            if not once:
                return self.seconds(name, size)
            key = name, size
            if key not in self._found:
                self._found[key] = self.seconds(name, size, 0.0)
            return self._found[key]

        return measure

    def seconds(self, name: str, size: int, budget: float = _BUDGET) -> float:
        """Measure *name* now.

        Raises:
            Failed: It did not work there.
        """
        answer = self._ask({"name": name, "size": size, "budget": budget})
        if "failure" in answer:
            raise Failed(answer["failure"])
        return answer["seconds"]

    def forget(self) -> None:
        """Let go what was built."""
        if self._process is not None:
            self._ask({"forget": True})

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        self._log.close()

    def _ask(self, request: dict[str, object]) -> dict[str, object]:
        if self._process is None:
            self._process = subprocess.Popen(
                [self._python, "-c", "import network_worker; network_worker.main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                cwd=HERE,
                env={**os.environ, "PYTHONPATH": str(HERE)},  # workers find the blocks' classes
            )
        process = self._process
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = ""
        if select.select([process.stdout], [], [], _PATIENCE)[0]:
            line = process.stdout.readline()
        if line:
            return json.loads(line)
        process.kill()
        code = process.wait()
        self._process = None
        self._log.seek(0)
        last = self._log.read().strip().splitlines()[-1:]
        return {"failure": " ".join([f"the process ended with {code}", *last])}


def older_python() -> Path:
    """Return the interpreter of an environment with the older library, which is made if needed.

    It lies in the environment that runs this, so that it goes when that goes.
    """
    folder = Path(sys.prefix) / "older-connectors"
    python = folder / "bin" / "python"
    ready = folder / f"{OLDER}.ready"
    if not ready.exists():
        print(f"... installing {OLDER} into {folder}", file=sys.stderr, flush=True)
        venv.create(folder, clear=True, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", OLDER]
        subprocess.run(pip, check=True)
        subprocess.run([python, "-c", "import connectors; connectors.MultiInputData"], check=True)
        ready.touch()
    return python


def rows() -> Iterator[Row]:
    """Yield the rows; both processes live while they are measured."""
    with contextlib.ExitStack() as stack:
        ours = Worker(sys.executable)
        stack.callback(ours.close)
        older = None
        try:
            older = Worker(older_python())
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{OLDER} cannot be had: {error}. Ours stand alone; the figures", end=" ")
            print("that the targets count from are in section 7 of the specification.\n")
        else:
            stack.callback(older.close)

        def row(title: str, name: str, size: int = 1, *, once: bool = False, **options) -> Row:
            peers = {}
            if older is not None:
                theirs = older.measure(name, size, once=once)
                try:
                    theirs()
                    peers = {OLDER: theirs}
                except Failed as error:
                    title += f" (the older: {str(error).partition(':')[0]})"
            if not peers:
                options.pop("limit", None)
            options = {"rounds": _ROUNDS, "spread": True, **options}
            return Row(title, ours.measure(name, size), peers, **options)

        for found in _all(row, ours, older):
            yield found
            ours.forget()
            if older is not None:
                older.forget()


def _all(row: Callable[..., Row], ours: Worker, older: Worker | None) -> Iterator[Row]:
    yield row("cached read of a connector", "cached", absolute=0.3, alone=True)
    yield row("uncached read of one block, sequential", "uncached", limit=1 / 4)
    pair = "set + read of a two-block chain"
    yield row(f"{pair}, sequential", "pair, sequential")
    yield row(f"{pair}, `threads=2`", "pair, threads")
    away = f"{pair}, PROCESS getters"
    limit = {"limit": 1 / 15, "unit": "ms"}
    yield row(f"{away}, `threads=0, processes=2`", "pair, processes", **limit)
    yield row(f"{away}, `threads=2, processes=2`", "pair, threads and processes", **limit)
    chain = "chain of 150 blocks, set + read, per block"
    yield row(f"{chain}, sequential", "chain, sequential", 150, limit=1 / 5)
    yield row(
        f"{chain}, `threads=2`, getters THREAD (the default)", "chain, threads", 150, limit=1 / 10
    )
    yield row(
        f"{chain}, `threads=2`, getters and setters THREAD",
        "chain, all threads",
        150,
        limit=1 / 10,
    )
    fan = "1,000 blocks from one output into one multi-input, set + read, per block"
    yield row(f"{fan}, default executor", "fan, default", 1000, limit=1 / 3)
    yield row(f"{fan}, `threads=4`", "fan, threads", 1000, limit=1 / 3)
    yield row(f"{fan}, sequential", "fan, sequential", 1000)
    yield row("direct call of a multi-input, connector", "multi-input")
    yield row("direct call of a multi-input, proxy", "multi-input, proxy")
    absolute = {"absolute": 1.0, "alone": True, "unit": "ms"}
    yield row("one set in front of 12 diamonds", "diamonds", 12, **absolute)
    yield row("one set in front of 18 diamonds", "diamonds", 18, once=True, **absolute)
    yield from _long(ours, older)


def _long(ours: Worker, older: Worker | None) -> Iterator[Row]:
    size, short = 100_000, 10_000
    fails = ""
    if older is not None:
        try:
            older.seconds("first read", size)
        except Failed as error:
            fails = f" (the older: {str(error).partition(':')[0]})"
    title = f"chain of {size:,} blocks"
    limit = {"absolute": 2000.0, "unit": "ms", "rounds": 3}
    yield Row(
        f"{title}, connecting it in order", ours.measure("connecting", size), unit="ms", rounds=3
    )
    kept: dict[str, float] = {}

    def of(name: str) -> float:
        kept[name] = ours.seconds(name, size)
        return kept[name]

    def growth(name: str) -> float:
        """Return by how much a block of the chain costs more than one of a short chain."""
        return kept[name] / ours.seconds(name, short) / (size / short)

    for what, name in [("first set + read", "first read"), ("set + read", "long chain")]:
        yield Row(f"{title}, {what}, sequential{fails}", functools.partial(of, name), **limit)
        yield Row(
            f"the same, per block, over a chain of {short:,}",
            functools.partial(growth, name),
            absolute=2.0,
            unit="ratio",
            rounds=3,
        )
        fails = ""
    threads = ours.measure("long chain, threads", size)
    yield Row(f"{title}, set + read, `threads=2`", threads, **limit)


if __name__ == "__main__":
    import run

    sys.exit(run.main(["network"]))
