"""The example application inventory keeps a right journal of what is there."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

INVENTORY = Path(__file__).parents[1] / "examples" / "inventory.py"
STDLIB = Path(sysconfig.get_path("stdlib"))


@pytest.fixture
def run(tmp_path):
    """A function that runs inventory as a user does, without anybody's settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CONNECTORS_")}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, INVENTORY, "--journal", tmp_path / "j.gz", *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment | {"CONNECTORS_CONFIG": "none"},
            timeout=100,
        )

    return run


@pytest.fixture
def tree(tmp_path):
    """Real files: the package asyncio of the standard library."""
    return Path(
        shutil.copytree(
            STDLIB / "asyncio", tmp_path / "tree", ignore=shutil.ignore_patterns("__pycache__")
        )
    )


def read(tmp_path, name="j.gz"):
    with gzip.open(tmp_path / name, "rt") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("jobs", [1, 4])
def test_the_journal_has_every_file_with_its_hash(run, tree, tmp_path, jobs):
    """Each file has one line, whole and right, however many threads write."""
    done = run("--path", tree, "--jobs", jobs)
    assert (done.returncode, done.stderr) == (0, "")
    head, *entries = read(tmp_path)
    assert head == {"tree": str(tree.resolve())}
    files = {path.name: path.read_bytes() for path in tree.iterdir()}
    assert {entry["path"]: entry["sha256"] for entry in entries} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items()
    }
    summary = json.loads((tmp_path / "j.summary.json").read_text())
    assert summary[".py"] == {"files": len(files), "bytes": sum(map(len, files.values()))}


def test_checking_finds_what_changed(run, tree):
    """In processes: nothing at first, then the file that was changed and the one that is gone."""
    assert run("--path", tree, "--jobs", 2).returncode == 0
    done = run("--check", "--jobs", 2)
    assert (done.returncode, done.stderr) == (0, "")
    (tree / "events.py").write_text("changed")
    (tree / "tasks.py").unlink()
    done = run("--check", "--jobs", 2)
    assert done.returncode == 1
    assert done.stdout.splitlines()[:2] == ["changed: events.py", "changed: tasks.py"]


def test_older_journals_are_removed_in_the_background(run, tree, tmp_path):
    """The three newest copies stay."""
    for _ in range(6):
        assert run("--path", tree, "--jobs", 2).returncode == 0
    assert sorted(path.name for path in tmp_path.glob("j.gz.*")) == ["j.gz.3", "j.gz.4", "j.gz.5"]


def test_what_cannot_be_read_is_told_and_the_rest_goes_on(run, tree, tmp_path):
    """A file that vanishes, as a link to nothing that is one for a moment does."""
    (tree / "zz").symlink_to("/proc/self/mem")
    done = run("--path", tree, "--jobs", 2)
    assert done.returncode == 1
    assert "failed" in done.stderr
    assert len(read(tmp_path)) == len(list(tree.iterdir()))


def test_nothing_there(run, tmp_path):
    """An empty tree is told with its cure; a journal that is not there too."""
    (tmp_path / "empty").mkdir()
    assert "choose with --path" in run("--path", tmp_path / "empty").stderr
    assert run("--check").returncode == 2
