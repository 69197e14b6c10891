"""`Engine`: what is to be done next with the tasks of a group. No thread, no loop, no clock.

```text
launched, begun, ended ──▶ Engine ──▶ next(now): Launch, Report, Tell, Withdraw, Force, GiveUp
stop(now, timeout)     ──▶        ──▶ alarm: when to ask again
```

A driver does what `next` answers, tells what came of it, and waits for news or for the alarm.
"""

from __future__ import annotations

import enum

import attrs

from connectors._outcome import Outcome, OutcomeState

from ._policies import ExecutorExceptionPolicies

_LENIENCE = 0.15  # seconds between SIGTERM and SIGKILL, and between that and not waiting any more

FAILURES = frozenset({OutcomeState.failed, OutcomeState.crashed})


class Phase(enum.IntEnum):
    """Where a task is in its life."""

    waiting = 0
    starting = 1
    running = 2
    ended = 3


class Do(enum.Enum):
    """What is to be done with a task."""

    launch = enum.auto()  # start it; tell `begun` or `ended`
    report = enum.auto()  # log its failure
    tell = enum.auto()  # call its stop()
    withdraw = enum.auto()  # cancel it, if it has not begun
    terminate = enum.auto()  # end it from outside, politely; tell `hopeless` if that cannot be
    kill = enum.auto()  # end it from outside
    give_up = enum.auto()  # wait for it no more; tell `ended`


@attrs.frozen
class Action:
    """Do *what* with task *index*."""

    what: Do
    index: int


@attrs.define
class _Slot:
    phase: Phase = Phase.waiting
    outcome: Outcome | None = None
    told: bool = False
    withdrawn: bool = False
    terminated: bool = False
    killed: bool = False
    hopeless: bool = False  # nothing ends it but itself


@attrs.define
class Engine:
    """What is known of the tasks of a group, and what follows from it.

    Attributes:
        count: How many tasks there are.
        policy: What becomes of the others when one fails.
        stop_timeout: The limit of stops that nobody gave one, in seconds.
        begun: It was started.
        stopping: All tasks are to end.
        deadline: When those that still run are ended from outside.
        interruption: The `KeyboardInterrupt` of a body.
    """

    count: int
    policy: ExecutorExceptionPolicies
    stop_timeout: float | None = None
    begun: bool = False
    stopping: bool = False
    deadline: float | None = None
    interruption: BaseException | None = None
    _slots: list[_Slot] = attrs.field(init=False)
    _reports: list[int] = attrs.field(factory=list)
    _asking: list[Action] = attrs.field(factory=list, init=False)
    _breaks: bool = attrs.field(default=False, init=False)  # a failure stops all
    _upcoming: int = attrs.field(default=0, init=False)  # which task is started next
    _number_begun: int = attrs.field(default=0, init=False)  # how many have begun, or failed to
    _number_ended: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._slots = [_Slot() for _ in range(self.count)]

    # --- what is told -------------------------------------------------------------------------

    def launched(self, index: int) -> None:
        """Note that task *index* has begun to run."""
        self._move(self._slots[index], Phase.running)

    def ended(self, index: int, outcome: Outcome, now: float) -> bool:
        """Note how task *index* ended; tell whether that was not known yet."""
        slot = self._slots[index]
        if slot.phase is Phase.ended:
            return False
        slot.outcome = outcome
        self._move(slot, Phase.ended)
        if isinstance(outcome.error, KeyboardInterrupt):
            self.interruption = self.interruption or outcome.error
            self.stop(now, self.stop_timeout)
        elif outcome.state in FAILURES:
            self._reports.append(index)
            self._breaks |= self.policy is not ExecutorExceptionPolicies.log_only
        return True

    def hopeless(self, index: int) -> None:
        """Note that nothing ends task *index* but itself."""
        self._slots[index].hopeless = True

    def stop(self, now: float, timeout: float | None = None) -> None:
        """Let all tasks end: by themselves within *timeout* seconds, and else from outside."""
        self.stopping = True
        if timeout is not None:
            deadline = now + timeout
            self.deadline = deadline if self.deadline is None else min(deadline, self.deadline)
        for slot in self._slots:
            if slot.phase is Phase.waiting:
                slot.outcome = Outcome(OutcomeState.cancelled)
                self._move(slot, Phase.ended)

    def _move(self, slot: _Slot, phase: Phase) -> None:
        before, slot.phase = slot.phase, max(slot.phase, phase)
        self._number_begun += before < Phase.running <= slot.phase
        self._number_ended += before < Phase.ended is slot.phase

    # --- what is answered ---------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether every task has begun, or failed to."""
        return self.begun and self._number_begun == self.count

    @property
    def over(self) -> bool:
        """Whether every task has ended, or nobody waits for it any more."""
        return self.begun and self._number_ended == self.count

    @property
    def quiet(self) -> bool:
        """Whether it is over, and every failure is reported."""
        return self.over and not self._reports

    def phase(self, index: int) -> Phase:
        """Return where task *index* is in its life."""
        return self._slots[index].phase

    def outcome(self, index: int) -> Outcome | None:
        """Return how task *index* ended, if it has."""
        return self._slots[index].outcome

    def was_forced(self, index: int) -> bool:
        """Tell whether task *index* was ended from outside."""
        return self._slots[index].terminated

    def next(self, now: float, *, helping: bool = False) -> Action | None:
        """Return what is to be done now, which counts as done, or `None`.

        Args:
            now: The time.
            helping: The caller is not the driver: it starts and reports nothing.
        """
        if not helping and self._reports:
            return Action(Do.report, self._reports.pop(0))
        if not self.begun:
            return None
        if self._breaks and not self.stopping and self.ready:
            # Not before all have begun: which of them failed must not depend on who was faster.
            self.stop(now, self.stop_timeout)
        if self.stopping:
            return self._end(now)
        if helping or self._upcoming == self.count:
            return None
        index, self._upcoming = self._upcoming, self._upcoming + 1
        self._move(self._slots[index], Phase.starting)
        return Action(Do.launch, index)

    def alarm(self) -> float | None:
        """Return when there is something to do if nothing is told before, or `None`."""
        if self.deadline is None or self.over:
            return None
        moments = [
            self._moment(slot)
            for slot in self._slots
            if slot.phase in (Phase.starting, Phase.running)
        ]
        return min(moments, default=None)

    def failures(self) -> list[BaseException]:
        """Return the errors of the tasks that failed, in the order of the tasks."""
        failed = [
            slot.outcome
            for slot in self._slots
            if slot.outcome is not None and slot.outcome.state in FAILURES
        ]
        # Several may have failed by one error: their executor did not open.
        errors = {id(outcome.error): outcome.error for outcome in failed}
        return [error for error in errors.values() if error is not None]

    def asks(self) -> list[Action]:
        """Return at once, in order, all that asks the tasks to end."""
        found = []
        for index, slot in enumerate(self._slots):
            if slot.phase is Phase.running and not slot.told:
                slot.told = True
                found.append(Action(Do.tell, index))
            elif slot.phase is Phase.starting and not slot.withdrawn:
                slot.withdrawn = True
                found.append(Action(Do.withdraw, index))
        return found

    def _end(self, now: float) -> Action | None:
        if not self._asking:
            self._asking = self.asks()
        if self._asking:
            return self._asking.pop(0)
        if self.deadline is None:
            return None
        for index, slot in enumerate(self._slots):
            live = slot.phase in (Phase.starting, Phase.running)
            if live and (what := self._force(slot, now)) is not None:
                return Action(what, index)
        return None

    def _force(self, slot: _Slot, now: float) -> Do | None:
        if now < self._moment(slot):
            return None
        if not slot.terminated:
            slot.terminated = True
            return Do.terminate
        if not (slot.killed or slot.hopeless):
            slot.killed = True
            return Do.kill
        return Do.give_up

    def _moment(self, slot: _Slot) -> float:
        assert self.deadline is not None
        if slot.hopeless:
            return self.deadline
        return self.deadline + _LENIENCE * (slot.terminated + slot.killed)
