"""The network: blocks whose methods are connected to lazy, cached block diagrams."""

from __future__ import annotations

from ._data import MultiInputData
from ._decorators import Input, MultiInput, MultiOutput, Output
from ._macros import MacroInput, MacroOutput

__all__ = [
    "Input",
    "MacroInput",
    "MacroOutput",
    "MultiInput",
    "MultiInputData",
    "MultiOutput",
    "Output",
]
