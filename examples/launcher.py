"""Launch workers that run until Ctrl-C: each counts the words of the texts in its directory.

    python examples/launcher.py inbox outbox                   # a process for each directory
    python examples/launcher.py --mode threaded inbox outbox   # a thread for each
    python examples/launcher.py --demo                         # every mode with every policy

A file that is no text makes its worker fail. What becomes of the others then is the policy:
``log_only`` lets them go on, ``stop_all`` stops them, and ``propagate`` raises the failure too. At
the end each worker is reported with its exit code; that of the launcher is 1 if one failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import multiprocessing
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import connectors.tasks
from connectors.tasks import AbstractExecutorTask, AbstractMultiprocessExecutorTask, Outcome

PAUSE = 0.1  # seconds between two looks at a directory
POLICIES = [policy.value for policy in connectors.tasks.ExecutorExceptionPolicies]


class Worker:
    """Counts the words of the texts in a directory, and of those that come."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)
        self.words: dict[str, int] = {}
        self._stopping = threading.Event()

    def run(self) -> int:
        """Work until `please_stop` is called; return the exit code."""
        while not self._stopping.wait(PAUSE):
            self.look()
        return 0

    def look(self) -> None:
        """Count what is new."""
        for path in self.directory.glob("*.txt"):
            if path.name not in self.words:
                self.words[path.name] = len(path.read_text(encoding="utf-8").split())

    def please_stop(self) -> None:
        """Let `run` end."""
        self._stopping.set()


def run_worker(directory: str, stopping: Any) -> int:
    """Be the body of a process: a worker that stops when the event *stopping* is set."""
    worker = Worker(directory)

    def watch() -> None:
        stopping.wait()
        worker.please_stop()

    threading.Thread(target=watch, name="watcher", daemon=True).start()
    return worker.run()


class ProcessTask(AbstractMultiprocessExecutorTask):
    """A worker in a process of its own."""

    def __init__(self, directory: str) -> None:
        super().__init__()
        self.directory = directory
        # The default context of multiprocessing forks on Linux; ours never does.
        self.stopping = multiprocessing.get_context("forkserver").Event()

    @property
    def id(self) -> str:
        return self.directory

    def start(self) -> tuple[Callable[..., Any], Sequence[Any]]:
        return run_worker, (self.directory, self.stopping)

    def stop(self) -> None:
        if self.future is None or self.future.done():
            return  # there is nobody to be told
        self.stopping.set()


class ThreadTask(AbstractExecutorTask):
    """A worker in a thread."""

    def __init__(self, directory: str) -> None:
        super().__init__()
        self.worker = Worker(directory)

    @property
    def id(self) -> str:
        return str(self.worker.directory)

    def start(self) -> int:
        return self.worker.run()

    def stop(self) -> None:
        self.worker.please_stop()

    def create_async_task(self, loop: Any) -> Any:
        raise NotImplementedError(f"{self.id} is to run in a thread")


class AsyncTask(ThreadTask):
    """A worker in an event loop."""

    loop: asyncio.AbstractEventLoop
    stopping: asyncio.Event

    async def run(self) -> int:
        while not self.stopping.is_set():
            self.worker.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), PAUSE)
        return 0

    def create_async_task(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[int]:
        self.loop, self.stopping = loop, asyncio.Event()
        return loop.create_task(self.run())

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.stopping.set)


class Launcher(connectors.tasks.AbstractMultipleRunner):
    """Runs a worker for each directory; the first of repeated ones is kept."""

    SUPPORTED_MODES: ClassVar = {
        "multiprocess": connectors.tasks.ProcessExecutor,
        "threaded": connectors.tasks.ThreadExecutor,
        "async": connectors.tasks.AsyncExecutor,
    }
    TASKS: ClassVar[dict[str, Callable[[str], AbstractExecutorTask]]] = {
        "multiprocess": ProcessTask,
        "threaded": ThreadTask,
        "async": AsyncTask,
    }

    def __init__(self, directories: Sequence[str], mode: str, fail_policy: str) -> None:
        self.make = self.TASKS.get(mode, ThreadTask)
        self.directories = list(dict.fromkeys(directories))
        for directory in self.directories:
            if not Path(directory).is_dir():
                raise NotADirectoryError(f"there is no directory '{directory}'")
        super().__init__(mode, fail_policy)

    def _make_tasks(self) -> Sequence[AbstractExecutorTask]:
        self.tasks = [self.make(directory) for directory in self.directories]
        return self.tasks

    def report(self) -> Iterator[str]:
        """Say of each worker how it ended."""
        for task in self.tasks:
            outcome = task.outcome
            error = f" ({type(outcome.error).__name__})" if outcome.error is not None else ""
            yield f"{task.id}: {outcome.state}, exit code {exit_code(outcome)}{error}"


def exit_code(outcome: Outcome) -> int:
    """Return what a shell would say of a worker that ended like this."""
    if outcome.signal is not None:
        return 128 + outcome.signal
    if outcome.exit_code is not None:
        return outcome.exit_code
    return int(outcome.value or 0) if outcome.state in {"done", "cancelled"} else 1


def launch(directories: Sequence[str], mode: str, policy: str, seconds: float | None = None) -> int:
    """Run a worker for each directory until Ctrl-C, or for some seconds; return the exit code."""
    launcher = Launcher(directories, mode, policy)
    try:
        launcher.start(threaded=True)
        print(
            f"{len(launcher.tasks)} workers run ({mode}, {policy}); Ctrl-C stops them", flush=True
        )
        if seconds is not None:
            threading.Timer(seconds, launcher.stop).start()
        launcher.try_join_thread()
    except KeyboardInterrupt:
        print("interrupted")
    except Exception as error:
        print(f"raised: {type(error).__name__}")
    finally:
        launcher.stop(timeout=5)
    print(*launcher.report(), sep="\n", flush=True)
    return 1 if launcher.num_failed else 0


def demo() -> int:
    """Run three workers of which one fails, in every mode and with every policy."""
    with tempfile.TemporaryDirectory() as place:
        directories = [Path(place, name) for name in ("first", "second", "third")]
        for directory in directories:
            directory.mkdir()
            (directory / "letter.txt").write_text("a few words")
        (directories[1] / "photograph.txt").write_bytes(b"\xff\xd8\xff\xe0")
        names = [str(directory) for directory in directories]
        codes = {launch(names, mode, policy, 1) for mode in Launcher.TASKS for policy in POLICIES}
    return 0 if codes == {1} else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    parser = argparse.ArgumentParser(description="Count words until Ctrl-C.")
    parser.add_argument("directories", nargs="*", metavar="DIRECTORY")
    parser.add_argument("--mode", choices=list(Launcher.TASKS), default="multiprocess")
    parser.add_argument("--policy", choices=POLICIES, default="log_only")
    parser.add_argument("--demo", action="store_true", help="every mode with every policy")
    args = parser.parse_args(argv)
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.ERROR)
    if args.demo:
        return demo()
    try:
        return launch(args.directories, args.mode, args.policy)
    except OSError as error:
        print(f"launcher: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
