"""Whether a finalizer runs because the garbage collector struck."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

_collecting: int | None = None  # the thread in which the collector is at work; it is never in two


def struck_here() -> bool:
    """Tell whether the collector is at work in this thread, which may be amid anything.

    What waits then may wait for a lock that the thread itself has, or hold up an event loop.
    """
    return _collecting == threading.get_ident()


# It is called to the very end of the interpreter, when this module may have no names any more.
def _note(phase: str, _: object, me: Callable[[], int] = threading.get_ident) -> None:
    global _collecting  # noqa: PLW0603 - there is one collector
    _collecting = me() if phase == "start" else None


gc.callbacks.append(_note)
