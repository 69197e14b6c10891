"""The form in which a call travels to another process and in which its outcome comes back.

```text
caller                                   worker
  seal(call) ── bytes ──▶ open_envelope(bytes): unpack, restore context, run, pack
  unseal(bytes) ◀── bytes ──┘                   (outcome, log records, warnings)
```

Bytes go out and bytes come back, so that an engine's own pickler meets neither a user's arguments
nor a user's exceptions, and every engine fails in the same way. An argument that cannot travel is
found in `seal`, in the thread that submits the call.
"""

from __future__ import annotations

import contextvars
import io
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from . import _relay
from ._calls import Call
from ._culprit import culprit
from ._errors import ConnectorsError, PicklingError
from ._packed_errors import pack_error, unpack_error

BufferCallback = Callable[[pickle.PickleBuffer], Any]
LARGE_BUFFER = 1 << 16  # smaller ones are copied faster than they are described

_inside_worker = False


@attrs.frozen
class Answer:
    """What came back of a call.

    Attributes:
        value: What the call returned, if it did.
        error: What it raised, or `None`.
        pid: The process in which it ran.
        started: When it began to run there, in seconds since the epoch.
        duration: How long it ran, in seconds.
    """

    value: Any
    error: BaseException | None
    pid: int
    started: float
    duration: float


def inside_worker() -> bool:
    """Tell whether this is a process in which envelopes of another process are opened."""
    return _inside_worker


def seal(
    call: Call,
    context: Mapping[str, Any] | None = None,
    prepare: Callable[[], object] | None = None,
    buffer_callback: BufferCallback | None = None,
) -> bytes:
    """Return *call* as bytes for `open_envelope`.

    Args:
        call: The call. What can be imported travels by reference; lambdas, local functions and
            what is defined in ``__main__`` travel by value.
        context: Values of context variables by their address, ``"pkg.mod:VAR"``.
        prepare: Is called in the worker before the call, to restore settings for instance.
        buffer_callback: Takes large buffers out of band, as `pickle.Pickler` does.

    Raises:
        PicklingError: An argument cannot travel; names the part of it that is at fault.
    """
    packed = pack(call, context, prepare, buffer_callback)
    return pickle.dumps((call.label, os.getpid(), _relay.levels(), packed), protocol=5)


def pack(
    call: Call,
    context: Mapping[str, Any] | None = None,
    prepare: Callable[[], object] | None = None,
    buffer_callback: BufferCallback | None = None,
) -> bytes:
    """Return what of *call* is needed to `run` it; the arguments are those of `seal`.

    Raises:
        PicklingError: An argument cannot travel; names the part of it that is at fault.
    """
    body = (call.function, call.instance, call.args, dict(call.kwargs), context, prepare)
    try:
        return dump(body, buffer_callback)
    except Exception as error:
        raise unsendable(call, error) from error


def open_envelope(data: bytes, buffers: Iterable[Any] = ()) -> bytes:
    """Run the call in *data*, in the process where this is called, and return its outcome.

    Args:
        data: What `seal` returned.
        buffers: The buffers that were taken out of band, in order.

    Returns:
        The outcome for `unseal`. It never raises an `Exception` of the call.
    """
    label, home, levels, packed = pickle.loads(data)
    away = home != os.getpid()
    if away:
        settle_in_worker(levels)
    with _relay.collecting(away) as news:
        started, begin = time.time(), time.perf_counter()
        outcome: tuple[bool, Any]
        try:
            outcome = (True, dump_named({"result": run(packed, buffers)}, f"the result of {label}"))
        except BaseException as error:
            outcome = (False, pack_error(error))
        duration = time.perf_counter() - begin
    return pickle.dumps((*outcome, os.getpid(), started, duration, news.packed()), protocol=5)


def unseal(data: bytes, label: str, executor: str) -> Answer:
    """Return what came back of the call *label* that ran on *executor*.

    Log records and warnings of the worker are handed to the handlers of this process.
    """
    fine, payload, pid, started, duration, news = pickle.loads(data)
    value, error = None, None
    try:
        if fine:
            value = pickle.loads(payload)
        else:
            error = unpack_error(payload)
    except Exception as failure:
        error = failure
    _relay.deliver(news, label, executor)
    return Answer(value, error, pid, started, duration)


def dump(value: Any, buffer_callback: BufferCallback | None = None) -> bytes:
    """Pickle *value*: by reference what a worker can import, by value all else.

    Plain pickle is tried first, because it is an order of magnitude faster than cloudpickle.

    Args:
        value: The value.
        buffer_callback: Takes buffers of `LARGE_BUFFER` bytes and more out of band.
    """
    buffers: list[pickle.PickleBuffer] = []
    keep = None if buffer_callback is None else _large_to(buffers)
    try:
        data = pickle.dumps(value, protocol=5, buffer_callback=keep)
    except Exception:
        data = None
    if data is None or b"__main__" in data or _by_value_modules():
        from . import _by_value

        buffers.clear()
        data = _by_value.dumps(value, keep)
    if buffer_callback is not None:
        for buffer in buffers:
            buffer_callback(buffer)
    return data


@attrs.frozen(eq=False)
class Dump:
    """What `dump_part` returns.

    Attributes:
        data: The pickle.
        buffers: The large buffers that it has out of band.
        met: What was met on the way, by its identity, as long as this lives.
        by_value: Classes or functions travel in it by value.
    """

    data: bytes
    buffers: list[pickle.PickleBuffer]
    met: Mapping[int, tuple[int, Any]]
    by_value: bool


def dump_part(value: Any, *, in_band: bool = False) -> Dump:
    """Pickle *value* as `dump` does, and tell what that met.

    Args:
        value: The value.
        in_band: Large buffers are a part of the pickle.
    """
    buffers: list[pickle.PickleBuffer] = []
    keep = None if in_band else _large_to(buffers)
    file = io.BytesIO()
    try:
        pickler = pickle.Pickler(file, protocol=5, buffer_callback=keep)
        pickler.dump(value)
        data = file.getvalue()
    except Exception:
        data = None
    by_value = data is None
    if data is None or b"__main__" in data or _by_value_modules():
        from . import _by_value

        buffers.clear()
        file = io.BytesIO()
        pickler = _by_value.Pickler(file, protocol=5, buffer_callback=keep)
        pickler.dump(value)
        data = file.getvalue()
        by_value = by_value or pickler.by_value
    return Dump(data, buffers, pickler.memo.copy(), by_value)


def _large_to(buffers: list[pickle.PickleBuffer]) -> Callable[[pickle.PickleBuffer], bool]:
    def stays_in_band(buffer: pickle.PickleBuffer) -> bool:
        small = buffer.raw().nbytes < LARGE_BUFFER
        if not small:
            buffers.append(buffer)
        return small

    return stays_in_band


def _by_value_modules() -> bool:
    module = sys.modules.get("cloudpickle")
    return module is not None and bool(module.list_registry_pickle_by_value())


def unsendable(call: Call, error: Exception) -> PicklingError:
    """Return the error that says which part of *call* cannot travel, as *error* told."""
    parts = {"the function": call.function, "instance": call.instance}
    parts.update({f"args[{index}]": value for index, value in enumerate(call.args)})
    parts.update({f"kwargs[{name!r}]": value for name, value in call.kwargs.items()})
    path, reason = culprit(parts, dump) or ("it", f"{type(error).__name__}: {error}")
    return PicklingError(f"the call of {call.label}", path, reason)


def run(packed: bytes, buffers: Iterable[Any] = ()) -> Any:
    """Run the call that `pack` *packed* and return what it returns."""
    function, instance, args, kwargs, context, prepare = pickle.loads(packed, buffers=buffers)
    if instance is not None:
        args = (instance, *args)
    if prepare is None and not context:
        return function(*args, **kwargs)
    own = contextvars.copy_context()  # what is restored for this call holds for no other
    if prepare is not None:
        own.run(prepare)
    for address, value in (context or {}).items():
        own.run(context_variable(address).set, value)
    return own.run(function, *args, **kwargs)


def context_variable(address: str) -> contextvars.ContextVar[Any]:
    """Return the context variable at *address*, which is written ``"pkg.mod:VAR"``.

    Raises:
        ConnectorsError: There is none.
    """
    import importlib

    module, _, name = address.partition(":")
    try:
        variable = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConnectorsError(
            f"context={address!r} names no context variable ({error}); "
            'write it as "package.module:VARIABLE"'
        ) from error
    if not isinstance(variable, contextvars.ContextVar):
        raise ConnectorsError(
            f"context={address!r} is a {type(variable).__name__}, no contextvars.ContextVar"
        )
    return variable


def settle_in_worker(levels: Mapping[str, int]) -> None:
    """Make this process a worker, which collects log records at *levels*."""
    global _inside_worker  # noqa: PLW0603 - a fact about this process
    _inside_worker = True
    _relay.install(levels)


def dump_named(
    parts: Mapping[str, Any], what: str, buffer_callback: BufferCallback | None = None
) -> bytes:
    """Pickle the one value of *parts*, as `dump` does.

    Args:
        parts: The value, by the name that the path to what cannot be pickled begins with.
        what: What it is, in words.
        buffer_callback: See `dump`.

    Raises:
        PicklingError: It cannot travel; names the part of it that is at fault.
    """
    (value,) = parts.values()
    try:
        return dump(value, buffer_callback)
    except Exception as error:
        path, reason = culprit(parts, dump) or ("it", f"{type(error).__name__}: {error}")
        raise PicklingError(what, path, reason) from error
