"""The engine of a group alone: no thread, no loop, and a clock that the test holds."""

import hypothesis
import pytest
from hypothesis import strategies as st

from connectors import Outcome
from connectors.tasks import ExecutorExceptionPolicies
from connectors.tasks._engine import Do, Engine, Phase


def engine_of(count, policy="propagate", **options):
    engine = Engine(count, ExecutorExceptionPolicies(policy), **options)
    engine.begun = True
    return engine


def actions(engine, now=0.0):
    found = []
    while (action := engine.next(now)) is not None:
        found.append((action.what, action.index))
        if action.what is Do.give_up:
            engine.ended(action.index, Outcome("abandoned"), now)
    return found


def started(count, policy="propagate", **options):
    engine = engine_of(count, policy, **options)
    actions(engine)
    for index in range(count):
        engine.launched(index)
    return engine


def test_tasks_are_started_in_order():
    """All are launched, in order, and it is ready when each has begun."""
    engine = engine_of(3)
    assert actions(engine) == [(Do.launch, 0), (Do.launch, 1), (Do.launch, 2)]
    for index in (2, 0):
        engine.launched(index)
    assert not engine.ready
    engine.launched(1)
    assert engine.ready
    assert not engine.over


def test_a_failure_stops_the_others():
    """Under propagate a failure is reported, and the others are told."""
    engine = started(3)
    engine.ended(1, Outcome("failed", error=ValueError()), 0.0)
    assert actions(engine) == [(Do.report, 1), (Do.tell, 0), (Do.tell, 2)]


def test_a_failure_waits_for_the_start():
    """What failed during the start stops nobody before all have begun."""
    engine = engine_of(2)
    assert engine.next(0.0).what is Do.launch
    engine.ended(0, Outcome("failed", error=ValueError()), 0.0)
    assert actions(engine) == [(Do.report, 0), (Do.launch, 1)]
    engine.launched(1)
    assert actions(engine) == [(Do.tell, 1)]


def test_log_only_stops_nobody():
    """Under log_only the others go on."""
    engine = started(2, "log_only")
    engine.ended(0, Outcome("failed", error=ValueError()), 0.0)
    assert actions(engine) == [(Do.report, 0)]
    assert not engine.over


def test_the_deadline():
    """At the deadline a task is ended politely, then killed, then not waited for."""
    engine = started(2)
    engine.stop(10.0, 5.0)
    assert actions(engine, 10.0) == [(Do.tell, 0), (Do.tell, 1)]
    assert engine.alarm() == 15.0
    assert actions(engine, 14.9) == []
    assert actions(engine, 15.0) == [(Do.terminate, 0), (Do.terminate, 1)]
    engine.hopeless(1)
    assert actions(engine, 15.0) == [(Do.give_up, 1)]
    assert engine.alarm() == pytest.approx(15.15)
    assert actions(engine, 15.2) == [(Do.kill, 0)]
    assert actions(engine, 15.4) == [(Do.give_up, 0)]
    assert engine.quiet
    assert engine.alarm() is None


def test_the_earlier_deadline_holds():
    """A second stop makes the deadline earlier and never later."""
    engine = started(1)
    engine.stop(0.0, 5.0)
    engine.stop(0.0, 9.0)
    engine.stop(0.0)
    assert engine.deadline == 5.0
    engine.stop(0.0, 1.0)
    assert engine.deadline == 1.0


def test_a_stop_during_the_start():
    """What was not launched never is; what has not begun is withdrawn, and told if it begins."""
    engine = engine_of(3)
    engine.next(0.0)
    engine.next(0.0)
    engine.launched(0)
    engine.stop(0.0)
    assert actions(engine) == [(Do.tell, 0), (Do.withdraw, 1)]
    assert engine.phase(2) is Phase.ended
    engine.launched(1)
    assert actions(engine) == [(Do.tell, 1)]


def test_helpers_start_and_report_nothing():
    """Who helps to stop leaves to the driver what is the driver's."""
    engine = engine_of(2)
    assert engine.next(0.0, helping=True) is None
    engine.next(0.0)
    engine.ended(0, Outcome("failed", error=ValueError()), 0.0)
    assert engine.next(0.0, helping=True) is None


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["next", "launched", "done", "failed", "stop", "wait"]),
        st.integers(0, 4),
    ),
    max_size=60,
)


@hypothesis.given(
    count=st.integers(0, 5),
    policy=st.sampled_from([policy.value for policy in ExecutorExceptionPolicies]),
    events=EVENTS,
)
def test_every_story_ends(count, policy, events):
    """Whatever is told in whichever order: each is launched and told at most once, and all ends."""
    engine, now = engine_of(count, policy), 0.0
    launched, told, reported = [], [], []

    def perform(action):
        match action.what:
            case Do.launch:
                launched.append(action.index)
            case Do.tell:
                told.append(action.index)
            case Do.report:
                reported.append(action.index)
            case Do.give_up:
                engine.ended(action.index, Outcome("abandoned"), now)

    for what, index in events:
        live = index in launched
        if what == "next" and (action := engine.next(now)) is not None:
            perform(action)
        elif what == "launched" and live:
            engine.launched(index)
        elif what == "done" and live:
            engine.ended(index, Outcome("done"), now)
        elif what == "failed" and live:
            engine.ended(index, Outcome("failed", error=ValueError(index)), now)
        elif what == "stop":
            engine.stop(now, 1.0)
        elif what == "wait":
            now += 0.1
    engine.stop(now, 1.0)
    while not engine.quiet:
        while (action := engine.next(now)) is not None:
            perform(action)
        alarm = engine.alarm()
        now = now if alarm is None else max(now, alarm)

    assert launched == sorted(set(launched)) == list(range(len(launched)))
    assert len(told) == len(set(told))
    assert len(reported) == len(set(reported)) == len(engine.failures())
    assert engine.ready
