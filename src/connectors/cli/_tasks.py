"""``connectors tasks run CONFIG``: start tasks that a file describes, and stop them on Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import attrs

from connectors import Outcome
from connectors._errors import did_you_mean, listing

from ._arguments import add_command
from ._choice import names_of
from ._interrupts import Interrupts, abandon
from ._target import FORMS, load_target
from ._usage import UsageError

GROUP = "connectors.tasks"  # of entry points, whose names can stand for factories

_ABOUT = f"""\
CONFIG is a TOML file. A [[tasks]] table makes one task: `task` is {FORMS}, or the name of an entry
point of the group '{GROUP}'; what it names is called with `args` and the table `with`, and returns
the task. At the top may stand `executor` (a name or a list), `on_failure`, `stop_timeout` and the
table `options` of the executor. Ctrl-C stops the tasks in order, and a second one at once. At the
end a line for each says how it ended. The exit code is 1 if one failed."""


def add_to(subparsers: Any) -> None:
    """Add the command to the program."""
    about = "run tasks until they end or Ctrl-C"
    tasks = subparsers.add_parser("tasks", help=about, description=f"{about.capitalize()}.")
    actions = tasks.add_subparsers(dest="action", metavar="ACTION", required=True)
    parser = add_command(
        actions,
        "run",
        run,
        "start the tasks that a file describes",
        json="print a JSON object per task: its id, state, value, error, exit code and signal",
        epilog=_ABOUT,
    )
    parser.add_argument("config", metavar="CONFIG", help="a TOML file")
    about = "instead of the one of the file"
    parser.add_argument("-e", "--executor", metavar="NAME", help=about)
    parser.add_argument("--on-failure", metavar="POLICY", help=about)
    parser.add_argument("--stop-timeout", metavar="SECONDS", type=float, help=about)


@attrs.frozen
class _Config:
    """What a file says.

    Attributes:
        tasks: The table of each task, or `None` if it says nothing of tasks.
        group: The arguments of the group, apart from the tasks.
        options: The options of the executor.
    """

    tasks: list[dict[str, Any]] | None
    group: dict[str, Any]
    options: dict[str, Any]


_KEYS: Mapping[str, tuple[type, ...]] = {
    "executor": (str, list),
    "on_failure": (str,),
    "stop_timeout": (int, float),
    "options": (dict,),
    "tasks": (list,),
}
_TAKEN = ("self", "tasks", "executor", "on_failure", "stop_timeout", "logger")  # by the group
_TASK_KEYS: Mapping[str, tuple[type, ...]] = {"task": (str,), "args": (list,), "with": (dict,)}


def run(args: argparse.Namespace) -> int:
    """Run the tasks; return 1 if one failed."""
    from connectors.tasks import TaskGroup

    config = _read(args.config)
    group = dict(config.group)
    for key in ("on_failure", "stop_timeout"):
        if getattr(args, key) is not None:
            group[key] = getattr(args, key)
    if args.executor is not None:
        group["executor"] = names_of(args.executor)
    with Interrupts(active=args.program):
        tables = config.tasks or ()
        made = [_task(args.config, number, table) for number, table in enumerate(tables)]
        try:
            tasks = TaskGroup(made, **group, **config.options)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{args.config}: {error}") from error
        if config.tasks is None:
            raise UsageError(f"{args.config}: there are no tasks in it; begin each with [[tasks]]")
        errors = _supervise(tasks)
    for each in errors:
        about = "".join(f" ({note})" for note in getattr(each, "__notes__", ()))
        print(f"connectors tasks: {type(each).__name__}: {each}{about}", file=sys.stderr)
    for line in _report(tasks.outcomes, as_json=args.json):
        print(line, flush=True)
    code = 1 if tasks.num_failed or errors else 0
    if tasks.abandoned:  # they would hold up the exit
        return abandon(tasks._launcher.executor, code, program=args.program)
    return code


def _supervise(tasks: Any) -> list[BaseException]:
    """Let the group run to its end; return the errors of which its outcomes say nothing."""
    try:
        with tasks:
            pass
    except KeyboardInterrupt as error:
        with contextlib.suppress(KeyboardInterrupt):
            tasks._supervision.survive(error)  # it may have come between two steps of the block
        return []
    except BaseException as error:
        told = [outcome.error for outcome in tasks.outcomes]
        errors = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
        # The error of a task may be a group itself.
        return [] if error in told else [each for each in errors if each not in told]
    return []


def _read(name: str) -> _Config:
    try:
        found = tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: this is no TOML: {error}") from error
    _check(name, "", found, _KEYS)
    tables, options = found.pop("tasks", None), found.pop("options", {})
    for key in options:
        if key in _TAKEN:
            raise UsageError(
                f"{name}: options.{key} is no option of an executor"
                + (f"; write {key} at the top" if key in _KEYS else "")
            )
    for number, table in enumerate(tables or ()):
        place = f"tasks[{number}]"
        if not isinstance(table, dict):
            raise UsageError(f"{name}: {place} is no table; begin it with [[tasks]]")
        _check(name, f"{place}.", table, _TASK_KEYS)
        if "task" not in table:
            raise UsageError(f"{name}: {place} has no 'task'; write task = \"module:factory\"")
    return _Config(tables, found, options)


def _check(
    name: str, place: str, table: Mapping[str, Any], known: Mapping[str, tuple[type, ...]]
) -> None:
    for key, value in table.items():
        if key not in known:
            raise UsageError(
                f"{name}: '{place}{key}' means nothing; known: {listing(known)}."
                f"{did_you_mean(key, known)}"
            )
        if not isinstance(value, known[key]) or isinstance(value, bool):
            kinds = " or ".join(kind.__name__ for kind in known[key])
            raise UsageError(f"{name}: {place}{key} = {value!r}: it has to be of type {kinds}")


def _task(config: str, number: int, table: Mapping[str, Any]) -> Any:
    text = table["task"]
    try:
        factory = load_target(text).function if ":" in text else _registered(text)
        return factory(*table.get("args", ()), **table.get("with", {}))
    except (Exception, SystemExit) as error:
        kind = "" if isinstance(error, UsageError) else f"{type(error).__name__}: "
        raise UsageError(f"{config}: tasks[{number}], '{text}': {kind}{error}") from error


def _registered(name: str) -> Any:
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise UsageError(
            f"no task of this name is installed; installed: {listing(sorted(found))}."
            f"{did_you_mean(name, found)} Or write module:factory"
        )
    return found[name].load()


def _report(outcomes: tuple[Outcome, ...], *, as_json: bool) -> Iterator[str]:
    for outcome in outcomes:
        if as_json:
            yield json.dumps(_described(outcome), default=repr)
            continue
        more = [f"{outcome.error.__class__.__name__}: {outcome.error}"] if outcome.error else []
        more += [f"exit code {outcome.exit_code}"] if outcome.exit_code is not None else []
        more += [f"signal {outcome.signal}"] if outcome.signal is not None else []
        more += [f"returned {outcome.value!r}"] if outcome.value is not None else []
        text = "; ".join(more).splitlines()
        yield f"{outcome.id}: {outcome.state}" + (f" ({text[0]})" if text else "")


def _encodable(value: Any) -> Any:
    """Return *value*, or how it looks if JSON cannot tell it: its keys may be no text."""
    try:
        json.dumps(value, default=repr)
    except (TypeError, ValueError):
        return repr(value)
    return value


def _described(outcome: Outcome) -> dict[str, Any]:
    error = outcome.error
    return {
        "id": _encodable(outcome.id),
        "state": outcome.state.value,
        "value": _encodable(outcome.value),
        "error": None if error is None else f"{type(error).__name__}: {error}",
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
    }
