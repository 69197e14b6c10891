"""`main`: from the command line to the exit code."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from connectors import ConnectorsError

from . import _check, _config, _doctor, _explain, _list, _run, _show, _tasks
from ._interrupts import code_of

_COMMANDS: tuple[ModuleType, ...] = (
    _list,
    _show,
    _config,
    _explain,
    _check,
    _doctor,
    _run,
    _tasks,
)
_CLOSED = 128 + 13  # what a shell reports of a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of ``connectors``.

    Args:
        argv: The arguments. Without them this is the program: it takes those of the process, logs
            to standard error, and on Ctrl-C ends the process at once, whatever its threads do.

    Returns:
        The exit code.
    """
    program = argv is None
    words = sys.argv[1:] if argv is None else list(argv)
    if program:
        _become_program()
    command = "connectors"
    try:
        args = _parse(words)
        args.program = program
        command = f"connectors {args.command}"
        code = args.run(args)
        sys.stdout.flush()
    except SystemExit as end:  # argparse has said why
        return end.code if isinstance(end.code, int) else 2
    except KeyboardInterrupt as interruption:
        return code_of(interruption)
    except BrokenPipeError:
        _discard_output()
        return _CLOSED
    except (ConnectorsError, OSError) as error:
        print(f"{command}: {error}", file=sys.stderr)
        if isinstance(error, OSError) and program:
            _discard_output()
        return 2
    return int(code or 0)


def _parse(words: list[str]) -> argparse.Namespace:
    words, literal = _split(words)
    parser = _parser(words)
    args, extra = parser.parse_known_args(words)
    # argparse takes no positional arguments after options, and everybody types them there.
    if unknown := [word for word in extra if word.startswith("-") and not _is_number(word)]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if extra or literal:
        if not hasattr(args, "items"):
            parser.error(f"unrecognized arguments: {' '.join([*extra, *literal])}")
        args.items = [*args.items, *extra, *literal]
    return args


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    end = words.index("--")
    return words[:end], words[end + 1 :]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="connectors",
        description="See which executors there are, why they behave as they do, and run with them.",
        epilog="exit codes: 0 all went well, 1 something failed, 2 cannot be done as asked",
    )
    parser.add_argument("--version", action=_Version, help="print the version and leave")
    subparsers = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for command in _COMMANDS:
        command.add_to(subparsers)
    # Plugins may have more commands; those who ask for one of ours import none of them.
    if next((word for word in words if not word.startswith("-")), None) not in subparsers.choices:
        _add_plugin_commands(subparsers)
    return parser


def _add_plugin_commands(subparsers: Any) -> None:
    from connectors._registry import registry

    registry.activate()
    registry.plugins.call("connectors_cli_commands", subparsers=subparsers)


class _Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from connectors._discovery import DISTRIBUTION

        from ._doctor import version_of

        print(f"{DISTRIBUTION} {version_of(DISTRIBUTION)}")
        parser.exit()


def _become_program() -> None:
    # Where a descriptor is closed, Python has None; what is written there goes nowhere.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - for good
    # What came in as a name of a file with odd bytes goes out as the same bytes.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="surrogateescape")
    logging.basicConfig(handlers=[_Handler()], format="%(levelname)s %(name)s: %(message)s")


class _Handler(logging.Handler):
    """Writes to what is standard error now, so that a progress bar is not torn."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def _discard_output() -> None:
    """Let nothing more be written, so that Python's own flush at the exit does not fail again."""
    with contextlib.suppress(Exception):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
