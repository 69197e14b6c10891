"""Events and `observe`."""

import logging
import threading

import attrs
import pytest

import connectors
from connectors import Parallelization, events
from jobs import add, divide


@pytest.fixture
def threads():
    with connectors.executor("threading", threads=2) as executor:
        yield executor


def names(observed):
    return [type(event).__name__ for event in observed]


def test_a_call_is_followed_from_submission_to_end(threads):
    """An observer hears that a call was submitted, began and ended, with one number."""
    with connectors.observe() as observed:
        threads.submit(add, 1).result()
        calls = [event for event in observed if isinstance(event, events.CallEvent)]

    assert names(calls) == ["CallSubmitted", "CallStarted", "CallFinished"]
    assert len({event.call for event in calls}) == 1
    assert {(event.executor, event.label, event.level) for event in calls} == {
        ("threading", "add", Parallelization.THREAD)
    }


def test_a_failure_is_told(threads):
    """An observer hears with which exception a call failed."""
    with connectors.observe() as observed:
        threads.submit(divide, 1, 0).exception()

    assert [event.error for event in observed.of(events.CallFailed)] == [
        "ZeroDivisionError: division by zero"
    ]


def test_a_retry_is_told(threads):
    """An observer hears of each further run, with what the run before it died of."""
    with connectors.observe() as observed:
        threads.options(retries=2).submit(divide, 1, 0).exception()

    assert [event.attempt for event in observed.of(events.CallRetried)] == [2, 3]
    assert [event.attempt for event in observed.of(events.CallStarted)] == [1, 2, 3]
    assert len(list(observed.of(events.CallFailed))) == 1


def test_a_fallback_is_told(threads):
    """An observer hears what was wished for, what it became and why."""
    with connectors.observe() as observed:
        threads.options(wish=Parallelization.PROCESS).submit(add, 1).result()

    (event,) = observed.of(events.CallFellBack)
    assert (event.wish, event.level) == (Parallelization.PROCESS, Parallelization.THREAD)
    assert "no pool for PROCESS" in event.reason


def test_opening_and_closing_are_told_once():
    """An executor tells that it opened when it is first used, and that it closed once."""
    with connectors.observe() as observed:
        with connectors.executor("threading") as executor:
            executor.submit(add, 1).result()
            executor.submit(add, 1).result()
        executor.close()
        connectors.executor("threading").close()

    lifecycle = [event for event in observed if not isinstance(event, events.CallEvent)]
    assert names(lifecycle) == ["ExecutorOpened", "ExecutorClosed"]


def test_an_observation_ends(threads):
    """What happens after an observation is closed is not in it."""
    with connectors.observe() as observed:
        pass
    threads.submit(add, 1).result()
    observed.close()

    assert not observed
    assert not events.observed()


def test_a_callback_hears_at_once(threads):
    """A callback is called in the thread in which something happened."""
    heard = {}
    observation = connectors.observe(
        lambda event: heard.setdefault(type(event), threading.current_thread())
    )
    try:
        threads.submit(add, 1).result()
    finally:
        observation.close()

    assert heard[events.CallSubmitted] is threading.main_thread()
    assert heard[events.CallStarted] is not threading.main_thread()


def test_an_observer_that_raises_is_removed(threads, caplog):
    """A broken observer is logged, harms no call, and is not asked again."""
    heard = []

    def broken(event):
        heard.append(event)
        raise RuntimeError("broken")

    with caplog.at_level(logging.ERROR, "connectors"):
        observation = connectors.observe(broken)
        assert threads.submit(add, 1).result() == 2
    observation.close()

    assert len(heard) == 1
    assert "broken" in caplog.text


def test_events_are_frozen():
    """Nobody can change what another observer sees."""
    event = events.ExecutorOpened(executor="x")

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.executor = "y"
