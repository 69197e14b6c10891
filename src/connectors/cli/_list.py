"""``connectors list``: the executors that can be chosen by name."""

from __future__ import annotations

import argparse
from typing import Any

import attrs

from connectors import (
    Capabilities,
    ConnectorsError,
    ExecutorInfo,
    available_executors,
    executor_class,
)

from ._arguments import add_command
from ._output import print_json, print_table


def add_to(subparsers: Any) -> None:
    """Add the command to the program."""
    parser = add_command(subparsers, "list", run, "list the executors that can be chosen by name")
    parser.add_argument(
        "--load", action="store_true", help="import each, and add what it can do and its state"
    )


def run(args: argparse.Namespace) -> int:
    """Print the executors; without ``--load`` nothing of them is imported."""
    loaded = {info.address: _load(info) for info in available_executors()} if args.load else {}
    infos = available_executors()
    if args.json:
        print_json([_as_json(info, loaded.get(info.address), load=args.load) for info in infos])
        return 0
    columns = ["name", "aliases", "distribution", "version"]
    columns += ["levels", "capabilities", "state"] if args.load else ["state"]
    print_table(columns, [_row(info, loaded.get(info.address), load=args.load) for info in infos])
    return 0


def _load(info: ExecutorInfo) -> Capabilities | None:
    if info.state == "blocked":
        return None
    try:
        return executor_class(info.address).capabilities
    except ConnectorsError:  # the state tells, when it is asked for again
        return None


def _row(info: ExecutorInfo, capabilities: Capabilities | None, *, load: bool) -> list[str]:
    row = [info.address, ", ".join(info.aliases), info.distribution, info.version]
    if load:
        row += [levels_of(capabilities), abilities_of(capabilities)]
    state = info.state if load or info.state != "not loaded" else ""
    return [*row, "; ".join(filter(None, [state, info.error, clash_of(info)]))]


def clash_of(info: ExecutorInfo) -> str:
    """Return which other distributions claim a name of it, in words, or nothing."""
    if not info.clashes:
        return ""
    return f"a name of it is claimed by {', '.join(info.clashes)} too"


def levels_of(capabilities: Capabilities | None) -> str:
    """Return the levels at which it may run calls, the nearest first."""
    return ", ".join(map(str, sorted(capabilities.levels))) if capabilities else ""


def abilities_of(capabilities: Capabilities | None) -> str:
    """Return the names of the capabilities that it has."""
    if capabilities is None:
        return ""
    values = attrs.asdict(capabilities, recurse=False)
    return ", ".join(name for name, value in values.items() if value is True)


def capabilities_as_json(capabilities: Capabilities) -> dict[str, Any]:
    """Return the capabilities by name."""
    values = attrs.asdict(capabilities, recurse=False)
    return {**values, "levels": [level.name for level in sorted(capabilities.levels)]}


def _as_json(
    info: ExecutorInfo, capabilities: Capabilities | None, *, load: bool
) -> dict[str, Any]:
    values = attrs.asdict(info)
    if load:
        values["capabilities"] = capabilities and capabilities_as_json(capabilities)
    return values
