"""The form in which exceptions travel, with their causes and the frames of their tracebacks.

Exceptions are pickled side by side, with links from one to the other, and a traceback is a list of
frames. So it does not matter how deep a call was, how long a chain of causes is, or whether it
leads back to where it began: pickle gives up on what is nested deeply.
"""

from __future__ import annotations

import pickle
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from ._errors import RemoteError

_ours = f"{__package__}."

_MOST_FRAMES = 50  # at each end of a traceback; what is between them is left out
_MOST_ERRORS = 200  # that are linked with the one that was raised; the nearest come first

# What these say is in fields that only their constructors set.
_MADE_OF_ARGUMENTS = frozenset(
    {
        SystemExit,
        StopIteration,
        SyntaxError,
        UnicodeDecodeError,
        UnicodeEncodeError,
        UnicodeTranslateError,
    }
)

#: A pickled exception, if it can be pickled; its type, its text and its traceback as text.
PackedError = tuple[bytes | None, str, str, str]

#: Name, file and line of a frame, and its module.
_Frame = tuple[str, str, int, str]


def pack_error(error: BaseException) -> PackedError:
    """Return the pickled *error* if it can be pickled, and what is told of it if it cannot."""
    leave_out_own_frames(error)
    kind = type(error)
    packed = _dump_error(error)
    return packed, f"{kind.__module__}.{kind.__qualname__}", _text_of(error), story_of(error)


def unpack_error(payload: PackedError) -> BaseException:
    """Return the exception that `pack_error` packed, or a `RemoteError` in its place."""
    packed, type_name, message, text = payload
    if packed is None:
        return RemoteError(type_name, message, text, "it cannot be pickled")
    try:
        error: Any = _joined(*pickle.loads(packed))
    except Exception as failure:
        return RemoteError(type_name, message, text, f"{type(failure).__name__}: {failure}")
    if isinstance(error, BaseException):
        return error
    return RemoteError(type_name, message, text, f"it unpickles as a {type(error).__name__}")


def leave_out_own_frames(error: BaseException) -> None:
    """Let the traceback of *error* begin where the user's code does: ours tells the reader nothing.

    One that has frames of ours only is left as it is.
    """
    tb = error.__traceback__
    while tb is not None and _module_of(tb.tb_frame).startswith(_ours):
        tb = tb.tb_next
    BaseException.with_traceback(error, tb or error.__traceback__)


def let_go_of_frames(error: BaseException) -> None:
    """Let *error*, and all that it leads to, hold no frame, nor what is local there.

    The tracebacks read as before.
    """
    for one in _linked(error):
        rebuilt = _rebuilt_traceback(_frames_of(one.__traceback__))
        BaseException.with_traceback(one, rebuilt)  # also where attributes cannot be set


# Below, what an exception of a user runs when it is looked at may raise anything, SystemExit too:
# it is told of, and ends nothing.


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:
        return "(its text cannot be told: str() of it raises)"


def story_of(error: BaseException) -> str:
    """Return what Python would print of *error*."""
    limit = -2 * _MOST_FRAMES
    try:
        return "".join(traceback.format_exception(error, limit=limit))
    except BaseException:
        return "".join(traceback.format_tb(error.__traceback__, limit=limit))


def _dump_error(error: BaseException) -> bytes | None:
    errors = _linked(error)
    links = _links_between(errors)
    try:
        return _dump((errors, links))
    except BaseException:  # what leads to one that cannot travel still may
        others = [_travelling(other) for other in errors[1:]]
    try:
        return _dump(([error, *others], links))
    except BaseException:
        return None


def _travelling(error: BaseException) -> BaseException:
    try:
        _dump(error)
    except BaseException:
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        return RemoteError(kind, _text_of(error), "", "it cannot be pickled")
    return error


def _linked(error: BaseException) -> list[BaseException]:
    """Return *error* and those that it leads to."""
    errors = [error]
    known = {id(error)}
    for one in errors:  # which grows meanwhile
        members = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        for other in (one.__cause__, one.__context__, *members):
            if other is not None and id(other) not in known and len(errors) < _MOST_ERRORS:
                known.add(id(other))
                errors.append(other)
    return errors


@attrs.frozen
class _Links:
    """What an exception has beside its own state; other exceptions are numbers."""

    cause: int | None
    context: int | None
    suppress_context: bool
    frames: list[_Frame]


def _links_between(errors: list[BaseException]) -> list[_Links]:
    numbers = {id(error): number for number, error in enumerate(errors)}
    return [
        _Links(
            numbers.get(id(error.__cause__)),
            numbers.get(id(error.__context__)),
            error.__suppress_context__,
            _frames_of(error.__traceback__),
        )
        for error in errors
    ]


def _joined(errors: list[BaseException], links: list[_Links]) -> BaseException:
    """Set the *links* of *errors* and return the first."""
    by_number: dict[int | None, BaseException] = {
        number: error for number, error in enumerate(errors) if isinstance(error, BaseException)
    }
    for number, link in enumerate(links):
        if number in by_number:
            error = by_number[number]
            error.__cause__ = by_number.get(link.cause)
            error.__context__ = by_number.get(link.context)
            error.__suppress_context__ = link.suppress_context
            error.__traceback__ = _rebuilt_traceback(link.frames)
    return errors[0]


def _dump(value: Any) -> bytes:
    import io

    from tblib import pickling_support

    from . import _by_value

    class ErrorPickler(_by_value.Pickler):
        """Pickles exceptions without what they are linked with."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, BaseException):
                make, args, *state = pickling_support.pickle_exception(obj)
                if type(obj) in _MADE_OF_ARGUMENTS:
                    make, args = (
                        pickling_support.unpickle_exception,
                        (type(obj), obj.args, *args[2:7]),
                    )
                return make, (*args[:2], None, None, None, *args[5:]), *state
            return super().reducer_override(obj)

    file = io.BytesIO()
    ErrorPickler(file, protocol=5).dump(value)
    return file.getvalue()


def _module_of(frame: types.FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _frames_of(tb: types.TracebackType | None) -> list[_Frame]:
    frames: list[_Frame] = []
    for frame, line in traceback.walk_tb(tb):
        code = frame.f_code
        frames.append((code.co_name, code.co_filename, line or 0, _module_of(frame)))
    left_out = len(frames) - 2 * _MOST_FRAMES
    if left_out > 0:
        frames[_MOST_FRAMES:-_MOST_FRAMES] = [(f"{left_out} calls", "<left out>", 0, "")]
    return frames


def _rebuilt_traceback(frames: list[_Frame]) -> types.TracebackType | None:
    """Return a traceback of *frames*, which lead nowhere.

    A frame that ran knows its caller, and by way of it one would reach all that was held where the
    traceback was rebuilt: the future that holds the error, and so a cycle. The frame of a
    generator that never began has no caller.
    """
    rebuilt = None
    for name, filename, line, module in reversed(frames):
        code = _never_begun.__code__.replace(
            co_name=name, co_qualname=name, co_filename=filename, co_firstlineno=line
        )
        begin: Callable[[], Any]
        begin = types.FunctionType(code, {"__name__": module, "__file__": filename})
        rebuilt = types.TracebackType(rebuilt, begin().gi_frame, -1, line)
    return rebuilt


def _never_begun() -> Iterator[None]:
    yield
