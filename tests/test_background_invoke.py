"""`BgInvoke`: one call on a thread of its own."""

import contextvars
import threading

import pytest

import connectors
from background_watch import LONG, nothing_is_left  # noqa: F401
from connectors.background import BgException, BgInvoke, Outcome, OutcomeState

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def test_b1_count():
    """B-1: poll to the end, and the result is the count, as often as it is read."""
    go, begun = threading.Event(), threading.Event()

    def count(n):
        begun.set()
        go.wait(LONG)
        return sum(1 for _ in range(n))

    invoke = BgInvoke(count, 1000)
    assert invoke.is_running()
    assert invoke.thread.daemon
    assert invoke.thread.is_alive()
    with pytest.raises(ValueError, match=r"runs; wait with thread.join\(\)"):
        invoke.result
    assert begun.wait(LONG)
    assert invoke.outcome.state is OutcomeState.running
    go.set()
    while invoke.is_running():
        pass
    assert [invoke.result for _ in range(3)] == [1000] * 3
    invoke.thread.join(LONG)
    assert not invoke.thread.is_alive()
    assert invoke.outcome == Outcome("done", value=1000)


def test_joining_the_thread_waits_for_the_end_of_the_call():
    """Whoever has joined the thread finds the result."""
    for _ in range(50):
        invoke = BgInvoke(lambda: 5)
        invoke.thread.join(LONG)
        assert not invoke.is_running()
        assert invoke.result == 5


def test_b2_failing_target():
    """B-2: the text has the original type, message and traceback; each reading raises anew."""

    def fails_deep_within():
        raise LookupError("nobody is here")

    invoke = BgInvoke(fails_deep_within)
    invoke.thread.join(LONG)
    found = []
    for _ in range(3):
        with pytest.raises(BgException) as info:
            invoke.result
        found.append(info.value)
    assert len({id(error) for error in found}) == 3
    assert found[0].__cause__ is found[2].__cause__
    for part in ("LookupError", "nobody is here", "in fails_deep_within", "Traceback"):
        assert part in str(found[0])
    assert found[0].outcome.state is OutcomeState.failed
    assert invoke.outcome.error is found[0].__cause__


@pytest.mark.parametrize("error", [SystemExit(4), KeyboardInterrupt(), GeneratorExit()])
def test_br3_base_exceptions(error):
    """BR3: whatever a call raises, it is that call's failure, and is reported."""

    def leave():
        raise error

    invoke = BgInvoke(leave)
    invoke.thread.join(LONG)
    with pytest.raises(BgException) as info:
        invoke.result
    assert info.value.__cause__ is error


def test_br5_every_keyword_reaches_the_target():
    """BR5: also those that have the names of our own parameters."""
    names = ["target", "g", "self", "func", "fn", "function", "args", "kwargs", "call", "name"]
    given = dict.fromkeys(names, 1)
    invoke = BgInvoke(lambda **kwargs: kwargs, **given)
    invoke.thread.join(LONG)

    assert invoke.result == given


def test_64_calls_that_meet_all_pass():
    """However many calls there are, all are started at once."""
    barrier = threading.Barrier(64)
    invokes = [BgInvoke(barrier.wait, LONG) for _ in range(64)]
    for invoke in invokes:
        invoke.thread.join(LONG)

    assert sorted(invoke.result for invoke in invokes) == list(range(64))
    assert len({invoke.thread for invoke in invokes}) == 64


def test_br20_the_context_of_the_caller():
    """BR20: the call sees the caller's context variables, and changes only its own."""
    token = VARIABLE.set("mine")
    invoke = BgInvoke(lambda: (VARIABLE.get(), VARIABLE.set("changed")))
    invoke.thread.join(LONG)

    assert invoke.result[0] == VARIABLE.get() == "mine"
    VARIABLE.reset(token)


@pytest.mark.parametrize("target", [None, 3, "print"])
def test_what_cannot_be_called_is_refused(target):
    """A TypeError at once, in the thread of the caller."""
    with pytest.raises(TypeError, match="BgInvoke: .* cannot be called"):
        BgInvoke(target)


def test_an_async_def_is_refused():
    """A coroutine that nobody awaits would be no result; the message has the cure."""

    async def nap():
        """Do nothing."""

    with pytest.raises(TypeError, match=r"nap is an async def.*asyncio\.run"):
        BgInvoke(nap)


def test_arguments_go_with_the_call():
    """A BgInvoke that is kept holds no arguments of its call."""
    import weakref

    from background_watch import Landmark, no_collector

    with no_collector():
        given = Landmark()
        lead = weakref.ref(given)
        invoke = BgInvoke(lambda thing: None, given)
        del given
        invoke.thread.join(LONG)
        assert lead() is None


def test_a_call_passes_the_one_door():
    """Observers hear of a call in the background as of any other."""
    with connectors.observe() as events:
        invoke = BgInvoke(divmod, 7, 2)
        invoke.thread.join(LONG)
    assert {"CallSubmitted", "CallStarted", "CallFinished"} <= {type(e).__name__ for e in events}
    assert invoke.result == (3, 1)
    assert "divmod" in repr(invoke)
