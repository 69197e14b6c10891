"""`CHECKS`, the contract: every check, by theme."""

from __future__ import annotations

from . import calls, coroutines, levels, lifetime, limits, maps, sharing
from ._check import Check, found

# The order in which a reader wants to see them fail: from what all else needs to what is rare.
_THEMES = [theme.__name__ for theme in (calls, levels, maps, coroutines, sharing, limits, lifetime)]

#: The contract.
CHECKS: tuple[Check, ...] = tuple(
    sorted(found, key=lambda check: _THEMES.index(check.function.__module__))
)
