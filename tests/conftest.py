"""Fixtures that several test files share."""

from __future__ import annotations

import faulthandler
import importlib
import logging
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import connectors._factory
import connectors._registry
from connectors import settings
from connectors._executor import Executor

PATIENCE = 1500  # seconds that a whole run of the tests has


def pytest_configure(config: pytest.Config) -> None:
    """End a run that hangs, and hear Ctrl-C also where a shell has it ignored."""
    # Unlike pytest-timeout this needs no thread that runs Python, and also watches between tests.
    faulthandler.dump_traceback_later(PATIENCE, exit=True, file=os.dup(2))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def loggers() -> None:
    """Loggers are as in a new program, whatever other tests set."""
    logging.disable(logging.NOTSET)
    logging.root.setLevel(logging.WARNING)
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "connectors" and isinstance(logger, logging.Logger):
            logger.setLevel(logging.NOTSET)
            logger.disabled, logger.propagate = False, True


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[connectors._registry.Registry]:
    """A registry without plugins and registrations, and settings that no file or variable has."""
    for variable in [name for name in os.environ if name.startswith("CONNECTORS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("CONNECTORS_CONFIG", "none")
    monkeypatch.setattr(Executor, "lifecycle_observers", [])
    fresh = connectors._registry.Registry()
    monkeypatch.setattr(connectors._registry, "registry", fresh)
    monkeypatch.setattr(connectors._factory, "registry", fresh)
    before = settings.snapshot()
    yield fresh
    for name in fresh.plugins.names():
        fresh.plugins.unregister(name)
    settings.restore(before)


@pytest.fixture
def install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: object
) -> Iterator[Callable[..., Path]]:
    """A function that makes a distribution with entry points and modules, as pip would leave it."""
    loaded = set(sys.modules)

    def install(
        distribution: str,
        version: str = "1.0",
        *,
        executors: Mapping[str, str] | None = None,
        plugins: Mapping[str, str] | None = None,
        modules: Mapping[str, str] | None = None,
    ) -> Path:
        site = tmp_path / f"site-{distribution}"
        site.mkdir()
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        groups = {"connectors.executors": executors or {}, "connectors.plugins": plugins or {}}
        lines = []
        for group, values in groups.items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in values.items())]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for module, source in (modules or {}).items():
            (site / f"{module}.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(site)
        importlib.invalidate_caches()
        return info

    yield install
    for name in set(sys.modules) - loaded:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]
