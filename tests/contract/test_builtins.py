"""The five built-in executors keep the contract."""

from __future__ import annotations

import pytest

from connectors.testing import ExecutorContract

# On newer versions of Python one executor stands for all that have processes.


class TestSequential(ExecutorContract):
    """The executor ``sequential``."""

    executor = "sequential"


class TestThreading(ExecutorContract):
    """The executor ``threading``."""

    executor = "threading"
    options = {"threads": 2}


@pytest.mark.slow
class TestMultiprocessing(ExecutorContract):
    """The executor ``multiprocessing``."""

    executor = "multiprocessing"
    options = {"processes": 2}


class TestThreadingMultiprocessing(ExecutorContract):
    """The executor ``threading_multiprocessing``."""

    executor = "threading_multiprocessing"
    options = {"threads": 2, "processes": 2}


class TestTrio(ExecutorContract):
    """The executor ``trio``, without processes, as it is by default."""

    executor = "trio"
    options = {"threads": 2}


@pytest.mark.slow
class TestTrioWithProcesses(ExecutorContract):
    """The executor ``trio``, with a worker process."""

    executor = "trio"
    options = {"threads": 2, "processes": 1}
