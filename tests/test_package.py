"""The public face: names, addresses, import costs, examples in docstrings."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import connectors

# What a docstring shows is run; the rest of the package has no examples.
MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(connectors.__path__, "connectors.")
    if "__main__" not in info.name and "_process" not in info.name
)


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_every_public_name_has_one_address():
    """Each name of the root is there, is listed, and says that it belongs to the root."""
    for name in connectors.__all__:
        found = getattr(connectors, name)
        if isinstance(found, type) or (callable(found) and hasattr(found, "__qualname__")):
            if found.__module__.startswith("connectors"):
                assert found.__module__ == "connectors", name
    assert set(connectors.__all__) <= set(dir(connectors))


def test_an_unknown_name_is_an_attribute_error():
    """A name that is not there is told as Python tells it."""
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        connectors.nonsense


def test_importing_costs_nothing():
    """``import connectors`` loads neither an event loop nor processes nor plugins."""
    loaded = set(run("import connectors, sys; print(*sys.modules)"))

    assert not loaded & {"asyncio", "trio", "multiprocessing", "importlib.metadata", "pluggy"}
    assert not [name for name in loaded if name.startswith("connectors.executors")]


@pytest.mark.parametrize("name", ["sequential", "threading", "multiprocessing", "trio"])
def test_importing_an_executor_does_not_import_its_engine(name):
    """The class is there without what it stands on."""
    loaded = set(
        run(f"import connectors, sys; connectors.executor_class('{name}'); print(*sys.modules)")
    )

    assert not loaded & {"trio", "asyncio", "multiprocessing.pool"}


def test_plain_calls_load_no_event_loop():
    """Callers from plain code pay for no async library."""
    code = (
        "import connectors, sys\n"
        "with connectors.executor('threading') as executor: executor.submit(abs, 1).result()\n"
        "print(*sys.modules)"
    )

    assert not {"asyncio", "trio"} & set(run(code))


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_run(module, monkeypatch):
    """Every example that a docstring shows gives what it says."""
    monkeypatch.setenv("CONNECTORS_CONFIG", "none")
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)

    assert not found.failed


def test_the_older_addresses_work():
    """Class paths and constructor arguments of the older library are kept."""
    from connectors._common._executors import (
        Executor,
        MultiprocessingExecutor,
        SequentialExecutor,
        ThreadingExecutor,
        ThreadingMultiprocessingExecutor,
    )

    assert Executor is connectors.Executor
    assert ThreadingExecutor(number_of_threads=3).threads == 3
    assert ThreadingExecutor(3).threads == 3
    assert MultiprocessingExecutor(number_of_processes=2).processes == 2
    both = ThreadingMultiprocessingExecutor(number_of_threads=3, number_of_processes=2)
    assert (both.threads, both.processes) == (3, 2)
    with SequentialExecutor() as executor:
        assert executor.submit(abs, -1).result() == 1
