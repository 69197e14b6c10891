"""Who runs inside of what, so that nothing waits for itself.

Context variables go wherever the work goes: into tasks, threads and what these call back.
"""

from __future__ import annotations

import contextvars

_inside: contextvars.ContextVar[frozenset[Mark]] = contextvars.ContextVar(
    "_inside", default=frozenset()
)


class Mark:
    """Marks the context of a piece of work."""

    def enter(self) -> None:
        """Mark the current context, for good; it has to be one of its own."""
        _inside.set(_inside.get() | {self})

    def is_here(self) -> bool:
        """Tell whether this is called from within that work."""
        return self in _inside.get()
