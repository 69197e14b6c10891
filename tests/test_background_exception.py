"""`BgException`: its text, its cause, its travels, and what it lets go of."""

import pickle
import sys
import textwrap
import threading
import traceback
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

import connectors
from background_watch import Landmark, no_collector, nothing_is_left  # noqa: F401
from connectors import WorkerCrashError
from connectors.background import (
    BgException,
    BgInvoke,
    BgThread,
    Outcome,
    OutcomeState,
    __all__,
    parallelise,
)


class Stubborn(Exception):
    """An exception that cannot travel."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class Awkward(Exception):
    """An exception whose constructor wants more than what it keeps."""

    def __init__(self, one, two):
        super().__init__(f"{one}-{two}")
        self.one = one


class Frozen(Exception):
    """An exception whose attributes cannot be set."""

    def __setattr__(self, name, value):
        raise AttributeError(name)


class Mute(Exception):
    """An exception without a text."""

    def __str__(self):
        raise SystemExit("no text")


def caught(error, message="it failed"):
    try:
        raise error
    except BaseException:
        return BgException(message, sys.exc_info())


def test_all_names_are_there():
    """`__all__` lists the names of the room, and `Outcome` is the one of the root."""
    assert set(__all__) == {
        "BgException", "BgInvoke", "BgProcManager", "BgThread", "Outcome", "OutcomeState",
        "bg_proc_manager", "bg_run_proc", "parallelise",
    }  # fmt: skip
    assert Outcome is connectors.Outcome
    assert OutcomeState is connectors.OutcomeState
    assert connectors.background.BgThread.__module__ == "connectors.background"


def test_text_is_the_message_and_the_traceback_indented_by_two():
    """After the message come braces, and between them what Python prints, indented."""
    try:
        int("seven")
    except ValueError:
        story = traceback.format_exc()
        error = BgException("reading failed", sys.exc_info())

    assert str(error) == "reading failed {\n" + textwrap.indent(story.rstrip(), "  ") + "\n}"


def test_cause_and_outcome_follow_from_the_triple():
    """The original is the cause; the outcome says how it ended."""
    original = KeyError("x")
    error = caught(original)

    assert error.__cause__ is original
    assert error.outcome == Outcome("failed", error=original)
    assert caught(KeyboardInterrupt()).outcome.state is OutcomeState.cancelled
    assert caught(SystemExit(3)).outcome.state is OutcomeState.failed
    crash = caught(WorkerCrashError("f", -9)).outcome
    assert (crash.state, crash.signal, crash.exit_code) == (OutcomeState.crashed, 9, None)


@pytest.mark.parametrize("triple", [None, (), (1, 2, 3), (ValueError, "x", None), ValueError("x")])
def test_what_is_no_triple_is_refused(triple):
    """Anything but a triple of `sys.exc_info` is a TypeError that says so."""
    with pytest.raises(TypeError, match="sys.exc_info"):
        BgException("x", triple)


def test_no_exception_at_all():
    """The triple of a place where nothing is handled is one too."""
    error = BgException("x", (None, None, None))

    assert error.__cause__ is None
    assert "NoneType: None" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_an_exception_without_a_text_is_told_of():
    """Whatever its `str` raises, the failure arrives."""
    assert "in caught" in str(caught(Mute()))
    assert isinstance(caught(Frozen("x")).__cause__, Frozen)


def test_br4_pickle_round_trip():
    """BR4: text, outcome and cause are there after a round trip, and again after another."""
    error = caught(ValueError("seven"))
    error.add_note("a note")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error, protocol)), protocol))
        assert type(again) is BgException
        assert str(again) == str(error)
        assert again.__notes__ == ["a note"]
        assert (type(again.__cause__), again.__cause__.args) == (ValueError, ("seven",))
        assert again.outcome.state is OutcomeState.failed
        assert isinstance(again.outcome.error, ValueError)
        assert [f.name for f in traceback.extract_tb(again.__cause__.__traceback__)] == ["caught"]


@pytest.mark.parametrize("original", [Stubborn("no"), Awkward("no", "way"), Mute()])
def test_br4_pickle_where_the_original_cannot_travel(original):
    """BR4: text and outcome always survive; a cause only where the original can travel."""
    error = caught(original)
    again = pickle.loads(pickle.dumps(error))

    assert str(again) == str(error)
    assert again.outcome.state is OutcomeState.failed
    assert again.outcome.error is not None
    assert again.__cause__ is None or type(again.__cause__) is type(original)
    if isinstance(original, Stubborn):
        assert again.__cause__ is None


@given(
    state=st.sampled_from(OutcomeState), number=st.integers(), code=st.none() | st.integers(0, 255)
)
def test_br4_any_outcome_survives(state, number, code):
    """BR4: whatever the outcome says, it says after the journey."""
    outcome = Outcome(state, number, exit_code=code)
    error = BgException("x", (None, None, None), outcome=outcome)

    assert pickle.loads(pickle.dumps(error)).outcome == outcome


def test_br4_a_group_survives():
    """BR4: several originals travel together."""
    error = caught(ExceptionGroup("two", [ValueError(1), KeyError(2)]))
    again = pickle.loads(pickle.dumps(error))

    assert [type(e) for e in again.__cause__.exceptions] == [ValueError, KeyError]


def fails_with(leads):
    def fail(*_):
        local = Landmark()
        leads.append(weakref.ref(local))
        try:
            raise ValueError("inner")
        except ValueError as inner:
            raise RuntimeError("outer") from inner

    return fail


def via_invoke(fail):
    invoke = BgInvoke(fail)
    invoke.thread.join()
    return invoke.result


def via_thread(fail):
    with BgThread(fail) as thread:
        thread.invoke()
        return thread.result


def via_jobs(fail):
    return parallelise(fail, 3, num_threads=2)


def via_door(fail):
    with connectors.executor("threading", threads=2) as executor:
        return parallelise(fail, 3, num_threads=2, executor=executor)


def via_inline(fail):
    return parallelise(fail, 3, executor="sequential")


WAYS = [via_invoke, via_thread, via_jobs, via_door, via_inline]


@pytest.mark.parametrize("way", WAYS)
def test_br4_the_locals_of_the_failed_job_are_not_kept_alive(way):
    """BR4: not even while the error is held, and without the collector's help."""
    leads = []
    with no_collector():
        with pytest.raises(BgException) as info:
            way(fails_with(leads))
        assert leads
        assert [lead() for lead in leads] == [None] * len(leads)
        assert isinstance(info.value.__cause__, (RuntimeError, ExceptionGroup))
        assert "outer" in str(info.value)
        assert "inner" in str(info.value)


@pytest.mark.parametrize("way", WAYS)
def test_br3_every_base_exception_is_captured_and_chained(way):
    """BR3: SystemExit in a call gives a BgException with that cause."""

    def leave(*_):
        raise SystemExit(7)

    with pytest.raises(BgException) as info:
        way(leave)
    cause = info.value.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    assert isinstance(cause, SystemExit)
    assert cause.code == 7
    assert info.value.outcome.state is OutcomeState.failed


def test_arguments_of_jobs_are_not_kept_alive_either():
    """What a job was given goes when its error was caught, though the error is held."""
    given = Landmark()
    lead = weakref.ref(given)
    with no_collector():
        with pytest.raises(BgException) as info:
            parallelise(lambda i, thing: 1 / i, 1, given)
        del given
        assert lead() is None
        assert info.value.outcome.id == 0
