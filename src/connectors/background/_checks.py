"""What is checked of arguments, before anything runs."""

from __future__ import annotations

import logging
import threading
from typing import Any

from connectors._calls import is_async, label_of

Logger = logging.Logger | logging.LoggerAdapter[Any]

logger_of_the_room = logging.getLogger("connectors.background")


def check_plain(place: str, function: object) -> None:
    """Raise `TypeError` if *function* is nothing that can be called without an event loop."""
    if not callable(function):
        raise TypeError(f"{place}: {function!r} cannot be called; expected a function")
    if is_async(function):
        raise TypeError(
            f"{place}: {label_of(function)} is an async def, and here calls are plain; "
            f"let asyncio.run or trio.run run it"
        )


def checked_logger(place: str, logger: object) -> Any:
    """Return *logger*, or that of the room if it is `None`.

    Raises:
        TypeError: It is no logger.
    """
    if logger is None:
        return logger_of_the_room
    if all(callable(getattr(logger, name, None)) for name in ("info", "warning")):
        return logger
    raise TypeError(
        f"{place}: logger={logger!r} is no logger; expected a logging.Logger, a "
        "logging.LoggerAdapter or None"
    )


def checked_seconds(place: str, name: str, seconds: object) -> float | None:
    """Return *seconds*, where `None` is no limit, and more than threads can wait is none either.

    Raises:
        ValueError: It is no number, or negative.
    """
    if seconds is None:
        return None
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds >= 0:
        return seconds if seconds <= threading.TIMEOUT_MAX else None
    raise ValueError(
        f"{place}: {name}={seconds!r}; expected seconds, at least 0, or None for no limit"
    )
