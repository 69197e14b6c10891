"""``connectors run TARGET [ITEMS...]``: call a function for each item, on any executor."""

from __future__ import annotations

import argparse
import functools
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from connectors import Executor, Parallelization, available_cpus
from connectors._calls import is_async
from connectors.settings import options_of

from ._arguments import add_command, add_options, add_wish, wish_of
from ._choice import make_executor, names_of
from ._interrupts import Interrupts, abandon, code_of, deaf, hearing, prepare
from ._items import Items, items_of
from ._report import Report
from ._stream import Stream
from ._target import FORMS, Target, load_target

_CLOSED = 128 + 13
_ABOUT = """\
Items are arguments, or the lines of a file or of standard input. A line is given to the function
as text, an empty one too. With --json-lines each is a JSON value, given as the one argument (an
object as a dict), and empty lines are passed over. Input is read as there is room; results are
written as they come. Ctrl-C leaves at once; what is done by then is written."""


def add_to(subparsers: Any) -> None:
    """Add the command to the program."""
    parser = add_command(
        subparsers,
        "run",
        run,
        "call a function for each item",
        json="print a JSON object per item: its number, the item, and its result or error",
        epilog=_ABOUT,
    )
    parser.add_argument(
        "target", metavar="TARGET", help=f"{FORMS}: a connector method or any other"
    )
    parser.add_argument("items", metavar="ITEMS", nargs="*", help="the items; -- before odd ones")
    parser.add_argument("-i", "--input", metavar="FILE", help="read items from a file; - is stdin")
    parser.add_argument("--json-lines", action="store_true", help="each item is a JSON value")
    about = "its name, a profile, or several with commas between: the first that opens"
    parser.add_argument("-e", "--executor", metavar="NAME", help=about)
    add_options(parser)
    add_wish(parser)
    parser.add_argument("--timeout", metavar="SECONDS", help="limit of each call")
    parser.add_argument("--retries", metavar="COUNT", help="how often a failed call is run again")
    order = parser.add_mutually_exclusive_group()
    about = "results in the order of the items (default)"
    order.add_argument("--ordered", action="store_true", default=True, help=about)
    about = "results as they come"
    order.add_argument("--unordered", dest="ordered", action="store_false", help=about)
    about = "after a failure begin no more items (default), or go on"
    parser.add_argument("--on-error", choices=("stop", "skip"), default="stop", help=about)
    about = "how many items are under way at most; by default a few for each worker"
    parser.add_argument("--in-flight", type=_positive, metavar="COUNT", help=about)
    parser.add_argument("--traceback", action="store_true", help="print failures in full")
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")


def run(args: argparse.Namespace) -> int:
    """Run the items and return 1 if one failed, or 2 if one was no item."""
    limits = _limits(args)
    target = load_target(args.target)
    items = items_of(args.items, args.input, as_json=args.json_lines)
    with Interrupts(active=args.program) as interrupts:
        executor = _executor(args, target)
        view = _view(executor, target, wish_of(args), limits)
        report = Report(
            as_json=args.json,
            tracebacks=args.traceback,
            as_text=not args.json_lines,
            count=items.count,
            bar=not args.no_progress,
        )
        stream = Stream(
            _starter(executor, view, target),
            report,
            interrupts,
            limit=args.in_flight or _room(executor),
            ordered=args.ordered,
            stop=args.on_error == "stop",
        )
        return _turn(stream, items, report, executor, program=args.program)


def _turn(
    stream: Stream, items: Items, report: Report, executor: Executor, *, program: bool
) -> int:
    """Let *stream* run to its end, whichever that is."""
    try:
        stream.run(items.begin())
    except KeyboardInterrupt as interruption:
        return abandon(executor, _interrupted(stream, report, interruption), program=program)
    except BrokenPipeError:
        report.close()
        return abandon(executor, _CLOSED, program=program)
    except BaseException:
        report.close()
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    report.close()
    report.summary(stopped=stream.stopped)
    if report.overdue:
        # A call that took too long may go on for ever.
        return abandon(executor, report.code, program=program)
    executor.close()
    return report.code


def _interrupted(stream: Stream, report: Report, interruption: KeyboardInterrupt) -> int:
    try:
        stream.rescue()
        report.close()
        report.flush()
        report.summary(interrupted=True)
    except (KeyboardInterrupt, OSError):
        pass  # asked twice, or the results go nowhere
    return code_of(interruption)


def _executor(args: argparse.Namespace, target: Target) -> Executor:
    if args.executor is not None:
        executor = make_executor(names_of(args.executor), args.option)
    else:
        executor = make_executor(target.executor, args.option, target.origin)
    if target.module is not None and type(executor).capabilities.remote:
        import cloudpickle

        # Another machine may not have the file.
        cloudpickle.register_pickle_by_value(target.module)
    return executor


def _limits(args: argparse.Namespace) -> dict[str, Any]:
    """Return the limits that were typed, checked as the options that they are."""
    declared = options_of(Executor)
    return {
        name: declared[name].parse(text, f"--{name} {text}")
        for name, text in (("timeout", args.timeout), ("retries", args.retries))
        if text is not None
    }


def _view(
    executor: Executor, target: Target, wish: Parallelization | None, limits: dict[str, Any]
) -> Executor:
    """Return *executor* as the items see it; what was typed comes before what *target* says."""
    routed = {"timeout": target.timeout, "retries": target.retries}
    view = executor.options(wish=wish or target.wish, label=target.label, **{**routed, **limits})
    level = executor.level_for(wish) if wish else None
    if wish is not level:
        text = f"'{executor.name}' has no level {wish}: items run as {level}"
        logging.getLogger("connectors").warning(text)
    return view


def _starter(executor: Executor, view: Executor, target: Target) -> Callable[[Any], Future[Any]]:
    if is_async(target.function) or not prepare(executor):
        return functools.partial(view.submit, target.function)

    def start(value: Any) -> Future[Any]:
        with deaf():
            return view.submit(hearing, target.function, value)

    return start


def _room(executor: Executor) -> int:
    """Return how many items keep all workers busy, with some to spare."""
    counts = [getattr(executor, name, None) for name in ("threads", "processes")]
    return max(16, 4 * available_cpus(), *(2 * int(count) for count in counts if count))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number
