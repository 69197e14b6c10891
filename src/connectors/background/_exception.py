"""`BgException`, in which errors of the background arrive."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from types import TracebackType
from typing import Any

import attrs

from connectors._errors import RemoteError
from connectors._outcome import Outcome
from connectors._packed_errors import (
    PackedError,
    leave_out_own_frames,
    let_go_of_frames,
    pack_error,
    story_of,
    unpack_error,
)

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class BgException(Exception):  # noqa: N818 - the name is that of the older API
    """A call in the background failed; its ``__cause__`` is the original exception.

    The text has the message and the original traceback. The traceback of the original is kept
    without its frames, so that the locals of the call are not kept alive.

    Args:
        message: What failed.
        exc_info: What `sys.exc_info` gives where the original was caught.
        outcome: How the call ended, if there is more to tell than what follows from *exc_info*.

    Attributes:
        outcome: How the call ended.

    Raises:
        TypeError: *exc_info* is no such triple.

    Example:
        >>> import sys
        >>> try:
        ...     int("seven")
        ... except ValueError:
        ...     error = BgException("reading failed", sys.exc_info())
        >>> str(error).splitlines()[0], error.outcome.state.value, type(error.__cause__).__name__
        ('reading failed {', 'failed', 'ValueError')
    """

    outcome: Outcome

    def __init__(self, message: str, exc_info: ExcInfo, *, outcome: Outcome | None = None) -> None:
        error = _checked(exc_info)
        if error is not None:
            BaseException.with_traceback(error, exc_info[2])
            leave_out_own_frames(error)
        story = "NoneType: None" if error is None else story_of(error)
        super().__init__(f"{message} {{\n{textwrap.indent(story.rstrip(), '  ')}\n}}")
        if error is not None:
            let_go_of_frames(error)
        self.__cause__ = error
        if outcome is None:
            outcome = Outcome("failed") if error is None else Outcome.of_error(error)
        self.outcome = outcome

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        state = {name: value for name, value in vars(self).items() if name != "outcome"}
        bare = attrs.evolve(self.outcome, error=None)
        errors = _packed(self.__cause__), _packed(self.outcome.error)
        return _rebuilt, (type(self), self.args, bare, errors, state)


def failure_of(message: str, error: BaseException, outcome: Outcome | None = None) -> BgException:
    """Return the `BgException` of *error*."""
    return BgException(message, (type(error), error, error.__traceback__), outcome=outcome)


def _checked(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, tuple) and len(exc_info) == 3:
        error = exc_info[1]
        if error is None or isinstance(error, BaseException):
            return error
    raise TypeError(
        f"BgException(..., {exc_info!r}): expected what sys.exc_info() returns, a triple of type, "
        "exception and traceback"
    )


def _packed(error: BaseException | None) -> PackedError | None:
    return None if error is None else pack_error(error)


def _rebuilt(
    kind: type[BgException],
    args: tuple[Any, ...],
    bare: Outcome,
    errors: tuple[PackedError | None, PackedError | None],
    state: dict[str, Any],
) -> BgException:
    made = kind.__new__(kind, *args)
    made.args = args
    vars(made).update(state)
    cause, error = (None if packed is None else unpack_error(packed) for packed in errors)
    made.outcome = attrs.evolve(bare, error=error)
    # What could not travel is told in the text; a stand-in is no cause.
    made.__cause__ = None if _stands_in(cause, errors[0]) else cause
    return made


def _stands_in(error: BaseException | None, packed: PackedError | None) -> bool:
    own = f"{RemoteError.__module__}.{RemoteError.__qualname__}"
    return isinstance(error, RemoteError) and packed is not None and packed[1] != own
