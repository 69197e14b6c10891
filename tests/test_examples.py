"""The example application codestats measures what is there, wherever it runs."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
import sysconfig
import tokenize
from pathlib import Path

import pytest

CODESTATS = Path(__file__).parents[1] / "examples" / "codestats.py"
STDLIB = Path(sysconfig.get_path("stdlib"))
BUILTINS = {"sequential", "threading", "multiprocessing", "threading_multiprocessing", "trio"}

KNOWN = """\
import os.path, sys
from json import loads
from . import sibling


def plain():
    return 1


class Robot:
    @property
    async def walk(self, steps):
        for step in steps:
            if step and step.safe or self.brave:
                await step
            elif step is None:
                continue

        def report(text):
            return text if text else "nothing"

        return [report(step) for step in steps if step]
"""


@pytest.fixture
def run(tmp_path):
    """A function that runs codestats as a user does, without anybody's settings."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("CONNECTORS_")
    }
    environment |= {"CONNECTORS_CONFIG": "none", "COLUMNS": "160"}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, CODESTATS, *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
        )

    return run


@pytest.fixture
def report(run):
    """A function that gives the JSON report of a run that has to succeed."""

    def report(*arguments):
        done = run("--json", *arguments)
        assert (0, "") == (done.returncode, done.stderr)
        return json.loads(done.stdout)

    return report


@pytest.fixture
def codestats(monkeypatch):
    """The module, for its pure part."""
    monkeypatch.syspath_prepend(CODESTATS.parent)
    monkeypatch.delitem(sys.modules, "codestats", raising=False)
    return importlib.import_module("codestats")


@pytest.fixture
def tree(tmp_path):
    """A small tree: a package of one known file and one module."""
    package = tmp_path / "tree" / "robots"
    package.mkdir(parents=True)
    (package / "robot.py").write_text(KNOWN)
    (package.parent / "top.py").write_text("x = 1\n")
    return package.parent


def measured(codestats, code):
    return codestats.measure.function(codestats.Source("known.py", code.encode()))


def complexity_by_tokens(path):
    """Sum up the complexity of all functions of a file without looking at its decisions' AST."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    inside = {line for one in functions for line in range(one.lineno, one.end_lineno + 1)}
    with path.open("rb") as file:
        words = [
            token.string
            for token in tokenize.tokenize(file.readline)
            if token.type == tokenize.NAME and token.start[0] in inside
        ]
    deciding = {"if", "elif", "for", "while", "except", "and", "or"}
    return len(functions), len(functions) + sum(word in deciding for word in words)


def test_known_file(codestats):
    """The functions, lengths, complexities and imports of a file are those counted by hand."""
    stats = measured(codestats, KNOWN)

    assert [
        ("plain", 6, 2, 1),
        ("Robot.walk", 12, 11, 1 + 7),
        ("Robot.walk.report", 19, 2, 1 + 1),
    ] == [(one.name, one.line, one.lines, one.complexity) for one in stats.functions]
    assert ("json", "os", "sys") == stats.imports
    assert (22, "") == (stats.lines, stats.problem)


@pytest.mark.parametrize(
    ("body", "decisions"),
    [
        ("pass", 0),
        ("if a: pass\nelse: pass", 1),
        ("if a: pass\nelif b: pass", 2),
        ("for a in b: pass\nelse: pass", 1),
        ("while a: pass", 1),
        ("try: pass\nexcept A: pass\nexcept B: pass\nfinally: pass", 2),
        ("with a: pass", 0),
        ("assert a", 0),
        ("return a and b and c", 2),
        ("return not a or b", 1),
        ("return a if b else c", 1),
        ("return {a for a in b if c if d for e in f}", 4),
        ("return lambda: a or b", 1),
        ("match a:\n    case 1: pass\n    case _: pass", 2),
        ("class A:\n    b = 1 if c else 2", 1),
        ("def g():\n    if a: pass", 0),
    ],
)
def test_complexity(codestats, body, decisions):
    """Complexity is one and one more for each decision of the function itself."""
    indented = "\n".join(f"    {line}" for line in body.splitlines())

    stats = measured(codestats, f"def f():\n{indented}\n")

    assert 1 + decisions == stats.functions[0].complexity


def test_deep_nesting(codestats):
    """A source that nests deeper than Python functions may recurse is measured."""
    depth = sys.getrecursionlimit() + 1
    source = "def f():\n    if x: pass\n" + "    elif x: pass\n" * depth

    stats = measured(codestats, source)

    assert ("", 2 + depth) == (stats.problem, stats.functions[0].complexity)


@pytest.mark.parametrize("package", ["json", "email", "asyncio"])
def test_standard_library(report, package):
    """The totals of a package of the standard library agree with another way of counting."""
    paths = sorted((STDLIB / package).rglob("*.py"))
    functions, complexity = map(sum, zip(*map(complexity_by_tokens, paths), strict=True))

    total = report("--path", STDLIB / package)["total"]

    assert len(paths) == total["files"]
    assert sum(len(path.read_text("utf-8").splitlines()) for path in paths) == total["lines"]
    assert functions == total["functions"]
    assert complexity == pytest.approx(total["complexity"] * functions)


def test_default_tree(report):
    """Without a path it measures the standard library, in the order of the paths."""
    assert 3 == report("--limit", 3)["total"]["files"]


def test_packages(report, tree):
    """Files belong to the package at the top of their path, and those at the top to none."""
    found = report("--path", tree)

    assert [("robots", 1, 22, 3), ("(modules)", 1, 1, 0)] == [
        (one["package"], one["files"], one["lines"], one["functions"]) for one in found["packages"]
    ]
    assert {
        "package": "robots",
        "files": 1,
        "lines": 22,
        "functions": 3,
        "complexity": pytest.approx(11 / 3),
        "longest": 11,
        "imports": 3,
    } == found["packages"][0]
    assert ["Robot.walk", "Robot.walk.report", "plain"] == [
        one["name"] for one in found["most_complex"]
    ]
    assert "Robot.walk" == found["longest"]["name"]


def test_installed_packages_left_out(report, tree):
    """What was installed beside the tree is not measured."""
    (tree / "site-packages").mkdir()
    (tree / "site-packages" / "foreign.py").write_text("y = 2\n")

    assert 2 == report("--path", tree)["total"]["files"]


def test_unparsed_files(report, tree):
    """Files that do not parse have lines, and are told with the reason."""
    (tree / "print.py").write_text("print 'two'\n\n")
    (tree / "null.py").write_bytes(b"\0\n")
    (tree / "coding.py").write_text("# coding: no-such-coding\n")

    found = report("--path", tree)

    assert {"coding.py", "null.py", "print.py"} == set(found["unparsed"])
    assert "SyntaxError: Missing parentheses" in found["unparsed"]["print.py"]
    assert (5, 22 + 1 + 2 + 1 + 1) == (found["total"]["files"], found["total"]["lines"])


def test_unreadable_file(codestats, tmp_path):
    """A file that vanished before it was read is told with the reason."""
    source = codestats.read.function(tmp_path, "gone.py")

    stats = codestats.measure.function(source)

    assert "FileNotFoundError: No such file or directory" == stats.problem


def test_tables(run, tree):
    """The tables name the most complex functions with their places, and the packages."""
    done = run("--path", tree)

    assert (0, "") == (done.returncode, done.stderr)
    assert "Robot.walk.report" in done.stdout
    assert "robots/robot.py:12" in done.stdout
    assert "on threading_multiprocessing" in done.stdout


def test_progress(run, tree):
    """The progress bar goes to standard error and names the executor."""
    done = run("--progress", "--executor", "threading", "--path", tree)

    assert "threading" in done.stderr
    assert "100%" in done.stderr


def test_compare(report):
    """All five built-in executors give the identical result."""
    found = report("--compare", "--path", STDLIB / "json")

    assert found["identical"]
    assert BUILTINS == set(found["seconds"])


def test_compare_table(run, tree):
    """The comparison has a row for each built-in executor."""
    done = run("--compare", "--path", tree)

    rows = [line.split("│")[1:-1] for line in done.stdout.splitlines() if line.startswith("│")]
    assert 0 == done.returncode
    assert BUILTINS == {row[0].strip() for row in rows}
    assert {"yes"} == {row[-1].strip() for row in rows}


def test_compare_differing(codestats, capsys):
    """Results that differ are told, and are a failure."""

    def run_on(executor):
        lines = 2 if executor == "trio" else 1
        return codestats.Run(executor, 1.0, [codestats.FileStats("a.py", lines)])

    assert 1 == codestats.compare(run_on, as_json=False)
    assert 1 == capsys.readouterr().out.count("NO")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--executor", "thredding"], "no executor 'thredding'"),
        (["--path", "nowhere"], "'nowhere' is not a directory"),
        (["--limit", "0"], "'0' is not a whole number of at least 1"),
        (["--limit", "many"], "'many' is not a whole number of at least 1"),
        (["--path", "."], "no Python files below"),
        (["--compare", "--executor", "trio"], "not allowed with argument"),
    ],
)
def test_wrong_usage(run, arguments, message):
    """Wrong usage gets a message that names the value, and exit code 2."""
    done = run(*arguments)

    assert 2 == done.returncode
    assert message in done.stderr
    assert "Traceback" not in done.stderr
