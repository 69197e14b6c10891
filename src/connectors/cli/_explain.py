"""``connectors explain NAME --wish LEVEL``: where a call would run, and why nowhere else."""

from __future__ import annotations

import argparse
from typing import Any

from connectors import Call, Parallelization

from ._arguments import add_command, add_options, add_wish, wish_of
from ._choice import make_executor, names_of
from ._output import print_json
from ._target import load_target


def add_to(subparsers: Any) -> None:
    """Add the command to the program."""
    about = "explain how an executor is chosen, where a call would run there, and why nowhere else"
    parser = add_command(subparsers, "explain", run, about)
    parser.add_argument("name", metavar="NAME", help="an executor, or a profile of the settings")
    help_ = "the call: module:function or path.py:function; by default one without arguments"
    parser.add_argument("target", metavar="TARGET", nargs="?", help=help_)
    add_wish(parser)
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the decisions; nothing is called, and no pool is opened."""
    function, label = _nothing, "a call"
    wish = wish_of(args)
    if args.target:
        target = load_target(args.target)
        function, label, wish = target.function, target.label, wish or target.wish
    with make_executor(names_of(args.name), args.option) as executor:
        farthest = max(type(executor).capabilities.levels, default=Parallelization.SEQUENTIAL)
        call = Call(function, name=label, wish=wish or farthest)
        decisions = [*executor.decisions, executor.explain(call)]
    if args.json:
        print_json(decisions)
    else:
        print("\n".join(map(str, decisions)))
    return 0


def _nothing() -> None:
    """Stands for a function that can be imported anywhere."""
