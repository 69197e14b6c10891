"""What happens when things go wrong: the same faults in our process pool and in its peers.

```text
main ── python -c "faults.probe(...)" ──▶ engine ──▶ workers     in a session of their own
 ▲ ▲                   │                               │
 │ └──── cells ────────┘                               │ (files: "I have begun")
 └──── kills or interrupts the probe ──────────────────┘
```

Usage: ``faults.py [ENGINE ...]`` prints a Markdown table. Every cell is what one probe measured;
what a probe did not tell before its deadline hangs.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import contextvars
import importlib
import logging
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

WORKERS = 2
LIMIT = 10  # seconds until a call hangs that takes one at most
DEADLINE = 45  # seconds of a whole probe
PATIENCE = 25  # seconds that we wait for the prompt
CELL = "cell: "
WORK, SCRIPT, DASH_C = "work", "script", "dash c"

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


# --- what the workers run


def add(number: int) -> int:
    return number + 1


def hold(path: str, gate: str = "") -> int:
    """Tell our pid in the file at *path*, and wait for *gate* or, without one, 30 seconds."""
    Path(path).write_text(str(os.getpid()), encoding="utf-8")
    end = time.monotonic() + 30
    while time.monotonic() < end and not (gate and Path(gate).exists()):
        time.sleep(0.02)
    return 1


class TwoArgumentsError(Exception):
    """Pickles, but does not unpickle."""

    def __init__(self, left: str, right: str) -> None:
        super().__init__(f"{left} and {right}")


class Camera:
    """Does not pickle, because of one attribute."""

    def __init__(self) -> None:
        self.shutter = threading.Lock()


def raise_two_arguments() -> None:
    raise TwoArgumentsError("left", "right")


def fail_deep_inside() -> None:
    raise ValueError("deep inside")


def fail() -> None:
    fail_deep_inside()


def log() -> None:
    logging.getLogger("worker").warning("seen?")


def read_variable() -> str:
    return VARIABLE.get()


# --- engines


class Outcome(NamedTuple):
    """What came of a call.

    Attributes:
        value: What it returned.
        error: What it raised, or `None`.
        place: Where that was raised.
    """

    value: Any = None
    error: BaseException | None = None
    place: str = ""

    @property
    def word(self) -> str:
        """The outcome as a cell."""
        if isinstance(self.error, (TimeoutError, multiprocessing.TimeoutError)):
            return "hangs"
        return "ok" if self.error is None else f"`{type(self.error).__name__}`"


class Engine:
    """Runs calls as futures; opened with ``with``."""

    needs = "concurrent.futures"

    def __enter__(self) -> None:
        self.manager = self.open()
        self.pool = self.manager.__enter__()

    def __exit__(self, *details: object) -> None:
        self.manager.__exit__(*details)

    def open(self) -> Any:
        raise NotImplementedError

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.submit(function, *args)

    def wait(self, future: Any, limit: float | None) -> Any:
        return future.result(limit)

    def gather(self, *calls: tuple[Any, ...], limit: float | None = LIMIT) -> list[Outcome]:
        """Run *calls* at the same time and return what came of each."""
        submitted = [_attempt("when it is submitted", self.submit, *call) for call in calls]
        return [
            each if each.error else _attempt("in the result", self.wait, each.value, limit)
            for each in submitted
        ]

    def block(self, *calls: tuple[Any, ...]) -> None:
        """Run *calls* as a user does who waits for them without a limit."""
        with self:
            self.gather(*calls, limit=None)


def _attempt(place: str, function: Callable[..., Any], *args: Any) -> Outcome:
    try:
        return Outcome(function(*args))
    except Exception as error:
        return Outcome(error=error, place=place)


class Ours(Engine):
    needs = "connectors"

    def open(self) -> Any:
        from connectors.pools import ProcessPool

        return ProcessPool(WORKERS, context=["faults:VARIABLE"])


class Standard(Engine):
    def __init__(self, method: str) -> None:
        self.method = method

    def open(self) -> Any:
        context = multiprocessing.get_context(self.method)
        return concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=context)


class Pool(Engine):
    needs = "multiprocessing"

    def open(self) -> Any:
        return multiprocessing.Pool(WORKERS)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.apply_async(function, args)

    def wait(self, future: Any, limit: float | None) -> Any:
        return future.get(limit)


class Mpire(Pool):
    needs = "mpire"

    def open(self) -> Any:
        import mpire

        return mpire.WorkerPool(WORKERS)


class Loky(Engine):
    needs = "loky"

    def open(self) -> Any:
        return contextlib.nullcontext()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        import loky

        # Asked for at each use, as its documentation has it; that replaces a broken one.
        return loky.get_reusable_executor(WORKERS).submit(function, *args)


class Joblib(Engine):
    needs = "joblib"

    def open(self) -> Any:
        return contextlib.nullcontext()

    def gather(self, *calls: tuple[Any, ...], limit: float | None = LIMIT) -> list[Outcome]:
        from joblib import Parallel, delayed

        work = [delayed(function)(*args) for function, *args in calls]
        done = _attempt("when it is submitted", Parallel(WORKERS), work)
        return [done] * len(calls) if done.error else list(map(Outcome, done.value))


class Pebble(Engine):
    needs = "pebble"

    def open(self) -> Any:
        import pebble

        return pebble.ProcessPool(WORKERS)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.schedule(function, args)


class Async(Engine):
    """Runs calls by awaiting them: submitting one and waiting for it are the same."""

    def __init__(self, backend: str, needs: str) -> None:
        self.backend = backend
        self.needs = needs

    def open(self) -> Any:
        import anyio.from_thread

        self.run = importlib.import_module(self.needs).run_sync
        return anyio.from_thread.start_blocking_portal(self.backend)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.start_task_soon(self.run, function, *args)

    def gather(self, *calls: tuple[Any, ...], limit: float | None = LIMIT) -> list[Outcome]:
        outcomes = super().gather(*calls, limit=limit)
        return [each._replace(place="when it is submitted") for each in outcomes]

    def block(self, *calls: tuple[Any, ...]) -> None:
        import anyio

        run = importlib.import_module(self.needs).run_sync

        async def main() -> None:
            async with anyio.create_task_group() as group:
                for call in calls:
                    group.start_soon(run, *call)

        anyio.run(main, backend=self.backend)


ENGINES: dict[str, Engine] = {
    "ours": Ours(),
    "ProcessPoolExecutor, fork": Standard("fork"),
    "ProcessPoolExecutor, spawn": Standard("spawn"),
    "multiprocessing.Pool": Pool(),
    "loky": Loky(),
    "joblib": Joblib(),
    "mpire": Mpire(),
    "pebble": Pebble(),
    "trio-parallel": Async("trio", "trio_parallel"),
    "anyio.to_process": Async("asyncio", "anyio.to_process"),
}


# --- probes, each in a process of its own; they tell one cell after the other


def busy_killed(engine: Engine) -> Iterator[str]:
    here = Path.cwd()
    victim, neighbour, gate = here / "victim", here / "neighbour", here / "gate"

    def kill() -> None:
        _, pid = pid_in(neighbour), pid_in(victim)
        os.kill(pid, signal.SIGKILL)
        time.sleep(1)
        gate.touch()

    threading.Thread(target=kill, daemon=True).start()
    for outcome in engine.gather((hold, str(victim)), (hold, str(neighbour), str(gate))):
        yield outcome.word
    (after,) = engine.gather((add, 1))
    yield after.word


def idle_killed(engine: Engine) -> Iterator[str]:
    for _ in range(5):
        (outcome,) = engine.gather((os.getpid,))
        if outcome.error is None:
            os.kill(outcome.value, signal.SIGKILL)
            time.sleep(0.5)  # it is dead, and the engine had time to notice
            bad = [each for each in engine.gather(*[(add, 1)] * 4) if each.error]
            outcome = bad[0] if bad else outcome
        if outcome.error is not None:
            yield outcome.word
            return
    yield "ok"


def outcome_of(*call: Any) -> Callable[[Engine], Iterator[str]]:
    def probe(engine: Engine) -> Iterator[str]:
        yield engine.gather(call)[0].word

    return probe


def unpicklable_argument(engine: Engine) -> Iterator[str]:
    (outcome,) = engine.gather((id, Camera()))
    if outcome.word in {"ok", "hangs"}:
        yield outcome.word
    else:
        named = "named" if "shutter" in str(outcome.error) else "not named"
        yield f"{outcome.word} {outcome.place}, attribute {named}"


def logs(engine: Engine) -> Iterator[str]:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    (outcome,) = engine.gather((log,))
    yield outcome.word if outcome.error else "seen" if records else "not seen"


def context(engine: Engine) -> Iterator[str]:
    engine.gather(*[(add, 1)] * WORKERS)  # lest a worker inherits by a fork what it is not told
    VARIABLE.set("seen")
    (outcome,) = engine.gather((read_variable,))
    yield outcome.word if outcome.error else "seen" if outcome.value == "seen" else "not seen"


def remote_traceback(engine: Engine) -> Iterator[str]:
    (outcome,) = engine.gather((fail,))
    assert outcome.error is not None
    frames = [frame.name for frame in traceback.extract_tb(outcome.error.__traceback__)]
    text = "".join(traceback.format_exception(outcome.error))
    inside = fail_deep_inside.__name__
    yield "frames" if inside in frames else "text" if inside in text else "lost"


def probe(engine: str, name: str, function: Callable[[int], int] = add) -> None:
    """Tell the cells of the probe *name* of *engine*, in this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever our starter did with it
    if name == WORK:
        calls = ((hold, str(Path.cwd() / f"begun-{number}")) for number in range(8))
        ENGINES[engine].block(*calls)
        return
    with ENGINES[engine]:
        for cell in (PROBES[name].function or outcome_of(function, 1))(ENGINES[engine]):
            print(CELL + cell, flush=True)
        os._exit(0)  # how an engine closes is not asked here


# --- what starts the probes, and does to some of them what they cannot do themselves


@contextlib.contextmanager
def started(engine: str, name: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Start a probe in a session and a directory of its own; kill the session at the end."""
    command = [sys.executable, "-c", f"import faults; faults.probe({engine!r}, {name!r})"]
    if name == SCRIPT:
        command = [sys.executable, __file__, "--probe", engine]
    elif name == DASH_C:
        define = "def twice(number):\n    return 2 * number\n"
        command[-1] = f"import faults\n{define}faults.probe({engine!r}, {name!r}, twice)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.resolve())}
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        out, err = (stack.enter_context((place / name).open("wb")) for name in ("out", "err"))
        process = subprocess.Popen(
            command,
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            yield process, place
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            while alive(process.pid):
                time.sleep(0.01)


def told(engine: str, name: str, count: int) -> list[str]:
    """Run a probe and return its cells."""
    with started(engine, name) as (process, place):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(DEADLINE)
        lines = (place / "out").read_text(encoding="utf-8").splitlines()
        cells = [line.removeprefix(CELL) for line in lines if line.startswith(CELL)]
        rest = "hangs" if process.returncode is None else last_words(place)
        return cells + [rest] * (count - len(cells))


def last_words(place: Path) -> str:
    lines = (place / "err").read_text(encoding="utf-8", errors="replace").split("\n")
    errors = [line.partition(":")[0] for line in lines if "Error" in line.partition(":")[0]]
    return f"`{errors[-1].rpartition('.')[2]}`" if errors else "dies"


def pid_in(path: Path) -> int:
    """Wait for the call that tells its pid in the file at *path*."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if path.exists() and (text := path.read_text(encoding="utf-8")):
            return int(text)
        time.sleep(0.02)
    raise TimeoutError(path)


def alive(session: int) -> int:
    """Return how many processes of *session* live."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, its_session = path.read_text().rpartition(")")[2].split()[:4]
            count += state != "Z" and int(its_session) == session
    return count


@contextlib.contextmanager
def working(engine: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a probe that waits for 30-second calls, and let all workers begin one."""
    with started(engine, WORK) as (process, place):
        end = time.monotonic() + LIMIT
        while len(list(place.glob("begun-*"))) < WORKERS:
            if time.monotonic() > end:
                raise TimeoutError(f"{engine} began no calls: {last_words(place)}")
            time.sleep(0.02)
        time.sleep(0.5)  # and everybody waits
        yield process


def parent_killed(engine: str) -> list[str]:
    with working(engine) as process:
        process.kill()
        process.wait()
        time.sleep(2)
        return [f"{alive(process.pid)} alive"]


def interrupted(engine: str) -> list[str]:
    with working(engine) as process:
        begin = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return [f"> {PATIENCE} s"]
        seconds = time.monotonic() - begin
        time.sleep(0.5)
        left = alive(process.pid)
        return [f"{seconds:.1f} s" + (f", {left} alive" if left else "")]


class Probe(NamedTuple):
    """One way to go wrong.

    Attributes:
        titles: The lines of the table that it fills.
        function: Tells the cells, in the process of the probe; `None`: calls a function of
            ``__main__``.
        outside: Tells them from outside instead.
    """

    titles: list[str]
    function: Callable[[Engine], Iterator[str]] | None = None
    outside: Callable[[str], list[str]] | None = None


KILLED = "busy worker killed: "
PROBES = {
    "busy": Probe(
        [f"{KILLED}its call", f"{KILLED}the call beside it", f"{KILLED}the next call"], busy_killed
    ),
    "idle": Probe(["idle worker killed, five times: the next calls"], idle_killed),
    "exception": Probe(["exception that does not unpickle"], outcome_of(raise_two_arguments)),
    "result": Probe(["unpicklable result"], outcome_of(threading.Lock)),
    "argument": Probe(["unpicklable argument"], unpicklable_argument),
    "lambda": Probe(["lambda"], outcome_of(lambda: 1)),
    SCRIPT: Probe(["function of `__main__`, script with a guard"]),
    DASH_C: Probe(["function of `__main__`, `python -c`"]),
    "killed": Probe(["parent killed: processes after 2 s"], outside=parent_killed),
    "interrupt": Probe(["Ctrl-C, 30-second calls: prompt is back"], outside=interrupted),
    "logs": Probe(["log record, by the parent's handlers"], logs),
    "context": Probe(["context variable, by the call"], context),
    "traceback": Probe(["remote traceback"], remote_traceback),
}


def column(engine: str) -> list[str]:
    """Return all cells of *engine*."""
    try:
        importlib.import_module(ENGINES[engine].needs)
    except ImportError:
        return ["not installed"] * sum(len(each.titles) for each in PROBES.values())
    cells = []
    for name, each in PROBES.items():
        found = each.outside(engine) if each.outside else told(engine, name, len(each.titles))
        print(f"... {engine}: {name}: {', '.join(found)}", file=sys.stderr, flush=True)
        cells += found
    return cells


def main(names: list[str]) -> None:
    """Print the table of the engines *names*."""
    print(
        f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} CPUs, "
        f"{time.strftime('%Y-%m-%d')}\n"
    )
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        columns = list(threads.map(column, names))
    titles = [title for each in PROBES.values() for title in each.titles]
    for line in [
        ["fault", *names],
        ["---"] * (len(names) + 1),
        *zip(titles, *columns, strict=True),
    ]:
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--probe"]:
        probe(sys.argv[2], SCRIPT)
    else:
        main(sys.argv[1:] or list(ENGINES))
