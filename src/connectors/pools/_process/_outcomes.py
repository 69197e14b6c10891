"""What became of calls, and how their futures come to know it.

Outcomes are decided under the pool's lock and delivered outside of it, because callbacks may be
anybody's code; and by the thread that reads alone, in which no signal handler runs.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from connectors import _relay, events
from connectors._envelope import Answer
from connectors._errors import PicklingError
from connectors._flags import Parallelization
from connectors._flight import annotate
from connectors._packed_errors import unpack_error

from . import _wire
from ._memory import Segment, Segments, unwrap
from ._ticket import Ticket
from ._wire import Frame

_logger = logging.getLogger("connectors")


@attrs.define(eq=False)
class Outcomes:
    """What is to be delivered, in order.

    Attributes:
        name: The name by which messages and events speak of the pool.
        segments: Where memory of calls that ended goes.
        unused: Is told of a call that had needed scattered values, when it has ended.
        large_results: The last answer did not fit into a frame.
        open: The calls whose futures have not ended.
    """

    name: str
    segments: Segments
    unused: Callable[[Ticket], object]
    large_results: bool = False
    open: set[Ticket] = attrs.field(factory=set)
    _waiting: deque[tuple[Any, ...]] = attrs.field(factory=deque)

    def add(self, function: Callable[..., object], *args: Any) -> None:
        """Let *function* be called with *args*."""
        self._waiting.append((function, *args))

    def answer(self, ticket: Ticket, frame: Frame, pid: int) -> None:
        """The call of *ticket* was answered with *frame* by worker *pid*."""
        wanted, ticket.ended = not ticket.ended, True
        self._waiting.append((self._resolve, ticket, frame, pid, wanted))

    def fail(self, ticket: Ticket, error: BaseException) -> None:
        """The call of *ticket* failed with *error*."""
        ticket.ended = True
        self._waiting.append((self._resolve_with, ticket, error))

    def cancel(self, ticket: Ticket, over: bool) -> None:
        """The call of *ticket* is cancelled; what it had is free if it is *over*."""
        ticket.ended = True
        if over:
            self._waiting.append((self.let_go, ticket))
        self._waiting.append((self._end_cancelled, ticket))

    def tell(self, kind: type[events.Event], **details: Any) -> None:
        """Tell observers of an event, if there are any."""
        if events.observed():
            self._waiting.append((events.emit, kind(executor=self.name, **details)))

    def deliver(self) -> None:
        """Deliver what there is, and what comes meanwhile."""
        while self._waiting:
            function, *args = self._waiting.popleft()
            try:
                function(*args)
            except BaseException as error:  # a callback exits: neither this thread nor other calls
                _logger.exception("delivering an outcome of %s failed", self.name)
                for ticket in args:
                    if isinstance(ticket, Ticket):
                        with contextlib.suppress(BaseException):
                            ticket.settle(error=error)
                        self.open.discard(ticket)

    def let_go(self, ticket: Ticket) -> None:
        """Take back what *ticket* had."""
        ticket.core = None
        ticket.payload = b""
        if ticket.segment is not None:
            self.segments.give(ticket.segment)
            ticket.segment = None
        if ticket.files is not None:
            ticket.files.close()
            ticket.files = None
        if ticket.needs:
            self.unused(ticket)

    def drop(self, ticket: Ticket) -> None:
        """Forget *ticket*, which nobody ever got."""
        self.let_go(ticket)
        self.open.discard(ticket)

    def disown(self) -> list[Ticket]:
        """Forget everything, in a forked child; return the calls whose futures have not ended."""
        tickets = list(self.open)
        self.open.clear()
        self._waiting.clear()
        return tickets

    def _end_cancelled(self, ticket: Ticket) -> None:
        ticket.end_cancelled()
        self.open.discard(ticket)

    def _settle(self, ticket: Ticket, value: Any, error: BaseException | None) -> None:
        if error is not None:
            annotate(error, ticket.label, self.name, Parallelization.PROCESS)
        ticket.settle(value, error)
        self.open.discard(ticket)

    def _resolve(self, ticket: Ticket, frame: Frame, pid: int, wanted: bool) -> None:
        value, error, started = self._unpack(ticket, frame)
        self.let_go(ticket)
        if not wanted:
            self.open.discard(ticket)
            return
        if ticket.on_answer is not None:
            try:
                ticket.on_answer(Answer(value, error, pid, started, frame.seconds))
            except BaseException:
                _logger.exception("on_answer of %s raised", ticket.label)
        self._settle(ticket, value, error)

    def _resolve_with(self, ticket: Ticket, error: BaseException) -> None:
        self.let_go(ticket)
        self._settle(ticket, None, error)

    def _unpack(self, ticket: Ticket, frame: Frame) -> tuple[Any, BaseException | None, float]:
        """Return the value or the error in *frame* and when the call began; relay its news."""
        new = news = None
        self.large_results = bool(frame.flags & _wire.LARGE)
        started = 0.0
        try:
            if frame.descriptor is not None:
                new = Segment.received(frame.descriptor)
            data, buffers = unwrap(frame.payload, frame.flags, new or ticket.segment)
            value, started, news = pickle.loads(data, buffers=buffers)
            if frame.kind == _wire.VALUE:
                return value, None, started
            if frame.kind == _wire.ERROR:
                return None, unpack_error(value), started
            return None, PicklingError(f"the result of {ticket.label}", *value), started
        except BaseException as failure:  # whatever it is, it is the failure of this call only
            return None, failure, started
        finally:
            if new is not None:
                self.segments.give(new)
            if news:
                self._relay_news(news, ticket.label)

    def _relay_news(self, news: Any, label: str) -> None:
        try:
            _relay.deliver(news, label, self.name)
        except BaseException:  # what came of the call does not depend on who is told of it
            _logger.exception("the log records or warnings of %s could not be handed on", label)
