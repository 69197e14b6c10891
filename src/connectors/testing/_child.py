"""What happens in the process of one check: run it, and leave the result in a file."""

from __future__ import annotations

import faulthandler
import os
import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

import attrs

from connectors._packed_errors import pack_error

from ._check import Check
from ._result import Subject
from ._table import CHECKS

RESULT, OUTPUT = "result", "output"
#: Asks for the capabilities of the executor instead of a check.
CAPABILITIES = "capabilities"


@attrs.frozen
class Order:
    """What a process is to do.

    Attributes:
        subject: The executor.
        check: The name of the check.
        deadline: How many seconds it has.
        folder: Where its result and its output are put.
    """

    subject: Subject
    check: str
    deadline: float
    folder: str


def perform(order: Order) -> None:
    """Do what *order* says, in this process, which afterwards ends as every program does."""
    faulthandler.dump_traceback_later(order.deadline, exit=True)
    result = _outcome(order)
    sys.stdout.flush()
    sys.stderr.flush()
    path = Path(order.folder, RESULT)
    path.with_suffix(".new").write_bytes(pickle.dumps(result))
    path.with_suffix(".new").rename(path)
    if result[0] == "failed" or order.check == CAPABILITIES:
        os._exit(0)  # what is broken may not let the interpreter end


def _outcome(order: Order) -> tuple[str, Any]:
    maker = order.subject.maker()
    if order.check == CAPABILITIES:
        try:
            return "passed", maker().capabilities
        except Exception as error:
            return "failed", pack_error(error)
    check = next(check for check in CHECKS if check.id == order.check)
    try:
        check.function(maker)
    except AssertionError as error:
        return "failed", f"{error}{_place(check, error)}"
    except BaseException:
        return "failed", traceback.format_exc()
    return "passed", ""


def _place(check: Check, error: AssertionError) -> str:
    """Return the line of *check* at which *error* was raised."""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.name == check.function.__name__:
            return f"\n(at {frame.filename}:{frame.lineno})"
    return ""
