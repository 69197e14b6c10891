"""What a forked child makes of what its parent had in the background: nothing of it runs there."""

from __future__ import annotations

import os
import threading
import weakref
from concurrent.futures import Future
from typing import Any, Protocol

# What starts anew lets go of its pool, whose lock a thread of the parent may have held: the pools
# have to be told first, and so loaded first.
import connectors.pools  # noqa: F401


class StartsAnew(Protocol):
    """What has threads that do not exist in a forked child."""

    def start_anew(self) -> None:
        """Forget what the parent's threads do."""


#: All that is told in a forked child.
living: weakref.WeakSet[Any] = weakref.WeakSet()


def disown(future: Future[Any]) -> None:
    """Let *future* be cancelled if it has not ended; its call is the parent's."""
    if future._state == "FINISHED":
        return
    vars(future).update(
        _condition=threading.Condition(),  # a thread of the parent may hold the one that it has
        _waiters=[],
        _done_callbacks=[],
        _state="CANCELLED_AND_NOTIFIED",
    )


def _tell_all() -> None:
    found: list[StartsAnew] = list(living)
    for each in found:
        each.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell_all)
