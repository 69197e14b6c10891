"""`log_error`: the record of a failure, which carries the id of its task."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from ._checks import Logger


def log_error(logger: Logger, text: str, name: Any, error: BaseException | None) -> None:
    """Log *text*, filled with *name*, the id of a task, and *error*, of which all is shown."""
    extra = {"task_id": name}
    more: MutableMapping[str, Any] = {"exc_info": error, "extra": extra}
    while isinstance(logger, logging.LoggerAdapter):
        text, more = logger.process(text, more)
        # An adapter puts its own extra, or none, in the place of that which it is given.
        more["extra"] = {**(more.get("extra") or {}), **extra}
        logger = logger.logger
    logger.error(text, name, type(error).__name__, error, **more)
