"""Brings the log records and warnings of a worker process to the handlers of its caller."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import operator
import os
import pickle
import warnings
from collections.abc import Mapping
from typing import Any, TextIO

import attrs

from ._packed_errors import PackedError, pack_error, unpack_error

_News = tuple[bytes, ...]
_Packed = tuple[bytes | None, str]  # a value, if it can be pickled, and its text

_collected: contextvars.ContextVar[News | None] = contextvars.ContextVar("_collected", default=None)
_open: list[News] = []
_loggers: tuple[int, tuple[logging.Logger, ...]] = (-1, ())
_levels: tuple[Any, tuple[int, ...], Mapping[str, int]] = (None, (), {})
_logger = logging.getLogger("connectors")
_PLAIN = (type(None), str, int, float, bool)
_level = operator.attrgetter("level")
_registries: dict[str, dict[Any, Any]] = {}


@attrs.define(eq=False)
class News:
    """What a call logged and warned of, in order, each packed by itself."""

    items: list[bytes] = attrs.field(factory=list)

    def packed(self) -> _News:
        """Return what was collected, as it travels."""
        return tuple(self.items)

    def add_record(self, item: Mapping[str, Any]) -> None:
        """Keep the attributes of a log record; of what cannot travel, the text."""
        plain = {key: value for key, value in item.items() if type(value) in _PLAIN}
        others = {key: _packed(item[key]) for key in item.keys() - plain.keys()}
        self.items.append(pickle.dumps(("log", (plain, others))))

    def add_warning(self, message: Warning, filename: str, lineno: int) -> None:
        """Keep a warning, as exceptions are kept."""
        item = (pack_error(message), str(message), filename, lineno)
        self.items.append(pickle.dumps(("warning", item)))


def _packed(value: Any) -> _Packed:
    try:
        text = str(value)
    except Exception:
        text = f"<{type(value).__qualname__}>"
    try:
        return pickle.dumps(value), text
    except Exception:
        return None, text


def _unpacked(data: bytes | None, text: str) -> Any:
    try:
        return text if data is None else pickle.loads(data)
    except Exception:
        return text


def levels() -> Mapping[str, int]:
    """Return the levels that are set on the loggers of this process, by name.

    It is the same object as long as they are the same.
    """
    global _loggers, _levels  # noqa: PLW0603 - caches, replaced as a whole
    known = logging.root.manager.loggerDict
    if len(known) != _loggers[0]:
        named = [item for item in list(known.values()) if isinstance(item, logging.Logger)]
        _loggers = (len(known), (logging.root, *named))
    found = tuple(map(_level, _loggers[1]))
    if (_loggers, found) != _levels[:2]:
        wanted = {logger.name: logger.level for logger in _loggers[1][1:] if logger.level}
        _levels = (_loggers, found, {**wanted, "": logging.root.level})
    return _levels[2]


def install(wanted: Mapping[str, int]) -> None:
    """Make this worker process collect log records at the levels of its caller, and warnings."""
    if not any(isinstance(handler, _Relay) for handler in logging.root.handlers):
        logging.root.addHandler(_Relay())
        warnings.simplefilter("default")
        warnings.showwarning = _show_warning
        _applied.clear()
    if wanted != _applied:
        for name in _applied.keys() - wanted.keys():
            logging.getLogger(name).setLevel(logging.NOTSET)
        for name, level in wanted.items():
            logging.getLogger(name).setLevel(level)
        _applied.clear()
        _applied.update(wanted)


_applied: dict[str, int] = {}


class collecting:  # noqa: N801 - a context manager, as those of contextlib are written
    """Collects what is logged and warned of in the block, if it runs *away* from its caller."""

    def __init__(self, away: bool) -> None:
        self._news = News()
        self._token: contextvars.Token[News | None] | None = None
        self._away = away

    def __enter__(self) -> News:
        if self._away:
            self._token = _collected.set(self._news)
            _open.append(self._news)
        return self._news

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _open.remove(self._news)
            _collected.reset(self._token)


def deliver(news: _News, label: str, executor: str) -> None:
    """Hand *news* of the call *label* to the handlers and the warning filters of this process.

    What they raise is no matter of the call.
    """
    for packed in news:
        try:
            kind, item = pickle.loads(packed)
            if kind == "log":
                _log(item, label=label, executor=executor)
            else:
                _warn(item, label, executor)
        except (Exception, SystemExit):
            # Neither is what the handlers raise once more.
            with contextlib.suppress(Exception, SystemExit):
                _logger.debug("news of %s on %s is dropped", label, executor, exc_info=True)


def _log(item: tuple[Mapping[str, Any], Mapping[str, _Packed]], **origin: str) -> None:
    plain, others = item
    values = {**plain, **{key: _unpacked(*other) for key, other in others.items()}, **origin}
    record = logging.makeLogRecord(values)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _warn(item: tuple[PackedError, str, str, int], label: str, executor: str) -> None:
    packed, text, filename, lineno = item
    message = unpack_error(packed)
    if not isinstance(message, Warning):
        message = UserWarning(f"{packed[1]}: {text}")
    registry = _registries.setdefault(filename, {})
    try:
        warnings.warn_explicit(message, type(message), filename, lineno, registry=registry)
    except Warning as error:  # a filter makes errors of such, but the call has ended
        if error is not message:
            raise
        _logger.warning("%s on %s warned: %s: %s", label, executor, type(error).__name__, text)


def _current() -> News | None:
    # A thread that the call started has a context of its own; it belongs to the only open call.
    return _collected.get() or (_open[0] if len(_open) == 1 else None)


class _Relay(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        news = _current()
        if news is None:
            return
        try:
            item = dict(record.__dict__)
            item.update(msg=record.getMessage(), args=None, exc_info=None, process=os.getpid())
            if record.exc_info:
                item["exc_text"] = logging.Formatter().formatException(record.exc_info)
            news.add_record(item)
        except Exception:
            self.handleError(record)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    news = _current()
    if news is not None and file is None and line is None:
        with contextlib.suppress(Exception):  # its text cannot be told
            warning = message if isinstance(message, Warning) else category(message)
            news.add_warning(warning, filename, lineno)
