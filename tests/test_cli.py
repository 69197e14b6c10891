"""``connectors``: its commands but `run`, their JSON, and what bad input gets."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import connectors
from connectors.cli import _output, main
from connectors.testing import CheckResult

GOOD = """
    import connectors

    class Good(connectors.Executor):
        capabilities = connectors.Capabilities(levels={connectors.Parallelization.THREAD})
        speed: int = connectors.option(default=1, minimum=1, help="how fast it is")
"""


@pytest.fixture(autouse=True)
def clean(registry, tmp_path, monkeypatch):
    """An empty directory, no settings, and no plugins."""
    monkeypatch.chdir(tmp_path)


def run(capsys, *words):
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys, *words):
    """Return the message of a command that cannot be done, which fits a screen."""
    code, out, err = run(capsys, *words)
    assert code == 2, err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 24
    return err


def settle(monkeypatch, tmp_path, text):
    """Make *text* the settings file."""
    path = tmp_path / "connectors.toml"
    path.write_text(text)
    monkeypatch.setenv("CONNECTORS_CONFIG", str(path))
    return path


def test_list_names_the_builtins_and_plugins(capsys, install):
    """`list` has a row per executor, with its aliases, distribution and version."""
    install("nice-plugin", "2.5", executors={"nice": "nice_mod:Good", "kind": "nice_mod:Good"})

    code, out, _ = run(capsys, "list")

    rows = {line.split()[0]: line.split() for line in out.splitlines()}
    assert code == 0
    assert rows["nice"][1:4] == ["kind", "nice-plugin", "2.5"]
    assert {"sequential", "threading", "multiprocessing", "trio"} <= set(rows)


def test_list_imports_no_plugin(capsys, install):
    """`list` says what is installed although nothing of it can be imported."""
    install("bomb", executors={"bomb": "bomb_mod:X"}, modules={"bomb_mod": "raise SystemExit(9)"})
    install("bomb-plugins", plugins={"bombs": "bomb_mod"})

    code, out, err = run(capsys, "list", "--json")

    states = {row["name"]: row["state"] for row in json.loads(out)}
    assert (code, err, states["bomb"]) == (0, "", "not loaded")
    assert "bomb_mod" not in sys.modules


def test_list_load_adds_levels_and_state(capsys, install):
    """`list --load` imports each, tells what it can do, and why a broken one cannot be used."""
    install("good", executors={"good": "good_mod:Good"}, modules={"good_mod": GOOD})
    install("bad", executors={"bad": "bad_mod:X"}, modules={"bad_mod": "1 / 0"})

    _, out, _ = run(capsys, "list", "--load", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    code, table, _ = run(capsys, "list", "--load")

    assert code == 0
    assert rows["good"]["capabilities"]["levels"] == ["SEQUENTIAL", "THREAD"]
    assert rows["good"]["state"] == "loaded"
    assert rows["bad"]["state"] == "broken"
    assert rows["bad"]["capabilities"] is None
    assert "ZeroDivisionError" in table


def test_list_tells_of_blocked_and_clashing_names(capsys, install, monkeypatch):
    """Who is blocked and who claims the same name stands in `list` without loading."""
    install("one", executors={"same": "one_mod:A"})
    install("two", executors={"same": "two_mod:A"})
    install("three", executors={"off": "three_mod:A"})
    monkeypatch.setenv("CONNECTORS_DISABLE_PLUGINS", "off")

    _, out, _ = run(capsys, "list", "--load")

    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "two 1.0" in lines["one:same"]
    assert "one 1.0" in lines["two:same"]
    assert "CONNECTORS_DISABLE_PLUGINS" in lines["off"]


def test_show_gives_options_with_values_and_origins(capsys, monkeypatch, tmp_path):
    """`show` has each option with its type, default, value, and where the value comes from."""
    path = settle(monkeypatch, tmp_path, "[executors.threading]\nthreads = 3\n")

    _, out, _ = run(capsys, "show", "threading", "-o", "daemon=yes", "--json")
    options = {option["option"]: option for option in json.loads(out)["options"]}
    code, table, _ = run(capsys, "show", "threading")

    assert code == 0
    assert options["threads"]["value"] == 3
    assert options["threads"]["origin"].startswith(str(path))
    assert options["threads"]["type"] == "int or None, at least 1"
    assert options["threads"]["environment_variable"] == "CONNECTORS_THREADING_THREADS"
    assert (options["daemon"]["value"], options["daemon"]["origin"]) == (True, "keyword argument")
    assert options["strict"]["origin"] == "default"
    assert "SEQUENTIAL, THREAD" in table


def test_show_follows_a_profile(capsys, monkeypatch, tmp_path):
    """`show` of a profile shows the executor behind it, with the options of the profile."""
    settle(monkeypatch, tmp_path, "[profiles.wide]\nexecutor = 'threading'\nthreads = 64\n")

    code, out, _ = run(capsys, "show", "wide")

    assert code == 0
    assert "wide" in out
    assert any(line.split()[:1] == ["threads"] and " 64 " in line for line in out.splitlines())


def test_show_takes_options_of_a_profile(capsys, monkeypatch, tmp_path):
    """``-o`` comes before what the profile says, and is read as the executor's option."""
    settle(
        monkeypatch, tmp_path, "[profiles.wide]\nexecutor = ['dsk', 'threading']\nthreads = 64\n"
    )

    code, out, _ = run(capsys, "show", "wide", "-o", "threads=2", "--json")

    values = {option["option"]: option["value"] for option in json.loads(out)["options"]}
    assert (code, values["threads"]) == (0, 2)


def test_config_prints_origins_and_files(capsys, monkeypatch, tmp_path):
    """`config` prints each setting with its origin, and each file with what became of it."""
    path = settle(monkeypatch, tmp_path, "executor = 'trio'\n[executors.trio]\nthreads = 2\n")
    monkeypatch.setenv("CONNECTORS_THREADING_THREADS", "7")

    _, out, _ = run(capsys, "config", "--json")
    found = json.loads(out)
    rows = {row["key"]: (row["value"], row["origin"]) for row in found["settings"]}
    code, table, _ = run(capsys, "config")

    assert code == 0
    assert rows["executor"] == ("trio", str(path))
    assert rows["executors.trio.threads"] == (2, f"{path}: [executors.trio]")
    assert rows["executors.threading.threads"][0] == "7"
    assert "CONNECTORS_THREADING_THREADS" in rows["executors.threading.threads"][1]
    assert [file["path"] for file in found["files"]][0] == str(path)
    assert "executors.trio.threads" in table


def test_config_finds_an_option_that_nobody_has(capsys, monkeypatch, tmp_path):
    """A typing error in an option is found by `config`, before the executor is ever used."""
    path = settle(monkeypatch, tmp_path, "[executors.threading]\nthread = 3\n")

    err = refused(capsys, "config")

    assert "'thread'" in err
    assert str(path) in err
    assert "Did you mean 'threads'?" in err


def test_config_passes_over_what_is_not_installed(capsys, monkeypatch, tmp_path):
    """Settings for an executor of another machine are no mistake."""
    settle(monkeypatch, tmp_path, "[executors.dask]\naddress = 'tcp://10.0.0.1:8786'\n")

    assert run(capsys, "config")[0] == 0


def test_explain_tells_the_decision_in_words(capsys):
    """`explain` says which level a wish gets, and why the farther ones are not taken."""
    code, out, _ = run(capsys, "explain", "threading", "--wish", "PROCESS")

    assert code == 0
    assert "a call on 'threading': PROCESS was asked for, THREAD is chosen" in out
    assert "not PROCESS: 'threading' has no pool for PROCESS" in out


def test_explain_takes_a_target(capsys, tmp_path):
    """`explain` of a function names it, and knows what stands against this very one."""
    (tmp_path / "waiting.py").write_text("async def wait(x): ...\n")

    code, out, _ = run(capsys, "explain", "multiprocessing", "waiting.py:wait", "--json")

    decision = json.loads(out)[-1]
    assert code == 0
    assert decision["asked"] == "PROCESS"
    assert "async def" in decision["rejected"]["PROCESS"]


def test_check_prints_a_scorecard(capsys, monkeypatch):
    """`check` has a row per promise and the overhead per level; a broken promise makes it 1."""
    results = [
        CheckResult("a", "It runs.", "passed", "", 0.5),
        CheckResult("b", "It ends.", "failed", "it did not", 1.0),
    ]
    asked = []

    def run_checks(name, options, **_):
        asked.append((name, options))
        return results

    monkeypatch.setattr(connectors.testing, "run_checks", run_checks)

    code, out, _ = run(capsys, "check", "threading", "-o", "threads=2")
    json_code, as_json, _ = run(capsys, "check", "threading", "--json")

    found = json.loads(as_json)
    assert (code, json_code) == (1, 1)
    assert asked[0] == ("threading", {"threads": 2})
    assert "1 passed, 1 failed, 0 skipped" in out
    assert "it did not" in out
    assert set(found["seconds"]) == {"SEQUENTIAL", "THREAD"}
    assert [check["outcome"] for check in found["checks"]] == ["passed", "failed"]


def test_check_is_0_if_all_promises_are_kept(capsys, monkeypatch):
    """`check` tells each result while it waits for the next, and is content with skipped ones."""

    def run_checks(name, options, *, report):
        result = CheckResult("a", "It runs.", "skipped", "it declares no levels")
        report(result)
        return [result]

    monkeypatch.setattr(connectors.testing, "run_checks", run_checks)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    code, _, err = run(capsys, "check", "sequential")

    assert (code, err) == (0, "skipped: It runs.\n")


def test_check_takes_one_executor(capsys):
    """`check` refuses a list, of which it could not say what it checked."""
    assert "threading,trio" in refused(capsys, "check", "threading,trio")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["show", "treading"],
            ["'treading'", "installed: sequential", "Did you mean 'threading'?"],
        ),
        (["show", ""], ["connectors list"]),
        (["show", "dask"], ["pip install connectors-dask"]),
        (["show", "threading", "-o", "thread=3"], ["-o thread=3", "Did you mean 'threads'?"]),
        (["show", "threading", "-o", "threads=x"], ["-o threads=x", "int or None, at least 1"]),
        (["show", "threading", "-o", "threads=-1"], ["-o threads=-1", "at least 1"]),
        (["show", "threading", "-o", "threads"], ["-o threads", "OPTION=VALUE"]),
        (["show", "threading", "-o", "=3"], ["-o =3", "OPTION=VALUE"]),
        (["show", "dsk,dks", "-o", "threads=1"], ["no executor 'dsk'"]),
        (["explain", "threading", "--wish", "far"], ["--wish", "'far'", "'process'"]),
        (["explain", "threading", "no_such:thing"], ["no_such:thing", "no module 'no_such'"]),
        (["lst"], ["'lst'", "'list'"]),
        ([], ["COMMAND"]),
        (["list", "--lod"], ["--lod"]),
        (["list", "more"], ["more"]),
        (["list", "--", "more"], ["more"]),
    ],
)
def test_usage_errors(capsys, words, told):
    """What was typed wrong is named, with its place and its cure, and the exit code is 2."""
    err = refused(capsys, *words)

    assert all(part in err for part in told), err


def test_a_typing_error_in_the_settings(capsys, monkeypatch, tmp_path):
    """A settings file with an unknown key is named with line and key, whatever is asked for."""
    path = settle(monkeypatch, tmp_path, "executor = 'trio'\nexecuters = 3\n")

    for words in (["config"], ["list"], ["show", "threading"], ["run", "math:sqrt", "4"]):
        err = refused(capsys, *words)
        assert str(path) in err
        assert "executers" in err


def test_a_broken_plugin(capsys, install):
    """A plugin that cannot be imported is named with its distribution and its error."""
    install("bad-plugin", "3.1", executors={"bad": "bad_mod:X"}, modules={"bad_mod": "1 / 0"})

    err = refused(capsys, "show", "bad")

    assert "bad-plugin 3.1" in err
    assert "ZeroDivisionError" in err


def test_settings_import_no_address(capsys, monkeypatch, tmp_path):
    """The executor that a file configures is a name, also where ``-o`` looks for its options."""
    (tmp_path / "secret_mod.py").write_text("raise AssertionError('imported')")
    settle(monkeypatch, tmp_path, "executor = 'secret_mod:X'\n")

    err = refused(capsys, "run", "math:sqrt", "4", "-o", "threads=1")

    assert "secret_mod:X" in err
    assert "secret_mod" not in sys.modules


def test_plugins_add_commands(capsys, install):
    """A plugin's command is there, with its help, and its exit code is that of the program."""
    source = """
        import connectors

        @connectors.hookimpl
        def connectors_cli_commands(subparsers):
            parser = subparsers.add_parser("greet", help="say hello")
            parser.add_argument("who")
            parser.set_defaults(run=lambda args: print("hello", args.who) or len(args.who))
    """
    install("greeter", plugins={"greeter": "greeter_mod"}, modules={"greeter_mod": source})

    assert run(capsys, "greet", "Ann")[:2] == (3, "hello Ann\n")
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "say hello" in out


def test_a_broken_plugin_command_harms_no_other(capsys, install):
    """A plugin whose hook raises is logged, and the help is printed all the same."""
    source = """
        import connectors

        @connectors.hookimpl
        def connectors_cli_commands(subparsers):
            1 / 0
    """
    install("breaker", plugins={"breaker": "breaker_mod"}, modules={"breaker_mod": source})

    code, out, _ = run(capsys, "--help")

    assert code == 0
    assert "doctor" in out


def test_version(capsys):
    """``--version`` names the distribution and its version."""
    code, out, _ = run(capsys, "--version")

    assert code == 0
    assert out.split()[0] == "connectors-executors"


def test_tables_of_a_terminal_keep_brackets(capsys, monkeypatch, tmp_path):
    """On a terminal tables are drawn, and what stands in brackets is no colour to them."""
    settle(monkeypatch, tmp_path, "[executors.threading]\nthreads = 3\n")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    code, out, _ = run(capsys, "show", "threading")

    assert code == 0
    assert "[executors.threading]" in out
    assert "─" in out


def test_tables_of_a_pipe_are_plain(capsys):
    """In a pipe every row is one line and every cell has something in it."""
    _output.print_table(["a", "b"], [["x\ny", ""], [None, 1]], "title")

    assert capsys.readouterr().out.splitlines() == ["title", "a    b", "x y  -", "-    1"]


def test_json_of_everything_that_commands_have():
    """Enums, sets, mappings and whatever else come out of `plain` as JSON can have them."""
    levels = frozenset({connectors.Parallelization.THREAD})

    assert _output.plain(levels) == ["THREAD"]
    assert _output.plain(types.MappingProxyType({"a": 1})) == {"a": 1}
    assert _output.plain(Path("x")) == "x"


def test_interrupted_command(capsys, monkeypatch):
    """Ctrl-C in any command ends it with 130 and without a traceback."""

    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(connectors.cli._list, "available_executors", interrupt)

    assert run(capsys, "list") == (130, "", "")


def test_closed_output(capsys, monkeypatch):
    """A reader that is gone ends a command quietly, with the code a shell expects."""

    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())

    assert main(["list"]) == 141
    assert capsys.readouterr().err == ""


def test_python_m_and_full_disks():
    """``python -m connectors`` is the program; results that cannot be written are an error."""
    command = [sys.executable, "-m", "connectors", "list"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True)

    assert done.returncode == 2
    assert done.stderr.startswith("connectors list: ")
    assert len(done.stderr.splitlines()) == 1


def test_closed_descriptors():
    """The program works where it has no standard output."""
    code = f"exec {sys.executable} -m connectors list >&- 2>&-"
    environment = {**os.environ, "CONNECTORS_CONFIG": "none"}

    assert subprocess.run(["sh", "-c", code], check=False, env=environment).returncode == 0


def test_starting_is_light():
    """Starting the program loads neither rich nor trio nor an executor."""
    code = (
        "import sys; from connectors.cli import main; main(['list']);"
        "print([m for m in ('rich', 'trio', 'asyncio', 'cattrs', 'connectors.executors')"
        " if m in sys.modules])"
    )
    environment = {**os.environ, "CONNECTORS_CONFIG": "none"}

    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment
    )

    assert done.stdout.splitlines()[-1] == "[]"
