"""The classes of connectors, for `isinstance` and for documentation.

They are made by the decorators; nobody instantiates them.
"""

from __future__ import annotations

from .network._connectors import (
    ConditionalMultiInputConnector,
    ConditionalSingleInputConnector,
    Connector,
    MultiInputConnector,
    MultiOutputConnector,
    OutputConnector,
    SingleInputConnector,
)
from .network._macros import MacroInputConnector, MacroOutputConnector
from .network._proxies import (
    MultiInputAssociateProxy,
    MultiInputProxy,
    MultiOutputProxy,
    OutputProxy,
    SingleInputProxy,
)

__all__ = [
    "ConditionalMultiInputConnector",
    "ConditionalSingleInputConnector",
    "Connector",
    "MacroInputConnector",
    "MacroOutputConnector",
    "MultiInputAssociateProxy",
    "MultiInputConnector",
    "MultiInputProxy",
    "MultiOutputConnector",
    "MultiOutputProxy",
    "OutputConnector",
    "OutputProxy",
    "SingleInputConnector",
    "SingleInputProxy",
]
