"""The executor ``nice`` keeps the contract of all executors."""

from connectors.testing import ExecutorContract


class TestNice(ExecutorContract):
    """Each check of the contract, run on ``nice``."""

    executor = "nice"
