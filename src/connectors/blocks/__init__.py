"""Blocks that many networks need."""

from __future__ import annotations

from ._multiplexer import Multiplexer
from ._passthrough import PassThrough
from ._weakrefproxygenerator import WeakrefProxyGenerator

__all__ = ["Multiplexer", "PassThrough", "WeakrefProxyGenerator"]
