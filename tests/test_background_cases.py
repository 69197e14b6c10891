"""What takes the whole room: every state of an outcome, and the heartbeat of a worker process."""

import multiprocessing
import os
import signal
import threading

import pytest

from background_watch import LONG, comes, nothing_is_left  # noqa: F401
from connectors.background import (
    BgException,
    BgInvoke,
    BgThread,
    Outcome,
    OutcomeState,
    parallelise,
)


def kill_itself(index):
    os.kill(os.getpid(), signal.SIGKILL)


def test_b13_every_state_is_reached():
    """B-13: each state of an outcome, with what belongs to it and nothing else."""
    reached = []

    def see(outcome, state, **parts):
        assert isinstance(outcome, Outcome)
        assert outcome.state is OutcomeState(state)
        names = ("value", "error", "exit_code", "signal")
        found = {name: getattr(outcome, name) for name in names}
        assert {name: part for name, part in found.items() if part is not None} == parts
        reached.append(state)

    begun, go = threading.Event(), threading.Event()

    def wait(value):
        begun.set()
        go.wait(LONG)
        return value

    bg = BgThread(wait)
    first, second, invoke = bg.invoke(1), bg.invoke(2), BgInvoke(wait, 3)
    assert begun.wait(LONG)
    see(second.outcome, "pending")
    see(first.outcome, "running")
    assert comes(lambda: invoke.outcome.state == "running")
    with pytest.raises(TimeoutError):
        bg.close(cancel=True, timeout=0)
    see(second.outcome, "cancelled")
    see(first.outcome, "abandoned", error=first.exception())
    assert isinstance(first.exception(), TimeoutError)
    go.set()
    invoke.thread.join(LONG)
    see(invoke.outcome, "done", value=3)
    failing = BgInvoke(int, "three")
    failing.thread.join(LONG)
    with pytest.raises(BgException) as failed:
        failing.result
    see(failed.value.outcome, "failed", error=failed.value.__cause__)
    see(failing.outcome, "failed", error=failed.value.__cause__)
    with pytest.raises(BgException) as crashed:
        parallelise(kill_itself, 1, executor="multiprocessing")
    see(
        crashed.value.outcome,
        "crashed",
        error=crashed.value.__cause__,
        signal=int(signal.SIGKILL),
    )
    assert set(reached) == set(OutcomeState)


def work(pipe, steps):
    """What the worker process does: it runs the user's code, and tells that it is alive."""
    heard = threading.Event()

    def user_code(step):
        assert heard.wait(LONG)
        return 10 // (2 - step)

    with BgThread(user_code) as bg:
        for step in range(steps):
            bg.invoke(step)
            while bg.is_running():
                pipe.send(("beat", step))
                if pipe.poll(0.01):
                    pipe.recv()
                    heard.set()
            heard.clear()
            try:
                pipe.send(("result", bg.result))
            except BgException as error:
                pipe.send(("failure", error))
                raise SystemExit(3) from error


def monitor(pipe):
    """What the parent does in the background: it hears the worker until that is gone."""
    beats, told = {}, []
    try:
        while True:
            kind, value = pipe.recv()
            if kind != "beat":
                told.append((kind, value))
                continue
            beats[value] = beats.get(value, 0) + 1
            if beats[value] == 3:
                pipe.send("three beats were heard")
    except (EOFError, ConnectionError):
        return beats, told


@pytest.mark.parametrize(("steps", "code"), [(2, 0), (5, 3)])
def test_journey_13_a_heartbeat_and_its_monitor(steps, code):
    """The monitor hears beats while the user's code runs; a `BgException` ends the worker."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=work, args=(theirs, steps))
    worker.start()
    theirs.close()
    try:
        watch = BgInvoke(monitor, ours)
        watch.thread.join(2 * LONG)
        beats, told = watch.result
        worker.join(LONG)
        assert worker.exitcode == code
    finally:
        worker.kill()
        worker.join()
        worker.close()
        ours.close()
    assert told[:2] == [("result", 5), ("result", 10)]
    assert set(beats) == set(range(min(steps, 3)))
    assert min(beats.values()) >= 3
    if not code:
        assert len(told) == 2
        return
    ((kind, error),) = told[2:]
    assert kind == "failure"
    assert isinstance(error, BgException)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert error.outcome.state is OutcomeState.failed


def test_journey_13_a_worker_that_is_killed_ends_its_monitor():
    """What was told before is not lost, and the monitor does not wait for more."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=work, args=(theirs, 1))
    worker.start()
    theirs.close()
    alive = threading.Event()

    def watch_it():
        beats = 0
        try:
            while ours.recv():
                beats += 1
                alive.set()
        except EOFError:
            return beats

    try:
        watch = BgInvoke(watch_it)
        assert alive.wait(LONG)
        assert watch.is_running()
        worker.kill()
        watch.thread.join(LONG)
        assert watch.result > 0
    finally:
        worker.kill()
        worker.join()
        worker.close()
        ours.close()
