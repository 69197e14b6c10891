"""``connectors config``: every setting that is made anywhere, and where it comes from."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import Any

from connectors import ExecutorNotFoundError, available_executors, settings

from ._arguments import add_command
from ._choice import make_executor
from ._output import print_json, print_table

_EXECUTOR_KEY = re.compile(r"executors\.(?:\"([^\"]+)\"|([^.]+))\.")


def add_to(subparsers: Any) -> None:
    """Add the command to the program."""
    about = "print each setting with its origin, and the files that were looked for"
    add_command(subparsers, "config", run, about)


def run(args: argparse.Namespace) -> int:
    """Print the settings, then check those of executors that are installed."""
    infos = available_executors()
    names = [name for info in infos for name in (info.name, *info.aliases)]
    rows = settings.all_settings(names)
    files = [(str(path), status) for path, status in settings.files()]
    if args.json:
        print_json(
            {
                "settings": [
                    {"key": key, "value": value, "origin": origin} for key, value, origin in rows
                ],
                "files": [{"path": path, "status": status} for path, status in files],
            }
        )
    else:
        print_table(["key", "value", "origin"], [(key, repr(v), at) for key, v, at in rows])
        print()
        print_table(["file", "status"], files)
    _check(key for key, _, _ in rows)
    return 0


def _check(keys: Iterable[str]) -> None:
    """Make, without opening it, every executor that has settings: it knows its own options."""
    matches = filter(None, map(_EXECUTOR_KEY.match, keys))
    for name in dict.fromkeys(match[1] or match[2] for match in matches):
        try:
            make_executor(name, []).close()
        except ExecutorNotFoundError:
            continue  # settings may be shared with machines where it is installed
