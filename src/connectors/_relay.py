"""Brings the log records and warnings of a worker process to the handlers of its caller."""

from __future__ import annotations

import contextvars
import logging
import operator
import os
import pickle
import warnings
from collections.abc import Mapping
from typing import Any, TextIO

import attrs

_News = tuple[bytes, ...]

_collected: contextvars.ContextVar[News | None] = contextvars.ContextVar("_collected", default=None)
_open: list[News] = []
_loggers: tuple[int, tuple[logging.Logger, ...]] = (-1, ())
_levels: tuple[Any, tuple[int, ...], Mapping[str, int]] = (None, (), {})
_level = operator.attrgetter("level")
_registries: dict[str, dict[Any, Any]] = {}


@attrs.define(eq=False)
class News:
    """What a call logged and warned of, in order, each packed by itself."""

    items: list[bytes] = attrs.field(factory=list)

    def packed(self) -> _News:
        """Return what was collected, as it travels."""
        return tuple(self.items)

    def add(self, kind: str, item: Any) -> None:
        """Keep *item*, or what can travel of it."""
        try:
            self.items.append(pickle.dumps((kind, item)))
        except Exception:
            if kind == "log":
                plain = {key: value for key, value in item.items() if _is_plain(value)}
                self.items.append(pickle.dumps((kind, plain)))


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
    """Hand *news* of the call *label* to the handlers and the warning filters of this process."""
    for packed in news:
        kind, item = pickle.loads(packed)
        if kind == "log":
            record = logging.makeLogRecord({**item, "executor": executor, "label": label})
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
        else:
            message, category, filename, lineno = item
            registry = _registries.setdefault(filename, {})
            warnings.warn_explicit(message, category, filename, lineno, registry=registry)


def _current() -> News | None:
    # A thread that the call started has a context of its own; it belongs to the only open call.
    return _collected.get() or (_open[0] if len(_open) == 1 else None)


class _Relay(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        news = _current()
        if news is None:
            return
        item = dict(record.__dict__)
        item.update(msg=record.getMessage(), args=None, exc_info=None, process=os.getpid())
        if record.exc_info:
            item["exc_text"] = logging.Formatter().formatException(record.exc_info)
        news.add("log", item)


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
        news.add("warning", (str(message), category, filename, lineno))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))
