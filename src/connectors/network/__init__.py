"""The network: blocks whose methods are connected to lazy, cached block diagrams."""

from __future__ import annotations

from ._data import MultiInputData
from ._decorators import Input, MultiInput, MultiOutput, Output
from ._explain import Explanation, explain
from ._macros import MacroInput, MacroOutput
from ._picture import graph

__all__ = [
    "Explanation",
    "Input",
    "MacroInput",
    "MacroOutput",
    "MultiInput",
    "MultiInputData",
    "MultiOutput",
    "Output",
    "explain",
    "graph",
]
