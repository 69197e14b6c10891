"""The example migration moves all rows and is never refused; without its limit it is."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from pathlib import Path

import pytest

MIGRATION = Path(__file__).parents[1] / "examples" / "migration.py"


@pytest.fixture(scope="module")
def migration():
    spec = importlib.util.spec_from_file_location("migration", MIGRATION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*arguments):
    return subprocess.run(
        [sys.executable, MIGRATION, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_moves_every_row():
    """Journeys 4 to 7: pages streamed, rows collected, the rate kept."""
    done = run("--rows", "25", "--per-second", "20")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("moved 25 rows in ")
    assert not done.stderr


def test_without_a_limit_it_is_refused():
    """The first refusal ends it; nothing hangs and nothing is left over."""
    done = run("--rows", "40", "--per-second", "10", "--impatient")

    assert done.returncode == 1
    assert done.stdout.startswith("given up: the server refuses more")
    assert not done.stderr


def test_arguments():
    """The number of rows is bounded."""
    assert run("--rows", "5000").returncode == 2


def test_the_server_limits_its_rate(migration):
    """It refuses what is more than it allows, and it leaves no thread."""
    before = threading.active_count()
    with migration.serving(10, 4) as shop:
        port = shop.server_port
        assert migration.request(port, "GET", "/v1/customers/0") == shop.old
        migration.request(port, "PUT", "/v2/customers/3", migration.renewed(shop.old[3]))
        with pytest.raises(migration.TooManyRequestsError):
            migration.request(port, "GET", "/v1/customers/0")
        assert shop.new == {3: {"id": 3, "first": "Ada3", "last": "Lovelace3"}}
        assert shop.refused == 1
    assert threading.active_count() <= before
