"""`Multiplexer`, a block that selects one of its inputs."""

from __future__ import annotations

from typing import Any, Self

from connectors import network
from connectors._flags import Parallelization


class Multiplexer:
    """Gives the value of the selected input.

    Args:
        selector: The data id of the input that is selected until another one is.
    """

    def __init__(self, selector: Any = None) -> None:
        self._selector = selector
        self._data = network.MultiInputData()

    @network.Output(parallelization=Parallelization.SEQUENTIAL)
    def output(self) -> Any:
        """Return the selected value, or `None` if there is none."""
        return self._data.get(self._selector)

    @network.Input("output")
    def select(self, selector: Any) -> Self:
        """Select an input.

        Args:
            selector: Its data id.
        """
        self._selector = selector
        return self

    @network.MultiInput("output")
    def input(self, data: Any) -> Any:
        """Add a value and return its data id."""
        return self._data.add(data)

    @input.remove
    def remove(self, data_id: Any) -> Self:
        """Remove the value with *data_id*."""
        del self._data[data_id]
        return self

    @input.replace
    def replace(self, data_id: Any, data: Any) -> Any:
        """Store *data* under *data_id*, which is returned."""
        self._data[data_id] = data
        return data_id

    @input.notify_condition
    def _is_selected(self, data_id: Any, _: Any) -> bool:
        return bool(data_id == self._selector)
