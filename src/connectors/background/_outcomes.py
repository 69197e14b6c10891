"""The outcome of a call, as its future has it."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from typing import Any

from connectors._outcome import Outcome, OutcomeState

from ._exception import failure_of


def outcome_of(future: Future[Any]) -> Outcome:
    """Return how the call of *future* ended, or that it has not."""
    if future.cancelled():
        return Outcome(OutcomeState.cancelled)
    if not future.done():
        return Outcome(OutcomeState.running if future.running() else OutcomeState.pending)
    error = future.exception()
    if error is None:
        return Outcome(OutcomeState.done, value=future.result())
    return Outcome.of_error(error)


def value_of(outcome: Outcome, what: str) -> Any:
    """Return the value of a call that has ended.

    Raises:
        BgException: It failed; says *what* did.
    """
    if outcome.state is OutcomeState.done:
        return outcome.value
    error = outcome.error or CancelledError(f"{what} was cancelled")
    raise failure_of(f"{what} {outcome.state}", error, outcome) from error
