"""`run_checks`, which runs the contract, each check in a process of its own with a deadline."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from connectors import Capabilities, ConnectorsError, Executor
from connectors._errors import did_you_mean, listing
from connectors._packed_errors import unpack_error

from ._check import Check
from ._child import CAPABILITIES, OUTPUT, Order
from ._result import CheckResult, Subject
from ._table import CHECKS
from ._watch import Spawned, Verdict, watch

_PROGRAM = ("-m", "connectors.testing")


def run_checks(
    executor: str | type[Executor],
    options: Mapping[str, Any] | None = None,
    *,
    deadline: float = 60.0,
    only: Iterable[str] | None = None,
    jobs: int = 1,
    report: Callable[[CheckResult], object] | None = None,
) -> list[CheckResult]:
    """Run the contract on an executor and return what came of each check.

    Args:
        executor: Its name, its address ``pkg.mod:Class``, or its class, which has to be
            importable.
        options: The options to make it with.
        deadline: How many seconds each check has. One that takes longer has failed.
        only: The names of the checks to run; by default all.
        jobs: How many checks run at a time.
        report: Is called with each result as it comes.

    Returns:
        The results in the order of the contract.

    Raises:
        ConnectorsError: The executor cannot be made, or *only* names no check.
    """
    checks = _chosen(only)
    with Runner(executor, options, deadline=deadline) as first:
        first.capabilities()  # tells at once whether there is such an executor
        if jobs == 1:
            return [_reported(first.run(check), report) for check in checks]
    return _run_at_once(Subject.of(executor, options), deadline, checks, jobs, report)


def _run_at_once(
    subject: Subject,
    deadline: float,
    checks: Sequence[Check],
    jobs: int,
    report: Callable[[CheckResult], object] | None,
) -> list[CheckResult]:
    own = threading.local()
    runners: list[Runner] = []

    def run(check: Check) -> CheckResult:
        if not hasattr(own, "runner"):
            own.runner = Runner(subject.name, subject.options, deadline=deadline)
            runners.append(own.runner)
        result: CheckResult = own.runner.run(check)
        return result

    pool = ThreadPoolExecutor(jobs)
    try:
        return [_reported(result, report) for result in pool.map(run, checks)]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for runner in runners:
            runner.close()  # after Ctrl-C it ends the checks that run
        pool.shutdown()


def _reported(result: CheckResult, report: Callable[[CheckResult], object] | None) -> CheckResult:
    if report is not None:
        report(result)
    return result


def _chosen(only: Iterable[str] | None) -> list[Check]:
    if only is None:
        return list(CHECKS)
    wanted = set(only)
    known = [check.id for check in CHECKS]
    for name in sorted(wanted.difference(known)):
        raise ConnectorsError(
            f"no check '{name}'; there are: {listing(known)}.{did_you_mean(name, known)}"
        )
    return [check for check in CHECKS if check.id in wanted]


class Runner:
    """Runs checks on one executor, each in a process of its own.

    It is a context manager, and starts its helper process when the first check is run.

    Args:
        executor: Its name, its address ``pkg.mod:Class``, or its class.
        options: The options to make it with.
        deadline: How many seconds each check has.

    Raises:
        SettingsError: The class cannot be imported elsewhere.
    """

    def __init__(
        self,
        executor: str | type[Executor],
        options: Mapping[str, Any] | None = None,
        *,
        deadline: float = 60.0,
    ) -> None:
        self._subject = Subject.of(executor, options)
        self._deadline = deadline
        self._server: subprocess.Popen[bytes] | None = None
        self._capabilities: Capabilities | None = None

    def capabilities(self) -> Capabilities:
        """Return what the executor declares.

        Raises:
            Exception: What was raised when the executor was made.
        """
        if self._capabilities is None:
            verdict = self._perform(CAPABILITIES)
            if isinstance(verdict.value, Capabilities):
                self._capabilities = verdict.value
            elif isinstance(verdict.value, str):
                raise ConnectorsError(f"'{self._subject.name}' cannot be made: {verdict.value}")
            else:
                raise unpack_error(verdict.value)
        return self._capabilities

    def run(self, check: Check) -> CheckResult:
        """Run *check*, unless it does not concern the executor, and return what came of it."""
        objection = check.objection(self.capabilities())
        if objection is not None:
            return CheckResult(check.id, check.title, "skipped", objection)
        verdict = self._perform(check.id)
        outcome = "passed" if verdict.outcome == "passed" else "failed"
        return CheckResult(check.id, check.title, outcome, verdict.value, verdict.seconds)  # type: ignore[arg-type]

    def close(self) -> None:
        """End the helper process, and the check that it may be running."""
        server, self._server = self._server, None
        if server is None:
            return
        assert server.stdin is not None
        assert server.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            server.stdin.close()
        with server.stdout:
            server.stdout.read()  # the verdict on the check that is ended now
        server.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _perform(self, check: str) -> Verdict:
        with tempfile.TemporaryDirectory(prefix="connectors-check-") as folder:
            order = Order(self._subject, check, self._deadline, folder)
            # Elsewhere a fork without exec is not to be relied on.
            return self._send(order) if sys.platform == "linux" else _spawn(order)

    def _send(self, order: Order) -> Verdict:
        if self._server is None:
            self._server = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, *_PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for us, and we tell it
            )
        stdin, stdout = self._server.stdin, self._server.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(pickle.dumps(order))
            stdin.flush()
            verdict: Verdict = pickle.load(stdout)
        except (OSError, EOFError):
            self.close()
            return Verdict("failed", "the process that runs the checks ended", 0.0)
        return verdict


def _spawn(order: Order) -> Verdict:
    with Path(order.folder, OUTPUT).open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, *_PROGRAM, "once"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=_environment(),
            start_new_session=True,
        )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(order))
    process.stdin.close()
    return watch(Spawned(process), order, lambda: False)


def _environment() -> dict[str, str]:
    """Return the environment in which all can be imported that can be imported here."""
    paths = [path or str(Path.cwd()) for path in sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
