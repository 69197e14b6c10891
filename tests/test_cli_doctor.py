"""``connectors doctor``: every plugin in a process of its own, and the machine."""

from __future__ import annotations

import json
import sys

import pytest

from connectors.cli import _doctor, main
from connectors.settings import explain_cpus

pytestmark = pytest.mark.slow

GOOD = """
    import connectors

    print("I talk while I am imported")

    class Good(connectors.Executor):
        pass
"""
HOOKS = """
    import connectors

    @connectors.hookimpl
    def connectors_event(event):
        pass
"""


@pytest.fixture(autouse=True)
def clean(registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def examined(capsys, *words):
    code = main(["doctor", "--json", *words])
    found = json.loads(capsys.readouterr().out)
    return code, {each["address"]: each for each in found["plugins"]}, found["machine"]


def test_all_in_order(capsys, install):
    """Good plugins are loaded elsewhere, and how long it takes is told."""
    install("good", executors={"good": "good_mod:Good"}, modules={"good_mod": GOOD})
    install("hooks", plugins={"hooks": "hooks_mod"}, modules={"hooks_mod": HOOKS})

    code, found, _ = examined(capsys)

    assert code == 0
    assert {each["state"] for each in found.values()} == {"good"}
    assert found["good"]["seconds"] > 0
    assert found["hooks"]["kind"] == "plugin"
    assert "good_mod" not in sys.modules


def test_broken_and_clashing_and_blocked(capsys, install, monkeypatch):
    """What raises, ends the process, has no hooks or clashes is told apart, and the code is 1."""
    install("one", executors={"same": "one_mod:Good"}, modules={"one_mod": GOOD})
    install("two", executors={"same": "two_mod:Good"}, modules={"two_mod": GOOD})
    install("raises", executors={"raises": "raises_mod:X"}, modules={"raises_mod": "1 / 0"})
    install(
        "dies",
        executors={"dies": "dies_mod:X"},
        modules={"dies_mod": "import os, sys; print('so long', file=sys.stderr); os._exit(7)"},
    )
    install(
        "dead", executors={"dead": "dead_mod:X"}, modules={"dead_mod": "import os; os._exit(8)"}
    )
    install("hookless", plugins={"hookless": "hookless_mod"}, modules={"hookless_mod": ""})
    install("off", executors={"off": "raises_mod:X"})
    monkeypatch.setenv("CONNECTORS_DISABLE_PLUGINS", "off")

    code, found, _ = examined(capsys)

    assert code == 1
    assert found["one:same"]["state"] == found["two:same"]["state"] == "clashing"
    assert "two 1.0" in found["one:same"]["problem"]
    assert found["raises"]["state"] == "broken"
    assert "ZeroDivisionError" in found["raises"]["problem"]
    assert found["dies"]["problem"].endswith("code 7: so long")
    assert found["dead"]["problem"].endswith("code 8: it said nothing")
    assert "no hooks" in found["hookless"]["problem"]
    assert (found["off"]["state"], found["off"]["seconds"]) == ("blocked", None)


def test_an_import_that_hangs(capsys, install):
    """An import that takes too long is stopped and told."""
    source = "import threading; threading.Event().wait()"
    install("hangs", executors={"hangs": "hangs_mod:X"}, modules={"hangs_mod": source})

    found = _doctor.probe("executor", "hangs", 0.5)

    assert "longer than 0.5 s" in found["error"]


def test_the_machine(capsys):
    """Python, CPUs and why, start methods and BLAS threads are told."""
    _, _, machine = examined(capsys)

    cpus, reason = explain_cpus()
    assert machine["CPUs"] == {"count": cpus, "reason": reason}
    assert sys.executable in machine["Python"]
    assert machine["start methods"]["ours"] in machine["start methods"]["available"]
    assert all(library["num_threads"] for library in machine["BLAS threads"])


def test_table(capsys, install, monkeypatch):
    """Without ``--json`` the same is a table, with a closing line."""
    install("raises", executors={"raises": "raises_mod:X"}, modules={"raises_mod": "1 / 0"})
    monkeypatch.setenv("OMP_NUM_THREADS", "2")

    code = main(["doctor"])

    out = capsys.readouterr().out
    assert code == 1
    assert "OMP_NUM_THREADS: 2" in out
    assert " ms" in out
    assert out.splitlines()[-1] == "6 executors and plugins: 1 of 6 have a problem"


def test_unknown_version():
    """A distribution that is not installed has no version, and that is no error."""
    assert _doctor.version_of("no-such-distribution") == "unknown"
