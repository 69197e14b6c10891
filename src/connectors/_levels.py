"""`Levels`, the part of an executor that decides where a call runs."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from ._away import cannot_travel
from ._calls import Call, Decision, is_async, is_importable
from ._capabilities import Capabilities, Pools, with_sequential
from ._envelope import inside_worker
from ._errors import ExecutorClosedError, FallbackError, OptionError
from ._flags import Parallelization

SEQUENTIAL, THREAD, PROCESS = Parallelization

_AWAITED = "an async def method is awaited in the executor's loop"

_logger = logging.getLogger("connectors")
#: The executors of which a worker thread runs the present code.
within: contextvars.ContextVar[tuple[object, ...]] = contextvars.ContextVar("within", default=())


class Levels:
    """Walks the fallbacks of a wish to the first level that nothing stands against."""

    #: A subclass declares them; an instance whose options leave levels out narrows them.
    capabilities: Capabilities = Capabilities()

    name: str
    strict: bool
    _overrides: ClassVar[bool] = False
    _closed: bool
    _levels_found: frozenset[Parallelization] | None = None
    _told: set[tuple[str, str]]

    if TYPE_CHECKING:

        def _call(
            self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
        ) -> Call: ...

        def _find_pools(self) -> Pools: ...

    def level_for(self, wish: Parallelization) -> Parallelization:
        """Return the level at which a call with *wish* runs here if nothing stands against it.

        Raises:
            OptionError: *wish* is no `Parallelization`.
        """
        return next(level for level in checked_wish(wish).fallbacks if level in self._available())

    def explain(
        self, method: Callable[..., Any] | Call, wish: Parallelization | None = None
    ) -> Decision:
        """Return where *method* would run, and why not elsewhere. It is not called.

        Args:
            method: A function, method, or `Call`.
            wish: How far away it may run; by default as far as this executor can.
        """
        call = method if isinstance(method, Call) else self._call(method, (), {})
        if wish is not None:
            call = attrs.evolve(call, wish=checked_wish(wish))
        rejected: dict[str, str] = {}
        for level in call.wish.fallbacks:
            objection = self._objection(call, level) or cannot_travel(call, level)
            if objection is None:
                break
            rejected[level.name] = objection
        why = "" if rejected else "as far as it may"
        possible = tuple(level.name for level in Parallelization if level in self._available())
        subject = f"{call.label} on '{self.name}'"
        return Decision(subject, call.wish.name, possible, level.name, rejected, why)

    def _available(self) -> frozenset[Parallelization]:
        found = self._levels_found
        if found is None:
            found = with_sequential(self._find_pools())
            if self._overrides:
                found |= self.capabilities.levels
            self._levels_found = found
        return found

    def _levels_known(self) -> bool:
        # An override of run_method that declares nothing is left to decide by itself.
        return not self._overrides or self.capabilities != Capabilities()

    def _place(self, call: Call) -> tuple[Parallelization, str | None]:
        """Return the level for *call*, and the reason if it is nearer than wished."""
        reason = None
        for level in call.wish.fallbacks:
            objection = self._objection(call, level)
            if objection is None:
                return level, reason
            reason = reason or objection
        return SEQUENTIAL, reason

    def _objection(self, call: Call, level: Parallelization) -> str | None:
        if self._closed:
            raise ExecutorClosedError(self.name)
        if level is SEQUENTIAL:
            return None
        if is_async(call.function) and not self._overrides:
            return _AWAITED if level is PROCESS else None
        if level not in self._available() and self._levels_known():
            return f"'{self.name}' has no pool for {level}"
        if level is PROCESS:
            if call.writes:
                return "it changes its instance, and in another process the change would be lost"
            if inside_worker():
                return "this already is a worker process"
            if self.capabilities.importable and not is_importable(call.function):
                return f"'{self.name}' runs only functions that its workers can import"
        elif self in within.get():
            return "it is called from a worker thread of the same executor"
        return None

    def _report(self, call: Call, level: Parallelization, reason: str) -> None:
        label = call.label
        if self.strict:
            raise FallbackError(label, self.name, call.wish, level, reason)
        if (label, reason) not in self._told:
            self._told.add((label, reason))
            _logger.info(
                "%s runs as %s on '%s', not as %s: %s", label, level, self.name, call.wish, reason
            )


def checked_wish(wish: object) -> Parallelization:
    """Return *wish*.

    Raises:
        OptionError: It is no `Parallelization`.
    """
    if isinstance(wish, Parallelization):
        return wish
    raise OptionError(
        f"the wish {wish!r} is no connectors.Parallelization; "
        "allowed: Parallelization.SEQUENTIAL, THREAD, PROCESS"
    )
