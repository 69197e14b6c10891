"""Starts the workers of one pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from . import _launch, _wire
from ._schedule import Seat
from ._worker import Worker


@attrs.define(eq=False)
class Starter:
    """Starts workers, with the template that all pools of this process share.

    Attributes:
        method: How workers are started.
        setup: Returns what a new worker is told first.
    """

    method: str
    setup: Callable[[], bytes]
    _template: _launch.Template | None = None

    def start(self, seat: Seat[Any]) -> Worker:
        """Return a new worker for *seat*.

        Raises:
            OSError: No process can be started.
        """
        setup = self.setup()
        if self._template is None:
            self._template = _launch.acquire()
        try:
            worker = Worker.start(self._template, self.method, seat)
        except (BrokenPipeError, ConnectionResetError):
            # Somebody killed the template: its workers are dying, and there is a new one.
            _launch.release(self._template, broken=True)
            self._template = None
            self._template = _launch.acquire()
            worker = Worker.start(self._template, self.method, seat)
        worker.outbox.add(_wire.SETUP, 0, setup)
        return worker

    def close(self) -> None:
        """Give the template back."""
        if self._template is not None:
            _launch.release(self._template)
            self._template = None

    def disown(self) -> None:
        """Forget, in a forked child, the template of the parent."""
        self._template = None
