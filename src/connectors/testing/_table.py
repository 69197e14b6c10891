"""`CHECKS`, the contract: every check, by theme."""

from __future__ import annotations

# Imported for their checks, in the order in which a reader wants to see them fail.
from . import calls, coroutines, levels, lifetime, limits, maps, sharing  # noqa: F401
from ._check import Check, found

#: The contract.
CHECKS: tuple[Check, ...] = tuple(found)
