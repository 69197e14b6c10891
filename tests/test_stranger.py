"""A stranger's plugin works like a built-in once it is installed, and costs nothing before."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import attrs
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "nice"), reason="the plugin needs os.nice"),
]

PROJECT = Path(__file__).parents[1]
PLUGIN = PROJECT / "examples" / "connectors-nice"
MODULE = "connectors_nice"

# Runs in the fresh environment. It tells what was loaded before and after the executor was asked
# for, and what the executor is and does.
PROBE = """
import json, os, sys
import connectors

def loaded():
    return "connectors_nice" in sys.modules

imported = loaded()
listed = [name for info in connectors.available_executors() for name in (info.name, *info.aliases)]
before = loaded()
with connectors.executor(ASKED) as executor:
    asked = loaded()
    niceness = executor.submit(os.nice, 0).result()
print(json.dumps({
    "library": connectors.__file__,
    "plugin": sys.modules["connectors_nice"].__file__ if loaded() else None,
    "loaded": [imported, before, asked],
    "listed": sorted({"nice", "background"}.intersection(listed)),
    "class": type(executor).__name__,
    "niceness": niceness - os.nice(0),
}))
"""


@attrs.frozen
class Environment:
    """A virtual environment with the library and the plugin, both installed as wheels."""

    python: Path
    site: Path

    def run(self, *arguments, cwd, **variables):
        """Run its Python on *arguments*, with no settings but *variables*."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CONNECTORS_", "PYTHON", "COV_", "COVERAGE_"))
        }
        home = {"HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd / "no-user-settings")}
        return subprocess.run(
            [self.python, *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=cwd,
            env=inherited | home | variables,
        )

    def probe(self, asked, cwd, **variables):
        """Return what `PROBE` finds out about the executor that *asked*, an expression, gives."""
        done = self.run("-c", PROBE.replace("ASKED", asked), cwd=cwd, **variables)
        assert (0, "") == (done.returncode, done.stderr)
        return json.loads(done.stdout)


def pip(*arguments):
    """Run pip without a network."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1"},
    )
    assert 0 == done.returncode, done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The wheels of the library and of the plugin, built from the sources here."""
    folder = tmp_path_factory.mktemp("wheels")
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, PROJECT, PLUGIN)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory, wheels):
    """A fresh environment in which only the dependencies come from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    builder = venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt")
    builder.create(folder)
    made = builder.ensure_directories(folder)
    python = Path(made.env_exe)
    pip("--python", python, "install", *sorted(wheels.glob("*.whl")))
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    # A path that a .pth file adds has no .pth files of its own: the editable installation of the
    # library there stays out of sight.
    dependencies = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(dependencies)))
    return Environment(python, site)


@pytest.fixture
def probe(environment, tmp_path):
    """A function that asks for an executor in the fresh environment, in an empty directory."""

    def probe(asked, **variables):
        return environment.probe(asked, tmp_path, **variables)

    return probe


def stranger(found, environment):
    """Tell whether *found* is the installed plugin, loaded when it was asked for and not before."""
    return (
        found["class"] == "NiceExecutor"
        and found["listed"] == ["background", "nice"]
        and found["loaded"] == [False, False, True]
        and Path(found["plugin"]).is_relative_to(environment.site)
        and Path(found["library"]).is_relative_to(environment.site)
    )


def test_listed(environment, tmp_path):
    """The plugin is listed with its alias, distribution and version, and is not imported."""
    done = environment.run(
        "-c",
        "import connectors, sys\n"
        "info, = [i for i in connectors.available_executors() if not i.builtin]\n"
        "print(*sorted([info.name, *info.aliases]))\n"
        "print(info.distribution, info.version, info.state)\n"
        f"print('{MODULE}' in sys.modules)\n",
        cwd=tmp_path,
    )

    assert "" == done.stderr
    assert [
        "background nice",
        "connectors-nice 1.0.0 not loaded",
        "False",
    ] == done.stdout.splitlines()


@pytest.mark.parametrize("name", ["nice", "Nice", "background", "connectors-nice:nice"])
def test_by_name(probe, environment, name):
    """It is chosen by its name, however it is spelled, by its alias and with its distribution."""
    found = probe(f"'{name}'")

    assert stranger(found, environment), found
    assert 10 == found["niceness"]


@pytest.mark.parametrize("name", ["nice", "background"])
def test_by_environment_variable(probe, environment, name):
    """It is chosen by an environment variable, and so is its option."""
    found = probe("", CONNECTORS_EXECUTOR=name, CONNECTORS_NICE_NICENESS="7")

    assert stranger(found, environment), found
    assert 7 == found["niceness"]


@pytest.mark.parametrize("name", ["nice", "background"])
def test_by_settings_file(probe, environment, tmp_path, name):
    """It is chosen by a settings file, and so is its option."""
    (tmp_path / "connectors.toml").write_text(
        f'executor = "{name}"\n[executors.{name}]\nniceness = 5\n'
    )

    found = probe("")

    assert stranger(found, environment), found
    assert 5 == found["niceness"]


def test_not_asked_for(environment, tmp_path):
    """It is not imported when another executor is asked for and runs something."""
    done = environment.run(
        "-c",
        "import connectors, sys\n"
        "with connectors.executor('threading') as executor:\n"
        f"    print(executor.submit(sys.modules.__contains__, '{MODULE}').result())\n",
        cwd=tmp_path,
    )

    assert ("False\n", "") == (done.stdout, done.stderr)


def test_wrong_option(environment, tmp_path):
    """A misspelled option of it gets the message that one of ours gets."""
    done = environment.run(
        "-c", "import connectors; connectors.executor('nice', nicenes=3)", cwd=tmp_path
    )

    message = done.stderr.splitlines()[-1]
    assert "OptionError: " in message
    assert "no option 'nicenes'" in message
    assert "Did you mean 'niceness'?" in message


def test_main_job(environment, tmp_path):
    """A host runs on it without having heard of it."""
    tree = Path(sysconfig.get_path("stdlib")) / "json"

    done = environment.run(
        str(PROJECT / "examples" / "codestats.py"),
        *("--executor", "nice", "--path", str(tree), "--json"),
        cwd=tmp_path,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert len(list(tree.rglob("*.py"))) == json.loads(done.stdout)["total"]["files"]


def test_public_names_only():
    """Its module imports nothing of the library but public names."""
    tree = ast.parse((PLUGIN / "src" / f"{MODULE}.py").read_text())

    imported = [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "connectors"
        for alias in node.names
    ]
    assert imported
    for module, name in imported:
        assert "_" not in {part[0] for part in module.split(".")}
        assert name in importlib.import_module(module).__all__


@pytest.mark.timeout(600)
def test_contract(environment, tmp_path):
    """It keeps the contract of all executors, by its own test file of eight lines."""
    done = environment.run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(PLUGIN)),
        *("-c", str(PLUGIN / "pyproject.toml"), str(PLUGIN / "tests")),
        cwd=tmp_path,
        PYTHONDONTWRITEBYTECODE="1",
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert " passed" in done.stdout
