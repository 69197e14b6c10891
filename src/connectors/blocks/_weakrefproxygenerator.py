"""`WeakrefProxyGenerator`, a block that frees memory as soon as nobody needs it any more."""

from __future__ import annotations

import weakref
from typing import Any, Self

from connectors import network
from connectors._flags import Laziness, Parallelization


class WeakrefProxyGenerator:
    """Gives a weak proxy of what it was given, and drops that when it is told to.

    Connected to `delete_reference`, the last output of a chain frees the data as soon as its own
    result is computed.

    Args:
        data: What it gives a proxy of until something else is set.
    """

    def __init__(self, data: Any = None) -> None:
        self._data = data

    @network.Output(caching=False, parallelization=Parallelization.SEQUENTIAL)
    def output(self) -> Any:
        """Return a weak proxy of the data, or the data if there are no weak references to it."""
        try:
            return weakref.proxy(self._data)
        except TypeError:
            return self._data

    @network.Input("output")
    def input(self, data: Any) -> Self:
        """Set the data.

        Args:
            data: Anything.
        """
        self._data = data
        return self

    @network.Input(laziness=Laziness.ON_NOTIFY)
    def delete_reference(self, *_args: Any, **_kwargs: Any) -> Self:
        """Drop the data; the arguments do not matter."""
        self._data = None
        return self
