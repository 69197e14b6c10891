"""The form in which exceptions travel, with their causes and the frames of their tracebacks."""

from __future__ import annotations

import pickle
import traceback
import types
from collections.abc import Iterator
from typing import Any

from ._errors import RemoteError

_ours = f"{__package__}."

#: A pickled exception, if it can be pickled; its type, its text and its traceback as text.
PackedError = tuple[bytes | None, str, str, str]


def pack_error(error: BaseException) -> PackedError:
    """Return the pickled *error* if it can be pickled, and what is told of it if it cannot."""
    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_globals.get("__name__", "").startswith(_ours):
        tb = tb.tb_next  # our own frames tell the reader nothing
    error.__traceback__ = tb or error.__traceback__
    kind = type(error)
    try:
        packed = _dump_error(error)
    except Exception:
        packed = None
    text = "".join(traceback.format_exception(error))
    return packed, f"{kind.__module__}.{kind.__qualname__}", _text_of(error), text


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its text cannot be told: str() of it raises)"


def _dump_error(error: BaseException) -> bytes:
    import io

    import cloudpickle
    from tblib import pickling_support

    class ErrorPickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is untyped
        """Pickles exceptions with their causes and with the frames of their tracebacks."""

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, BaseException):
                return pickling_support.pickle_exception(obj)
            if isinstance(obj, types.TracebackType):
                return _rebuilt_traceback, pickling_support.pickle_traceback(obj)[1]
            return super().reducer_override(obj)

    file = io.BytesIO()
    ErrorPickler(file, protocol=5).dump(error)
    return file.getvalue()


def unpack_error(payload: PackedError) -> BaseException:
    packed, type_name, message, text = payload
    if packed is None:
        return RemoteError(type_name, message, text, "it cannot be pickled")
    try:
        error = pickle.loads(packed)
    except Exception as failure:
        return RemoteError(type_name, message, text, f"{type(failure).__name__}: {failure}")
    if isinstance(error, BaseException):
        return error
    return RemoteError(type_name, message, text, f"it unpickles as a {type(error).__name__}")


def _rebuilt_traceback(frame: Any, line: int, following: Any) -> types.TracebackType | None:
    """Return a traceback of what tblib keeps of one, with frames that lead nowhere.

    A frame that ran knows its caller, and by way of it one would reach all that was held where the
    traceback was rebuilt: the future that holds the error, and so a cycle. The frame of a
    generator that never began has no caller.
    """
    entries = [(frame, line)]
    while following is not None:
        entries.append((following.tb_frame, following.tb_lineno))
        following = following.tb_next
    rebuilt = None
    for kept, number in reversed(entries):
        code = _never_begun.__code__.replace(
            co_name=kept.f_code.co_name,
            co_qualname=kept.f_code.co_name,
            co_filename=kept.f_code.co_filename,
            co_firstlineno=number,
        )
        generator = types.FunctionType(code, dict(kept.f_globals))()
        rebuilt = types.TracebackType(rebuilt, generator.gi_frame, -1, number)
    return rebuilt


def _never_begun() -> Iterator[None]:
    yield
