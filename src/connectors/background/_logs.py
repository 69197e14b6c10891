"""Telling a logger, which may be anybody's, without being harmed by it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from ._checks import logger_of_the_room


def tell(method: Callable[..., object], message: str, *args: object, **kwargs: Any) -> None:
    """Call *method*, which is a logger's, and survive it if that raises."""
    try:
        method(message, *args, **kwargs)
    except BaseException as error:
        if is_for_the_program(error):
            raise
        with contextlib.suppress(Exception):
            logger_of_the_room.exception("%r raised and did not log: %s", method, message)


def is_for_the_program(error: BaseException) -> bool:
    """Tell whether *error* may be Ctrl-C, which only the main thread hears."""
    here = threading.current_thread()
    return isinstance(error, KeyboardInterrupt) and here is threading.main_thread()
