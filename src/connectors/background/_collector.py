"""Whether a finalizer runs because the garbage collector struck."""

from __future__ import annotations

import gc
import threading
from collections.abc import Mapping

_collecting: int | None = None  # the thread in which the collector is at work; it is never in two


def struck_here() -> bool:
    """Tell whether the collector is at work in this thread, which may be amid anything.

    What waits then may wait for a lock that the thread itself has, or hold up an event loop.
    """
    return _collecting == threading.get_ident()


def _note(phase: str, _: Mapping[str, int]) -> None:
    global _collecting  # noqa: PLW0603 - there is one collector
    _collecting = threading.get_ident() if phase == "start" else None


gc.callbacks.append(_note)
