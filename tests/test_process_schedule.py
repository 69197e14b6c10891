"""What the schedule of a process pool promises, whatever happens in whatever order."""

import math

import attrs
import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from connectors.pools._process._schedule import Retire, Revoke, Schedule, Send, Start


@attrs.define(eq=False)
class Piece:
    number: int
    runs: int = 0


class Scheduling(RuleBasedStateMachine):
    """Plays the pool: performs steps at once, and lets workers begin, answer, start and die."""

    def __init__(self):
        super().__init__()
        self.schedule = Schedule(3, limit=20)
        self.numbers = 0
        self.open = {}  # every call that was added and has not ended
        self.pipes = {}  # seat -> what was sent there and no worker has begun
        self.running = {}  # seat -> sequence number

    def advance(self):
        for _ in range(10_000):
            step = self.schedule.next()
            match step:
                case None:
                    return
                case Send(seat, calls):
                    assert calls
                    self.pipes[seat] += calls
                case Start():
                    assert len(self.schedule.seats) < self.schedule.size
                    self.pipes[self.schedule.hire()] = []
                case Revoke(seat, count):
                    pipe = self.pipes[seat]
                    taken, self.pipes[seat] = pipe[:count], pipe[count:]
                    self.schedule.revoked(seat, taken)
                case Retire(seat):
                    assert not seat.calls
                    assert not self.pipes.pop(seat)
                    self.schedule.retire(seat)
        raise AssertionError("the schedule finds no rest")

    def ready_seats(self):
        return [seat for seat in self.schedule.seats if seat.ready]

    @precondition(lambda self: not self.schedule.closing)
    @rule(count=st.integers(1, 30))
    def add(self, count):
        for _ in range(count):
            self.numbers += 1
            self.open[self.numbers] = Piece(self.numbers)
            self.schedule.add(self.open[self.numbers])
            self.advance()

    @precondition(lambda self: any(not seat.ready for seat in self.schedule.seats))
    @rule(data=st.data())
    def get_ready(self, data):
        seats = [seat for seat in self.schedule.seats if not seat.ready]
        self.schedule.ready(data.draw(st.sampled_from(seats)))
        self.advance()

    def begin(self):
        """Every worker that is free begins what it was sent, as real ones do."""
        for seat in self.ready_seats():
            if seat not in self.running and self.pipes[seat]:
                sequence = self.pipes[seat].pop(0)
                seat.calls[sequence].runs += 1
                self.running[seat] = sequence

    @rule()
    def work(self):
        self.begin()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), seconds=st.sampled_from([0, 1e-6, 1e-4, 1e-2, 1, 100]))
    def answer(self, data, seconds):
        seat = data.draw(st.sampled_from(list(self.running)))
        call = self.schedule.answered(seat, self.running.pop(seat), seconds)
        del self.open[call.number]
        self.advance()

    @precondition(lambda self: self.schedule.seats)
    @rule(data=st.data(), again=st.booleans())
    def die(self, data, again):
        seat = data.draw(st.sampled_from(self.schedule.seats))
        begun = self.schedule.gone(seat, self.pipes.pop(seat))
        assert len(begun) == (seat in self.running)
        self.running.pop(seat, None)
        for call in begun:
            if again:
                call.runs = 0
                self.schedule.retry(call)
            else:
                del self.open[call.number]
        self.advance()

    @precondition(lambda self: self.schedule.queue)
    @rule(data=st.data())
    def drop(self, data):
        call = data.draw(st.sampled_from(list(self.schedule.queue.values())))
        assert self.schedule.drop(call)
        assert not self.schedule.drop(call)
        del self.open[call.number]
        self.advance()

    @precondition(lambda self: self.schedule.seats)
    @rule(data=st.data())
    def take_everything_back(self, data):
        seat = data.draw(st.sampled_from(self.schedule.seats))
        taken, self.pipes[seat] = self.pipes[seat], []
        self.schedule.revoked(seat, taken)
        self.advance()

    @rule()
    def close(self):
        self.schedule.close()
        self.advance()

    @rule()
    def finish(self):
        """However things are, work alone brings all calls to their end, in bounded time."""
        for _ in range(20 * len(self.open) + 50):
            if not self.open:
                return
            for seat in [seat for seat in self.schedule.seats if not seat.ready]:
                self.schedule.ready(seat)
            self.advance()
            self.begin()
            for seat, sequence in list(self.running.items()):
                del self.running[seat]
                del self.open[self.schedule.answered(seat, sequence, 1e-4).number]
                self.advance()
        assert not self.open

    @invariant()
    def nothing_is_lost_or_doubled(self):
        queued = list(self.schedule.queue)
        sent = [call.number for seat in self.schedule.seats for call in seat.calls.values()]
        assert sorted(queued + sent) == sorted(self.open)

    @invariant()
    def nothing_runs_twice(self):
        assert all(call.runs <= 1 for call in self.open.values())

    @invariant()
    def nobody_idles_while_calls_wait(self):
        if self.schedule.queue:
            assert all(seat.calls for seat in self.schedule.seats)
            assert len(self.schedule.seats) == self.schedule.size

    @invariant()
    def no_call_waits_behind_another_while_a_worker_idles(self):
        if any(not seat.calls for seat in self.ready_seats()):
            assert all(seat.asked or len(seat.calls) <= seat.ready for seat in self.schedule.seats)

    @invariant()
    def no_worker_exceeds_its_limit(self):
        assert all(seat.remaining >= 0 for seat in self.schedule.seats)
        if self.schedule.closing and not self.open:
            assert not self.schedule.seats


TestScheduling = Scheduling.TestCase
TestScheduling.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def filled(seconds, calls=1000, size=1):
    """Return a schedule that learnt that calls take *seconds*, and has *calls* to distribute."""
    schedule = Schedule(size)
    schedule.add(Piece(0))
    assert isinstance(schedule.next(), Start)
    seat = schedule.hire()
    schedule.ready(seat)
    step = schedule.next()
    schedule.answered(seat, next(iter(step.calls)), seconds)
    for number in range(1, calls + 1):
        schedule.add(Piece(number))
    return schedule


def test_many_short_calls_are_sent_ahead():
    """A worker is sent many short calls ahead, and no more than two long ones."""
    assert len(filled(1e-5).next().calls) > 100
    assert 2 == len(filled(1.0).next().calls)


def test_a_small_queue_is_shared():
    """A few calls are spread over the workers."""
    schedule = filled(1e-5, calls=4, size=2)
    assert 2 == len(schedule.next().calls)
    assert isinstance(schedule.next(), Start)
    schedule.hire()
    assert 1 == len(schedule.next().calls)


def test_frozen_schedule_starts_nobody():
    """While workers cannot be started, the schedule asks for none."""
    schedule = Schedule(2)
    schedule.freeze(True)
    schedule.add(Piece(1))
    assert schedule.next() is None
    schedule.freeze(False)
    assert isinstance(schedule.next(), Start)


def test_condemned_worker_gets_nothing():
    """A worker that is being killed is sent nothing more."""
    schedule = filled(1e-3)
    (seat,) = schedule.seats
    schedule.next()
    schedule.condemn(seat)
    assert seat.remaining == -math.inf
    assert schedule.next() is None


def test_leisure_only_while_everybody_is_busy():
    """Nobody looks away from a worker that may soon be idle, and never for long."""
    assert 0 == Schedule(2).leisure()
    schedule = filled(1e-3)
    assert 0 == schedule.leisure()
    schedule.next()
    assert 0 < schedule.leisure() <= 2e-3
    schedule.hire()
    assert 0 == schedule.leisure()
