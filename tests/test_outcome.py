"""`Outcome`: states, what `result` gives, and how errors are told apart."""

import asyncio
import concurrent.futures
import pickle

import attrs
import pytest
import trio

import connectors
from connectors import Outcome, OutcomeState, WorkerCrashError


def trio_cancelled():
    """Return what trio raises where it cancels."""
    caught = []

    async def main():
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep_forever()
            except trio.Cancelled as error:
                caught.append(error)
                raise

    trio.run(main)
    return caught[0]


def test_done_gives_its_value():
    """`result` gives what was returned, and a state may be given as its string."""
    assert Outcome("done", id=3, value="x").result() == "x"
    assert Outcome("done").state is OutcomeState.done
    assert f"{OutcomeState.done}" == "done" == OutcomeState.done


def test_failed_raises_its_error_every_time():
    """`result` raises the very exception."""
    error = SystemExit(3)
    outcome = Outcome.of_error(error, "a")
    for _ in range(2):
        with pytest.raises(SystemExit) as info:
            outcome.result()
        assert info.value is error
    assert (outcome.state, outcome.id) == ("failed", "a")


@pytest.mark.parametrize(
    ("exitcode", "exit_code", "signal"), [(-9, None, 9), (3, 3, None), (None, None, None)]
)
def test_crashed(exitcode, exit_code, signal):
    """A worker that died leaves its exit code or its signal, and never both."""
    outcome = Outcome.of_error(WorkerCrashError("f", exitcode))
    assert (outcome.state, outcome.exit_code, outcome.signal) == ("crashed", exit_code, signal)
    with pytest.raises(WorkerCrashError):
        outcome.result()


def test_crashed_without_an_error():
    """A process that was seen to die raises as if a call had died with it."""
    with pytest.raises(WorkerCrashError, match="'a' was killed by SIGKILL"):
        Outcome("crashed", id="a", signal=9).result()
    with pytest.raises(WorkerCrashError, match="exited with code 3"):
        Outcome("crashed", exit_code=3).result()


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        concurrent.futures.CancelledError(),
        KeyboardInterrupt(),
        trio_cancelled(),
    ],
    ids=["asyncio", "futures", "interrupt", "trio"],
)
def test_cancelled(error):
    """Cancelled, in whichever world, raises what futures raise."""
    outcome = Outcome.of_error(error)
    assert outcome.state is OutcomeState.cancelled
    with pytest.raises(concurrent.futures.CancelledError) as info:
        outcome.result()
    assert info.value.__cause__ is error


@pytest.mark.parametrize(
    ("state", "raised"),
    [
        ("abandoned", TimeoutError),
        ("pending", concurrent.futures.InvalidStateError),
        ("running", concurrent.futures.InvalidStateError),
    ],
)
def test_without_an_end(state, raised):
    """What has not ended has no result."""
    with pytest.raises(raised):
        Outcome(state, id=1).result()


def test_frozen_and_travels():
    """An outcome cannot be changed, and equals its copy from another process."""
    outcome = Outcome("done", id=1, value=[2])
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        outcome.value = 3
    assert pickle.loads(pickle.dumps(outcome)) == outcome
    assert connectors.Outcome is Outcome
    with pytest.raises(ValueError, match="strange"):
        Outcome("strange")
