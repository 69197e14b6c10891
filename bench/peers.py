"""Older libraries as peers, each in an environment and in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

from harness import Failed, Measure

HERE = Path(__file__).parent
_BUDGET = 0.15  # seconds for one measurement, if it has to be repeated at all
_PATIENCE = 120  # seconds after which a measurement counts as hanging
_INSTALLING = 900  # seconds after which an installation counts as hanging


class Unavailable(Exception):
    """The older library cannot be had here."""


class Worker:
    """A process that measures, with the libraries that its interpreter finds.

    It serves what *module*, which lies beside this one, has as ``MEASURES``.
    """

    def __init__(self, python: Path | str, module: str) -> None:
        self._python = python
        self._module = module
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
            program = f"import serving, {self._module} as served; serving.serve(served.MEASURES)"
            self._process = subprocess.Popen(
                [self._python, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                cwd=HERE,
                env={**os.environ, "PYTHONPATH": str(HERE)},  # its own workers find its classes
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


def environment(requirement: str, check: str) -> Path:
    """Return the interpreter of an environment with *requirement*, which is made if needed.

    It lies in the environment that runs this, so that it goes when that goes. The statement *check*
    has to work in it.

    Raises:
        Unavailable: It cannot be installed or imported.
    """
    folder = Path(sys.prefix) / f"older-{requirement.partition('==')[0]}"
    python = folder / "bin" / "python"
    ready = folder / f"{requirement}.ready"
    if not ready.exists():
        print(f"... installing {requirement} into {folder}", file=sys.stderr, flush=True)
        try:
            venv.create(folder, clear=True, with_pip=True)
            pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
            _run(*pip, "install", "--quiet", requirement)
            _run(python, "-c", check)
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"cannot be installed here: {_reason(error)}") from error
        ready.touch()
    return python


def _run(*command: Path | str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALLING)


def _reason(error: Exception) -> str:
    lines = str(getattr(error, "stderr", None) or error).strip().splitlines()
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines)[-1][:200].removeprefix("ERROR: ").replace("|", "/")


@contextlib.contextmanager
def beside(
    module: str, requirement: str, check: str
) -> Iterator[tuple[Worker, Worker | None, dict[str, str]]]:
    """Give a worker of ours and one with the older library, as long as the block lasts.

    Where the older one cannot be had there is none, and the last thing given says why.

    Args:
        module: What both serve; see `Worker`.
        requirement: The older library; see `environment`.
        check: See `environment`.
    """
    with contextlib.ExitStack() as stack:
        ours = Worker(sys.executable, module)
        stack.callback(ours.close)
        older, absent = None, {}
        try:
            older = Worker(environment(requirement, check), module)
        except Unavailable as error:
            absent[requirement] = str(error)
        else:
            stack.callback(older.close)
        yield ours, older, absent
