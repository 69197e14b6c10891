"""``connectors show NAME``: the options of an executor and what it can do."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from connectors import Executor
from connectors.settings import options_of

from ._arguments import add_command, add_options
from ._choice import make_executor, names_of
from ._list import abilities_of, capabilities_as_json, levels_of
from ._output import print_json, print_table


def add_to(subparsers: Any) -> None:
    """Add the command to the program."""
    about = "show the options of an executor, their values and origins, and what it can do"
    parser = add_command(subparsers, "show", run, about)
    parser.add_argument("name", metavar="NAME", help="an executor, or a profile of the settings")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the options of the executor; none of its pools is opened."""
    with make_executor(names_of(args.name), args.option) as executor:
        options = list(_options(executor))
        if args.json:
            print_json(_as_json(executor, options))
            return 0
        print_table(["", ""], _facts(executor))
        print()
        columns = ("type", "default", "value", "origin", "environment variable", "help")
        rows = [[option["option"], *(option[column] for column in columns)] for option in options]
        print_table(["option", *columns], rows)
    return 0


def _options(executor: Executor) -> Iterator[dict[str, Any]]:
    for name, option in options_of(type(executor)).items():
        setting = executor.settings[name]
        yield {
            "option": name,
            "type": option.allowed,
            "default": repr(option.default),
            "value": repr(setting.value),
            "origin": setting.origin,
            "environment variable": option.environment_variable(executor.name),
            "help": option.help,
        }


def _facts(executor: Executor) -> list[tuple[str, str]]:
    cls = type(executor)
    chosen = [decision for decision in executor.decisions if decision.subject == "profile"]
    return [
        ("executor", executor.name),
        *(("profile", f"{decision.asked} ({decision.reason})") for decision in chosen),
        ("class", f"{cls.__module__}:{cls.__qualname__}"),
        ("levels", levels_of(cls.capabilities)),
        ("capabilities", abilities_of(cls.capabilities)),
    ]


def _as_json(executor: Executor, options: list[dict[str, Any]]) -> dict[str, Any]:
    declared = options_of(type(executor))
    for row in options:
        row["environment_variable"] = row.pop("environment variable")
        row["default"] = declared[row["option"]].default
        row["value"] = executor.settings[row["option"]].value
    return {
        "executor": executor.name,
        "class": f"{type(executor).__module__}:{type(executor).__qualname__}",
        "capabilities": capabilities_as_json(type(executor).capabilities),
        "options": options,
    }
