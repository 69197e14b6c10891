"""Arguments that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from connectors import Parallelization

LEVELS = tuple(level.name.lower() for level in Parallelization)


def add_command(
    subparsers: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    about: str,
    *,
    json: str = "print JSON",
    **more: Any,
) -> argparse.ArgumentParser:
    """Add the command *name*, which is done by *run*, and return its parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=about, description=f"{about[0].upper()}{about[1:]}.", **more
    )
    parser.add_argument("--json", action="store_true", help=json)
    parser.set_defaults(run=run)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``-o OPTION=VALUE``."""
    parser.add_argument(
        "-o",
        "--option",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="an option of the executor, as `connectors show NAME` lists them; can be repeated",
    )


def add_wish(parser: argparse.ArgumentParser) -> None:
    """Add ``--wish LEVEL``."""
    parser.add_argument(
        "--wish",
        type=str.lower,
        choices=LEVELS,
        help="how far away calls may run; by default as far as the executor can",
    )


def wish_of(args: argparse.Namespace) -> Parallelization | None:
    """Return what ``--wish`` says."""
    return Parallelization[args.wish.upper()] if args.wish else None
