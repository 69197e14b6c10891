"""`PassThrough`, a block that gives what it was given."""

from __future__ import annotations

from typing import Any, Self

from connectors import network
from connectors._flags import Parallelization


class PassThrough:
    """Gives what it was given, to stand for an input or output of several blocks.

    Args:
        data: What it gives until something else is set.
    """

    def __init__(self, data: Any = None) -> None:
        self._data = data

    @network.Output(caching=False, parallelization=Parallelization.SEQUENTIAL)
    def output(self) -> Any:
        """Return what was set."""
        return self._data

    @network.Input("output")
    def input(self, data: Any) -> Self:
        """Set what is given.

        Args:
            data: Anything.
        """
        self._data = data
        return self
