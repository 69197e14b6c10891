"""`View`, which is what `Executor.options` gives."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Self

from ._calls import Call
from ._executor import Executor
from ._flags import Parallelization
from ._levels import checked_wish
from ._option import check_options, options_of
from ._portal import Portal
from ._scattered import Scattered


class View(Executor):
    """An executor seen with another wish and other limits; it has no pools of its own."""

    def __init__(
        self,
        of: Executor,
        *,
        wish: Parallelization | None,
        timeout: float | None,
        retries: int | None,
        label: str | None,
    ) -> None:
        limits = {"timeout": timeout, "retries": retries, "label": label}
        given = {key: value for key, value in limits.items() if value is not None}
        own = check_options(of.name, options_of(Executor), given, "options()")
        self._of = of
        self._wish = of._widest() if wish is None else checked_wish(wish)
        self.timeout = own.get("timeout", of.timeout)
        self.retries = own.get("retries", of.retries)
        self.label = own.get("label", of.label)
        self.strict = of.strict
        self.capabilities = of.capabilities
        self.name = of.name
        self.settings = of.settings
        self.decisions = of.decisions
        self._overrides = of._overrides  # type: ignore[misc]  # a view is what it is a view of

    @property
    def closed(self) -> bool:
        return self._of.closed

    def open(self) -> Self:
        self._of.open()
        return self

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: what is viewed stays open."""

    def close(self, cancel: bool = False) -> None:
        """Do nothing, as `shutdown`."""

    def submit_call(self, call: Call) -> Future[Any]:
        return self._of.submit_call(call)

    async def run_call(self, call: Call) -> Any:
        return await self._of.run_call(call)

    def scatter(self, value: Any) -> Scattered:
        return self._of.scatter(value)

    def get_event_loop(self) -> Any:
        return self._of.get_event_loop()

    def __repr__(self) -> str:
        return f"<a view of {self._of!r}>"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        limits = (self._wish, self.timeout, self.retries, self.label)
        return _viewed, (self._of, *limits)

    def _widest(self) -> Parallelization:
        return self._wish

    def _available(self) -> frozenset[Parallelization]:
        return self._of._available()

    def _objection(self, call: Call, level: Parallelization) -> str | None:
        return self._of._objection(call, level)

    def _levels_known(self) -> bool:
        return self._of._levels_known()

    def _portal(self) -> Portal:
        return self._of._portal()

    def _schedule(self, coro: Coroutine[Any, Any, Any]) -> Future[Any]:
        return self._of._schedule(coro)


def _viewed(
    of: Executor,
    wish: Parallelization,
    timeout: float | None,
    retries: int,
    label: str | None,
) -> Executor:
    return of.options(wish=wish, timeout=timeout, retries=retries, label=label)
