"""Checks of what users give: tasks, limits and loggers."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

from ._task import AbstractExecutorTask

Logger = logging.Logger | logging.LoggerAdapter[Any]


def checked_tasks(
    tasks: Iterable[AbstractExecutorTask], place: str = "tasks is"
) -> Sequence[AbstractExecutorTask]:
    """Return *tasks*.

    Args:
        tasks: They.
        place: Begins the message if they cannot be iterated over.

    Raises:
        TypeError: They are no iterable, or one of them is no task.
    """
    if not isinstance(tasks, Iterable):
        raise TypeError(f"{place} {tasks!r}, which is no iterable; give a list of tasks")
    found: list[Any] = list(tasks)
    for index, task in enumerate(found):
        if not isinstance(task, AbstractExecutorTask):
            raise TypeError(
                f"tasks[{index}] is {task!r}, no task; derive its class from "
                "connectors.tasks.AbstractExecutorTask"
            )
    return tuple(found)


def checked_limit(
    place: str, name: str, seconds: float | None, minimum: float = -math.inf
) -> float | None:
    """Return *seconds*, where `None` is no limit.

    Raises:
        ValueError: It is no number, or less than *minimum*.
    """
    if seconds is None:
        return None
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if number and seconds >= minimum:  # nan is not
        return seconds
    least = "" if minimum == -math.inf else f", at least {minimum:g}"
    raise ValueError(f"{place}: {name}={seconds!r}; expected seconds{least}, or None for no limit")


def checked_logger(logger: Logger | None) -> Logger:
    """Return *logger*, or that of this room.

    Raises:
        TypeError: It is neither a logger of the standard library nor an adapter.
    """
    if logger is None:
        return logging.getLogger("connectors.tasks")
    if not isinstance(logger, (logging.Logger, logging.LoggerAdapter)):
        raise TypeError(
            f"logger is {logger!r}; give a logging.Logger or a logging.LoggerAdapter, "
            "logging.getLogger(__name__) for instance"
        )
    return logger
