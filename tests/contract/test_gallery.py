"""The contract catches each executor of a gallery of bad ones, and passes the good ones."""

from __future__ import annotations

import re
from pathlib import Path

import bad_executors
import pytest

from connectors.testing import CHECKS, run_checks

pytestmark = pytest.mark.slow

HANG = "still ran after"

# What a bad executor does, the check that catches it, and what the check says.
GALLERY = [
    ("DropsKeywords", "arguments", "what submit() passed on"),
    ("TakesKeywords", "arguments", "multiple values for argument"),
    ("MasksExceptions", "exceptions", "RuntimeError"),
    ("LosesTracebacks", "exception_frames", "the innermost frames"),
    ("LosesNeighbours", "failing_neighbours", HANG),
    ("HangsOnDeadWorker", "crash", HANG),
    ("LiesAboutKills", "kills_on_timeout", HANG),
    ("LiesAboutKills", "kills_on_cancel", HANG),
    ("LiesAboutRetries", "engine_retries", "WorkerCrashError"),
    ("RunsCrashesAgain", "crash_runs_once", "['run', 'run']"),
    ("LiesAboutLevels", "declared_levels", "level_for(PROCESS)"),
    ("CallsThreadsProcesses", "real_levels", "ran in the caller's"),
    ("LiesAboutRemote", "remote", "PROCESS is not among its levels"),
    ("LiesAboutContext", "context_in_threads", "the variable in submit()"),
    ("OwnPickler", "logs", "the log records of a PROCESS call"),
    ("OwnPickler", "warnings", "the warnings of a PROCESS call"),
    ("OwnPickler", "context_in_processes", "the variable in a PROCESS call"),
    ("OwnPickler", "local_functions", "pickle"),
    ("OwnPickler", "stubborn_exceptions", "StubbornTrouble"),
    ("LiesAboutAsync", "async_methods", "an async def function in submit()"),
    ("LiesAboutCancels", "cancel", "the cancelled call ran"),
    ("StarvesInside", "calls_inside_calls", HANG),
    ("BlocksTheLoop", "loop_goes_on", HANG),
    ("EagerMap", "map_infinite", HANG),
    ("DoesNotDrain", "close_drains", "close() returned while calls ran"),
    ("NeverEnds", "submit", "its process still ran"),
    ("SwapsResults", "submit", "THREAD: results"),
]


@pytest.mark.parametrize(("name", "check", "words"), GALLERY, ids=lambda value: str(value)[:30])
def test_bad_executor(name, check, words):
    """The check fails for the bad executor, and says why."""
    deadline = 2 if words in (HANG, "its process still ran") else 60

    (result,) = run_checks(getattr(bad_executors, name), deadline=deadline, only=[check])

    assert result.outcome == "failed"
    assert words in result.detail


@pytest.mark.parametrize("name", ["GoodPools", "GoodOverride"])
def test_good_executor(name):
    """A good executor of the shape that a plugin has keeps the whole contract."""
    results = run_checks(getattr(bad_executors, name), jobs=2)

    assert [result for result in results if result.outcome == "failed"] == []
    assert [result.id for result in results] == [check.id for check in CHECKS]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("GoodImportable", "importable_functions"),
        ("GoodImportable", "crash_runs_once"),
        ("GoodRetries", "engine_retries"),
        ("GoodRetries", "crash"),
        ("GoodRetries", "crashing_neighbours"),
    ],
)
def test_rare_capability(name, check):
    """A capability that no built-in has is proved by its check as well."""
    (result,) = run_checks(getattr(bad_executors, name), only=[check])

    assert (result.outcome, result.detail) == ("passed", "")


def test_each_bad_executor_is_shown():
    """The gallery has an entry for each bad executor."""
    _, gallery = Path(bad_executors.__file__).read_text().split("# Bad ones")
    gallery, _ = gallery.split("# Not for the gallery")
    bad = {name for name in re.findall(r"class (\w+)", gallery) if not name.endswith("Pool")}

    assert {name for name, _, _ in GALLERY} == bad
