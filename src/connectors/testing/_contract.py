"""`ExecutorContract`, the contract as a class of pytest tests: what alone needs pytest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from connectors import Executor

from ._check import Check
from ._runner import Runner
from ._table import CHECKS


class ExecutorContract:
    """The contract of all executors: subclass it, and name yours.

    Attributes:
        executor: The name of the executor, its address ``pkg.mod:Class``, or its class.
        options: The options to make it with.
        deadline: How many seconds each check has.
    """

    executor: ClassVar[str | type[Executor]]
    options: ClassVar[Mapping[str, Any]] = {}
    deadline: ClassVar[float] = 60.0

    _runner: ClassVar[Runner | None] = None

    @classmethod
    def teardown_class(cls) -> None:
        """End what ran the checks."""
        if cls._runner is not None:
            cls._runner.close()
            cls._runner = None

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
    def test_contract(self, check: Check) -> None:
        """The executor keeps this promise of the contract, or its capabilities exclude it."""
        cls = type(self)
        if cls._runner is None:
            cls._runner = Runner(cls.executor, cls.options, deadline=cls.deadline)
        result = cls._runner.run(check)
        if result.outcome == "skipped":
            pytest.skip(result.detail)
        if result.outcome == "failed":
            pytest.fail(f"{result.title}\n{result.detail}", pytrace=False)
