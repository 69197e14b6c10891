"""`CheckResult`, what came of a check, and `Subject`, the executor that is checked."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from connectors import Executor, SettingsError

from ._check import Maker

Outcome = Literal["passed", "failed", "skipped"]


@attrs.frozen
class CheckResult:
    """What came of one check.

    Attributes:
        id: The name of the check.
        title: What is promised, in a sentence.
        outcome: Whether the promise is kept, or does not concern the executor.
        detail: Why it failed or was skipped; nothing if it passed.
        seconds: How long it took.
    """

    id: str
    title: str
    outcome: Outcome
    detail: str = ""
    seconds: float = 0.0


@attrs.frozen
class Subject:
    """How another process finds the executor that is checked.

    Attributes:
        name: What `connectors.executor` takes: a name, or the address of a class.
        options: The options it is made with.
    """

    name: str
    options: Mapping[str, Any]

    @classmethod
    def of(cls, executor: str | type[Executor], options: Mapping[str, Any] | None) -> Subject:
        """Return the subject that is named by *executor*, a name or a class.

        Raises:
            SettingsError: The class cannot be imported elsewhere.
        """
        if isinstance(executor, str):
            return cls(executor, dict(options or {}))
        module, qualname = executor.__module__, executor.__qualname__
        if module == "__main__" or "." in qualname:
            raise SettingsError(
                f"{module}.{qualname} cannot be imported by the processes that check it; "
                "define the class at the top of a module"
            )
        return cls(f"{module}:{qualname}", dict(options or {}))

    def maker(self) -> Maker:
        """Return a function that makes a new executor."""
        import connectors

        return functools.partial(connectors.executor, self.name, **self.options)
