"""What ``connectors run`` says: results on standard output, all else on standard error."""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

import attrs

from ._items import Item
from ._output import is_terminal, plain
from ._target import place_of

if TYPE_CHECKING:
    from rich.progress import Progress

_LINES = 6  # of a message that is longer


class Report:
    """Writes outcomes as they are told, and counts them.

    Args:
        as_json: One JSON object per item, instead of the result as a line.
        tracebacks: Print where each failure came from in full.
        as_text: Items are given to the function as text.
        count: Returns how many items there are, if that is known.
        bar: Show a progress bar, where somebody sees it.
    """

    def __init__(
        self,
        *,
        as_json: bool,
        tracebacks: bool,
        as_text: bool,
        count: Callable[[], int | None],
        bar: bool,
    ) -> None:
        self.done = 0
        self.failed: collections.Counter[str] = collections.Counter()
        self.problems = 0
        self.overdue = False
        self._as_json = as_json
        self._tracebacks = tracebacks
        self._as_text = as_text
        self._bar = _Bar(count) if bar and is_terminal(sys.stderr) else None

    def result(self, item: Item, value: Any) -> bool:
        """Write the result of *item*; it fails if JSON cannot have it."""
        try:
            line = self._line(item, value)
        except (TypeError, ValueError, RecursionError) as error:
            text = f"the result, a {type(value).__name__}, cannot be written as JSON ({error})"
            self.failure(item, TypeError(f"{text}; return plain data, or leave out --json"))
            return False
        self.done += 1
        self._write(line)
        return True

    def failure(self, item: Item, error: BaseException) -> None:
        """Write that *item* failed, and how."""
        kind = type(error).__name__
        self.failed[kind] += 1
        self.overdue = self.overdue or isinstance(error, TimeoutError)
        if self._as_json:
            told = {"type": kind, "message": str(error)}
            self._write(json.dumps({**_identity(item), "error": told}))
        place = place_of(error)
        where = f" ({place})" if place else ""
        self._complain(f"{item.place}, {_short(item.value)}: {kind}: {_brief(error)}{where}")
        if self._tracebacks:
            self._complain("".join(traceback.format_exception(error)).rstrip())

    def problem(self, item: Item) -> None:
        """Write that *item* is none."""
        self.problems += 1
        self._complain(f"connectors run: {item.problem}")

    def flush(self) -> None:
        """Let the reader of the results have them."""
        if self._bar is not None:
            self._bar.update(self.done + self.failed.total(), self.failed.total())
        sys.stdout.flush()

    def close(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.close()

    def summary(self, *, stopped: bool = False, interrupted: bool = False) -> None:
        """Write how many items failed, by the kind of failure."""
        failed = self.failed.total()
        if not (failed or interrupted or self.problems or is_terminal(sys.stderr)):
            return
        total = self.done + failed
        words = [f"{total} item{'' if total == 1 else 's'}, {self.done} done, {failed} failed"]
        if failed:
            words[0] += f" ({', '.join(f'{n} {kind}' for kind, n in self.failed.most_common())})"
        if interrupted:
            words.append("interrupted, the rest was not run")
        elif stopped:
            words.append("stopped at the first failure; --on-error skip goes on")
        if self._as_text and self.failed["TypeError"]:
            words.append("items are given as text; with --json-lines 4 is a number")
        self._complain(f"connectors run: {'; '.join(words)}")

    @property
    def code(self) -> int:
        """The exit code."""
        if self.problems:
            return 2
        return 1 if self.failed else 0

    def _line(self, item: Item, value: Any) -> str:
        if not self._as_json:
            return str(value)
        return json.dumps({**_identity(item), "result": value}, default=_as_data)

    def _write(self, line: str) -> None:
        if self._bar is not None and self._bar.shares_terminal:
            self._bar.print(line)
            return
        try:
            sys.stdout.write(f"{line}\n")
        except UnicodeEncodeError:
            encoding = sys.stdout.encoding or "ascii"
            sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")

    def _complain(self, text: str) -> None:
        # As a whole and with its end, because rich lets others write between two writes.
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{text.encode('utf-8', 'backslashreplace').decode()}\n")
            sys.stderr.flush()


class _Bar:
    """A progress bar on the terminal behind standard error.

    Attributes:
        shares_terminal: Results go to a terminal as well, and have to go around the bar.
    """

    def __init__(self, count: Callable[[], int | None]) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.shares_terminal = is_terminal(sys.stdout)
        self._progress: Progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=_stream(shared=self.shares_terminal)),
            redirect_stdout=False,  # it would send the results of a pipe to the terminal
            transient=True,
        )
        self._task = self._progress.add_task("", total=count(), failed="")
        self._progress.start()

    def print(self, line: str) -> None:
        """Print a result above the bar."""
        self._progress.console.out(line, highlight=False)

    def update(self, completed: int, failed: int) -> None:
        """Show how far it is."""
        told = f"{failed} failed" if failed else ""
        self._progress.update(self._task, completed=completed, failed=told)

    def close(self) -> None:
        self._progress.stop()


def _stream(*, shared: bool) -> TextIO:
    return sys.stdout if shared else sys.stderr


def _identity(item: Item) -> dict[str, Any]:
    return {"number": item.number, "item": item.value}


def _as_data(value: Any) -> Any:
    """Return *value* as JSON can have it, if that says the same."""
    if isinstance(value, os.PathLike | dt.date | dt.time):
        return str(value)
    data = plain(value) if attrs.has(type(value)) else _from_standard(value)
    if data is None:
        raise TypeError(f"{type(value).__name__} is no plain data")
    return data


def _from_standard(value: Any) -> Any:
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, set | frozenset):
        return list(value)
    # NumPy's arrays and numbers.
    tolist = getattr(value, "tolist", None)
    return tolist() if callable(tolist) else None


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _brief(error: BaseException) -> str:
    first, *others = str(error).splitlines() or [""]
    return "\n  ".join([first, *others[:_LINES]])
