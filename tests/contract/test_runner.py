"""How checks are run: each in a process of its own, with a deadline, found by name."""

from __future__ import annotations

import subprocess
import sys
import threading

import attrs
import bad_executors
import pytest

import connectors
from connectors.testing import CHECKS, CheckResult, Runner, run_checks
from connectors.testing import _runner as runner_module
from connectors.testing._gate import Gate

pytestmark = pytest.mark.slow

BY_NAME = {check.id: check for check in CHECKS}


def test_each_check_has_a_name_and_a_title():
    """Each check has a name of its own and says in a sentence what it promises."""
    assert len(BY_NAME) == len(CHECKS)
    for check in CHECKS:
        assert check.title.endswith(".")


def test_a_check_is_a_plain_function():
    """A check can be called with any function that makes an executor."""
    BY_NAME["submit"].function(lambda: connectors.executor("sequential"))


def test_checks_need_no_pytest():
    """A user without pytest can run the contract."""
    program = (
        "import sys; import connectors.testing as testing; testing.CHECKS; testing.run_checks; "
        "sys.exit('pytest' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_results_are_frozen():
    """A result tells what came of a check and cannot be changed."""
    (result,) = run_checks("sequential", only=["submit"])

    assert (result.id, result.outcome, result.detail) == ("submit", "passed", "")
    assert result.seconds > 0
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        result.outcome = "failed"


def test_skipping_follows_from_capabilities():
    """A check that does not concern an executor is skipped, and its result says why."""
    (result,) = run_checks("sequential", only=["crash"])

    assert (result.outcome, result.detail) == ("skipped", "it declares no PROCESS")


def test_skipping_where_a_capability_excludes_a_promise():
    """A check that a capability makes void is skipped for those who declare it."""
    (result,) = run_checks(bad_executors.GoodImportable, only=["local_functions"])

    assert (result.outcome, result.detail) == ("skipped", "it declares importable")


def test_results_are_reported_as_they_come():
    """Whoever wants to show progress hears of each result, in the order of the contract."""
    seen: list[CheckResult] = []

    results = run_checks(
        "threading", {"threads": 1}, only=["map", "submit"], jobs=2, report=seen.append
    )

    assert seen == results
    assert [result.id for result in results] == ["submit", "map"]


def test_unknown_executor():
    """An executor that does not exist is told once, by the error of the factory."""
    with pytest.raises(connectors.ExecutorNotFoundError, match="no executor 'sequentiel'"):
        run_checks("sequentiel")


def test_unknown_option():
    """An option that does not exist is told once, by the error of the factory."""
    with pytest.raises(connectors.OptionError, match="thread"):
        run_checks("threading", {"thread": 1})


def test_unknown_check():
    """A check that does not exist is told with those that do."""
    with pytest.raises(connectors.ConnectorsError, match="no check 'submitt'.*'submit'"):
        run_checks("threading", only=["submitt"])


def test_class_that_cannot_be_imported():
    """A local class is refused, because no other process could import it."""

    class Local(connectors.Executor):
        pass

    with pytest.raises(connectors.SettingsError, match="at the top of a module"):
        run_checks(Local)


def test_executor_that_cannot_be_made():
    """What the constructor of an executor raises reaches the caller as itself."""
    with pytest.raises(ZeroDivisionError):
        run_checks(bad_executors.NotMade)


def test_hang_leaves_nothing_behind():
    """A check over its deadline has failed, says where it was, and its process is ended."""
    with Gate() as gate:
        options = {"port": gate.address[1]}
        with Runner(bad_executors.Reporting, options, deadline=2) as runner:
            runner.capabilities()
            gate.visitor()
            result = runner.run(BY_NAME["run_coroutine"])
            by_itself = gate.visitor().left()

    assert result.outcome == "failed"
    assert "it still ran after 2 seconds" in result.detail
    assert "in check_run_coroutine" in result.detail
    assert not by_itself


def test_closing_a_runner_ends_its_check():
    """Who loses interest in a check ends its process, and does not wait for its deadline."""
    results = []
    with Gate() as gate:
        runner = Runner(bad_executors.Reporting, {"port": gate.address[1]}, deadline=100)
        runner.capabilities()
        gate.visitor()
        check = BY_NAME["run_coroutine"]
        thread = threading.Thread(target=lambda: results.append(runner.run(check)))
        thread.start()
        visitor = gate.visitor()
        runner.close()
        thread.join()
        by_itself = visitor.left()

    assert [result.outcome for result in results] == ["failed"]
    assert not by_itself


def test_process_that_ends_early():
    """A check whose process ends before it is done has failed."""
    (result,) = run_checks(bad_executors.EndsTheProcess, only=["submit"])

    assert result.outcome == "failed"
    assert "its process ended with exit code 9" in result.detail


def test_without_fork(monkeypatch):
    """Where there is no fork to rely on, each check is a program of its own."""
    monkeypatch.setattr(runner_module.sys, "platform", "other")

    results = run_checks("threading", only=["submit", "crash", "exceptions"])

    assert [result.outcome for result in results] == ["passed", "passed", "skipped"]


def test_hang_without_fork(monkeypatch):
    """A program of its own that hangs is ended as well."""
    monkeypatch.setattr(runner_module.sys, "platform", "other")

    (result,) = run_checks(bad_executors.StarvesInside, deadline=3, only=["calls_inside_calls"])

    assert result.outcome == "failed"
    assert "it still ran after 3 seconds" in result.detail
