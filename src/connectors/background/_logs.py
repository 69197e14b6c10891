"""Telling a logger, which may be anybody's, without being harmed by it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from ._checks import logger_of_the_room


def tell(method: Callable[..., object], message: str, *args: object, **kwargs: Any) -> None:
    """Call *method*, which is a logger's, and survive it if that raises."""
    try:
        method(message, *args, **kwargs)
    except KeyboardInterrupt:
        raise  # it is meant for the program
    except BaseException:
        with contextlib.suppress(Exception):
            logger_of_the_room.exception("%r raised and did not log: %s", method, message)
