"""`explain`, which says in words what a read or a set would do, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import attrs

from connectors import settings
from connectors._calls import Call, Decision, is_async
from connectors._errors import BlockGoneError, ConnectorsError, listing
from connectors._executor import Executor
from connectors._factory import executor as make_executor

from . import _executors
from ._connectors import MultiInputItem, MultiOutputItem
from ._executors import Choice
from ._macros import MacroInputConnector, MacroOutputConnector
from ._nodes import NOTHING, PLAIN, WHOLE, MultiOutputSource, MultiSink, Sink, Source
from ._plan import Plan, Planned
from ._proxies import (
    ConnectorProxy,
    MultiInputAssociateProxy,
    MultiOutputProxy,
    OutputProxy,
)
from ._survey import CellFacts, SinkFacts, SourceFacts, Survey, exports_of, shown

_MOST = 20  # lines of a list that are shown
_WHERE = {
    "SEQUENTIAL": "in the calling thread",
    "THREAD": "in a thread",
    "PROCESS": "in a worker process",
}


@attrs.frozen
class Step:
    """A method that would run.

    Attributes:
        label: Its block, as `graph` names it, and the method: ``Camera 2.frame``.
        reason: Why it would run.
        certain: It would run for sure. Otherwise that depends on a condition, or on whether one of
            the steps before is a change.
        under_way: Another read is at it already, and would be waited for.
        running: It runs at this moment.
        level: SEQUENTIAL, THREAD or PROCESS; nothing where that is not known.
        awaited: It is an ``async def``, which is awaited in the executor's loop.
        decision: How the executor finds the level, or `None` where it has no say.
    """

    label: str
    reason: str
    certain: bool = True
    under_way: bool = False
    running: bool = False
    level: str = ""
    awaited: bool = False
    decision: Decision | None = None

    @property
    def fallback(self) -> str:
        """Why it would run nearer than it may, or nothing."""
        rejected = {} if self.decision is None else self.decision.rejected
        return "; ".join(f"not as {level}: {why}" for level, why in rejected.items())

    def __str__(self) -> str:
        where = "in the executor's loop" if self.awaited else _WHERE.get(self.level, "")
        words = " ".join(word for word in (self.label, where) if word)
        if not self.certain:
            words += ", perhaps"
        fallback = f" ({self.fallback})" if self.fallback else ""
        return f"{words}: {self.reason}{fallback}"


@attrs.frozen
class Explanation:
    """What a read of an output would do, or a set of an input.

    All labels name blocks as the picture of the network does, see `graph`. The text of a long
    explanation is cut; its attributes are complete.

    Attributes:
        subject: The connector.
        kind: ``read`` or ``set``.
        summary: The answer in one sentence.
        valid: A read returns a result that is there.
        executor: The executor that would run the steps, or nothing if none is needed.
        announced: The inputs of this block that announced a change; of an input, the outputs.
        steps: The methods that would run, in this order as far as one needs another.
        also: The inputs that are updated by the way, because they take each value at once.
        waiting: The values that were delivered and would be set.
        held: The changes that announce conditions hold back.
        running: The methods that run at this moment and would be waited for.
        announces: The connectors to which a set would announce a change.
        lazy: Those of them that would be brought up to date at once.
        conditions: The announce conditions that decide how far an announcement goes.
        obstacles: Why it would fail, as far as that is known before.
        parts: Explanations of all inputs of a macro that stands for several.
    """

    subject: str
    kind: Literal["read", "set"]
    summary: str
    valid: bool = False
    executor: str = ""
    announced: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    also: tuple[Step, ...] = ()
    waiting: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    announces: tuple[str, ...] = ()
    lazy: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    parts: tuple[Explanation, ...] = ()

    def __str__(self) -> str:
        if self.parts:
            return "\n".join([f"{self.subject}: {self.summary}", *map(str, self.parts)])
        lines = [f"{self.subject}: {self.summary}"]
        lists: list[tuple[str, Sequence[object]]] = [
            ("it would fail", self.obstacles),
            ("announced a change", self.announced),
            ("would run, in this order", self.steps),
            ("would be updated by the way", self.also),
            ("values that wait", self.waiting),
            ("held back", self.held),
            ("run already", self.running),
            ("would hear of the change", self.announces),
            ("would be brought up to date at once", self.lazy),
            ("decide how far the announcement goes", self.conditions),
        ]
        for title, items in lists:
            lines += _paragraph(title, items)
        return "\n".join(lines)


def _paragraph(title: str, items: Sequence[object]) -> Iterator[str]:
    if items:
        yield f"  {title}:"
        yield from (f"    {item}" for item in items[:_MOST])
        if len(items) > _MOST:
            yield f"    ... and {len(items) - _MOST} more"


def explain(connector: Any) -> Explanation:
    """Return what a call of *connector* would do, and why.

    Of an output it says whether its result is valid, or else which inputs announced a change, what
    would run upstream, in which order and where, and what is waited for. Of an input it says what a
    set would announce to, and which inputs would be brought up to date at once.

    Nothing is computed or set, no pool is opened and nothing in the network is changed. No method
    of a block is called, so where a condition decides, the explanation says that it does. Code of
    the user is run where there is no other way to know: a macro is asked what it exports, a key how
    it is shown, and a block that would go to another process is pickled, to see whether it can be.

    Args:
        connector: An output or an input of a block, one key of it, or a macro.

    Raises:
        TypeError: *connector* is no connector.

    Example:
        >>> import connectors
        >>> one, other = connectors.blocks.PassThrough(1), connectors.blocks.PassThrough()
        >>> _ = one.output.connect(other.input)
        >>> print(connectors.network.explain(other.output))
        PassThrough 2.output: a read would run 3 methods on 'threading'
          announced a change:
            PassThrough 2.input
          would run, in this order:
            PassThrough 1.output in the calling thread: it was not computed yet
            PassThrough 2.input in the calling thread: PassThrough 1.output announced a change
            PassThrough 2.output in the calling thread: PassThrough 2.input announced a change
    """
    if isinstance(connector, (MacroInputConnector, MacroOutputConnector)):
        return _of_macro(connector)
    key, end = NOTHING, ""
    subject = connector
    if isinstance(connector, (MultiInputItem, MultiOutputItem)):
        key, end = connector._key, f"[{shown(connector._key)}]"
        connector = connector._multi
    try:
        if isinstance(connector, OutputProxy):
            return _of_output_proxy(connector, key, end)
        if isinstance(connector, Source):
            return _of_source(connector, key, end)
        if isinstance(connector, (ConnectorProxy, MultiInputAssociateProxy, Sink)):
            return _of_input(connector, key, end)
    except BlockGoneError as error:
        kind: Literal["read", "set"] = "read" if isinstance(connector, Source) else "set"
        label = connector.label() + end
        return Explanation(label, kind, f"a {kind} would fail", obstacles=(_told(error),))
    raise TypeError(
        f"an instance of {type(subject).__qualname__} is no connector; "
        "explain takes an output or an input of a block"
    )


def _of_macro(macro: MacroInputConnector | MacroOutputConnector) -> Explanation:
    reads = isinstance(macro, MacroOutputConnector)
    subject = f"{type(macro._home()).__name__}.{vars(macro)['__name__']}"
    parts = tuple(explain(exported) for exported in exports_of(macro))
    if len(parts) == 1:
        (part,) = parts
        return attrs.evolve(part, subject=f"{subject}, which is {part.subject}")
    return Explanation(
        subject,
        "read" if reads else "set",
        f"it stands for {listing(part.subject for part in parts)}",
        parts=parts,
    )


# Outputs


def _of_output_proxy(proxy: OutputProxy, key: Any, end: str) -> Explanation:
    block, method = proxy._instance, proxy._method
    name = Survey([block]).home_of(block).name
    whole = isinstance(proxy, MultiOutputProxy) and key is NOTHING
    label = f"{name}.{method.__name__}{'[...]' if whole else end}"
    if proxy._decorator.existing(block) is None:
        why = "it was neither connected nor configured yet"
    else:
        why = "this proxy was kept from before it was connected or configured"
    awaited = is_async(method)
    level = "" if awaited else "SEQUENTIAL"
    return Explanation(
        label,
        "read",
        f"a call runs the plain method, and nothing is kept: {why}",
        steps=(Step(label, "it is called", level=level, awaited=awaited),),
    )


def _of_source(source: Source, key: Any, end: str) -> Explanation:
    block = source.block()
    survey = Survey([block])
    facts = survey.sources.get(id(source))
    if facts is None:  # it was taken out of its block
        raise BlockGoneError(source._owner, source._method.__name__)
    if isinstance(source, MultiOutputSource):
        key = WHOLE if key is NOTHING else key
        end = end or "[...]"
    else:
        key = PLAIN
    cell = _cell_of(source, facts, key)
    plan = Plan(survey)
    direct = facts.direct and not isinstance(source, MultiOutputSource)
    if not direct:
        plan.read(facts, cell, key)
    valid = facts.valid(cell)
    told = _Told(source._executor, plan)  # type: ignore[attr-defined]
    return Explanation(
        plan.label(source, end=end),
        "read",
        _read_summary(plan, told, valid=valid),
        valid=valid,
        executor=told.name if plan.steps or plan.also else "",
        announced=tuple(plan.label(sink) for sink in facts.announcers),
        **told.fields(),
    )


def _cell_of(source: Source, facts: SourceFacts, key: Any) -> CellFacts | None:
    found = next(source.cells(), None)
    if key is not PLAIN and key is not WHOLE:
        assert isinstance(source, MultiOutputSource)
        found = source._keyed.get(key)
    return next((cell for cell in facts.cells if cell.cell is found), None)


def _read_summary(plan: Plan, told: _Told, *, valid: bool) -> str:
    if told.obstacles:
        return "a read would fail"
    if valid and not plan.held:
        also = ", and updates what waits for it" if plan.also else ""
        return f"the result is valid: a read returns it{also}"
    if valid:
        return (
            "the result is valid: a read asks what is held back, and returns it if nothing goes on"
        )
    if plan.steps and plan.steps[-1].work.busy:
        return "it is being computed: a read waits for that and returns the same"
    certain = all(step.certain for step in plan.steps)
    count = len(plan.steps)
    methods = "1 method" if count == 1 else f"{count} methods"
    return f"a read would run {'' if certain else 'up to '}{methods} on '{told.name}'"


# Inputs


@attrs.frozen(eq=False)
class _Setting:
    """A direct call of an input.

    Attributes:
        block: The block.
        label: The name of what is called.
        methods: What runs, one after the other.
        sink: The real connector whose pending values matter, or `None`.
        pulls: They are set first, otherwise discarded; `None` if they stay.
        observers: The real connectors of the outputs that are influenced.
        condition: Decides whether the change is passed on, or `None`.
        choice: The executor.
    """

    block: Any
    label: str
    methods: Sequence[Callable[..., Any]]
    sink: Sink | None
    pulls: bool | None
    observers: Sequence[Source]
    condition: Callable[..., Any] | None
    choice: Choice


def _setting(connector: Any, key: Any, end: str) -> _Setting:
    if isinstance(connector, MultiInputAssociateProxy):
        decorator: Any = connector._multi
        block = connector._MultiInputAssociateProxy__instance  # type: ignore[attr-defined]
        real = decorator.existing(block)
        return _Setting(
            block,
            connector._method.__name__,
            [connector._method],
            real,
            None,
            decorator.real_observers(block),
            decorator.notifies,
            connector._executor if real is None else real._executor,
        )
    if isinstance(connector, Sink):
        return _setting_of_sink(connector, key, f"{connector._method.__name__}{end}")
    decorator, block = connector._decorator, connector._instance
    observers, methods = decorator.real_observers(block), [connector._method]
    if key is not NOTHING:
        observers = []
        methods = _storing(connector._method, decorator._replaces, decorator._removes)
    label = f"{connector._method.__name__}{end}"
    return _Setting(
        block, label, methods, None, None, observers, decorator.notifies, decorator.executor
    )


def _setting_of_sink(sink: Any, key: Any, label: str) -> _Setting:
    pulls: bool | None = isinstance(sink, MultiSink)
    methods = [sink._method]
    if key is not NOTHING:
        methods, pulls = _storing(sink._method, sink._replace, sink._remove), None
    return _Setting(
        sink.block(),
        label,
        methods,
        sink,
        pulls,
        sink._observers,
        sink._notify_condition,
        sink._executor,
    )


def _storing(add: Any, replace: Any, remove: Any) -> list[Any]:
    if replace is not None:
        return [replace]
    return [add] if remove is None else [remove, add]


def _of_input(connector: Any, key: Any, end: str) -> Explanation:
    setting = _setting(connector, key, end)
    survey = Survey([setting.block])
    home = survey.home_of(setting.block)
    plan = Plan(survey)
    sink = None if setting.sink is None else survey.sinks.get(id(setting.sink))
    pending = _pending(plan, sink)
    observers = [survey.sources[id(one)] for one in setting.observers if id(one) in survey.sources]
    heard, lazy, asked = plan.announce(observers, certain=setting.condition is None)
    if sink is not None and setting.pulls:
        plan.update([sink])
    pulled = len(plan.steps)
    if sink is not None and setting.pulls is not None:
        _discard(sink, survey)
    if lazy:
        plan.update(lazy)
    told = _Told(setting.choice, plan, executor_needed=bool(plan.steps or plan.also))
    own = [
        Step(
            f"{home.name}.{method.__name__}",
            "it is called",
            level="" if is_async(method) else "SEQUENTIAL",
            awaited=is_async(method),
        )
        for method in setting.methods
    ]
    fields = told.fields()
    after = fields["steps"][pulled:]
    if setting.condition is not None:  # if it says no, the announcement is taken back
        after = [attrs.evolve(step, certain=False) for step in after]
        fields["also"] = tuple(attrs.evolve(step, certain=False) for step in fields["also"])
    fields["steps"] = (*fields["steps"][:pulled], *own, *after)
    fields["waiting"] = pending["waiting"]
    fields["held"] = (*pending["held"], *fields["held"])
    return Explanation(
        f"{home.name}.{setting.label}",
        "set",
        _set_summary(setting, heard, lazy, told, pulled=pulled > 0),
        executor=told.name,
        announced=pending["announced"],
        announces=tuple(plan.label(node) for node in heard),
        lazy=tuple(plan.label(facts.node) for facts in lazy),
        conditions=_conditions(plan, setting, home.name, asked),
        **fields,
    )


def _pending(plan: Plan, sink: SinkFacts | None) -> dict[str, tuple[str, ...]]:
    inlets = [] if sink is None else list(sink.inlets.values())
    labels = [(inlet, plan.source_label(inlet)) for inlet in inlets if inlet.pending]
    return {
        "announced": tuple(label for inlet, label in labels if inlet.announced),
        "waiting": tuple(f"a value of {label}" for inlet, label in labels if inlet.waits),
        "held": tuple(f"a change of {label}" for inlet, label in labels if inlet.held),
    }


def _discard(sink: SinkFacts, survey: Survey) -> None:
    """Note that nothing is pending at *sink* any more."""
    for inlet in sink.active:
        inlet.announced = inlet.waits = False
    sink.active.clear()
    for observer in sink.node._observers:
        facts = survey.sources.get(id(observer))
        if facts is not None and sink.node in facts.announcers:
            facts.announcers.remove(sink.node)


def _conditions(
    plan: Plan, setting: _Setting, name: str, asked: Iterable[SinkFacts]
) -> tuple[str, ...]:
    own = [] if setting.condition is None else [f"{name}.{setting.condition.__name__}"]
    found = [*own]
    for facts in asked:
        condition = facts.node._announce_condition
        assert condition is not None
        found.append(plan.label(facts.node, condition.__name__))
    return tuple(dict.fromkeys(found))


def _set_summary(
    setting: _Setting, heard: Sequence[object], lazy: Sequence[object], told: _Told, *, pulled: bool
) -> str:
    if told.obstacles:
        return "a set would fail"
    if not heard:
        return "a set runs the method, and announces to nothing" + (
            "" if setting.sink is not None else ": nothing that it influences is connected"
        )
    count = "1 connector" if len(heard) == 1 else f"{len(heard)} connectors"
    words = f"a set runs the method and announces to {count}"
    if pulled:
        words = f"a set first takes what is pending, then {words.removeprefix('a set ')}"
    if not lazy:
        return f"{words}; nothing is computed before it is read"
    inputs = "1 of them" if len(lazy) == 1 else f"{len(lazy)} of them"
    return f"{words}; {inputs} would be brought up to date at once, on '{told.name}'"


# Where a method would run


class _Told:
    """What of a plan is told: its steps, and where each would run.

    Args:
        choice: The executor of the connector that is asked.
        plan: The plan.
        executor_needed: There is something to be run.

    Attributes:
        name: The name of the executor.
        obstacles: Why it would fail.
    """

    def __init__(self, choice: Choice, plan: Plan, *, executor_needed: bool = True) -> None:
        self.name = ""
        self.obstacles = [f"the block of {label} does not exist any more" for label in plan.gone]
        self._plan = plan
        self._executor: Executor | None = None
        if executor_needed:
            self._find(choice)
        self._steps = tuple(self._step(planned) for planned in plan.steps)
        self._also = tuple(self._step(planned) for planned in plan.also)
        self.obstacles = list(dict.fromkeys(self.obstacles))

    def fields(self) -> dict[str, Any]:
        """Return the attributes of an `Explanation`."""
        plan = self._plan
        return {
            "steps": self._steps,
            "also": self._also,
            "waiting": tuple(plan.waiting),
            "held": tuple(self._held()),
            "running": tuple(step.label for step in (*self._steps, *self._also) if step.running),
            "obstacles": tuple(self.obstacles),
        }

    def _held(self) -> Iterator[str]:
        for facts in self._plan.held.values():
            label = self._plan.label(facts.node)
            for inlet in facts.inlets.values():
                if inlet.held:
                    source = self._plan.source_label(inlet)
                    yield f"{label}: a change of {source}, until its announce condition is true"

    def _find(self, choice: Choice) -> None:
        try:
            self.name, self._executor = _unopened(choice)
        except ConnectorsError as error:
            self.name = str(choice)
            self.obstacles.append(_told(error))

    def _step(self, planned: Planned) -> Step:
        busy, runs = planned.work.busy, planned.work.runs
        step = Step(planned.label, planned.reason, planned.certain, busy, runs)
        block = planned.node._block()
        if busy or self._executor is None or block is None:
            return step
        call = Call(
            planned.method,
            planned.args,
            {},
            block,
            planned.node._parallelization,
            planned.label,
            writes=planned.writes,
        )
        try:
            decision = self._executor.explain(call)
        except ConnectorsError as error:  # it is closed
            self.obstacles.append(_told(error))
            return step
        if decision.rejected and self._executor.strict:
            self.obstacles.append(f"'{self.name}' is strict, and {planned.label} would fall back")
        return attrs.evolve(
            step, level=decision.chosen, awaited=is_async(planned.method), decision=decision
        )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _unopened(choice: Choice) -> tuple[str, Executor | None]:
    """Return the name of the executor that *choice* stands for, and the executor.

    One that is not made yet is made for the explanation only, and opens nothing. `None` stands for
    one that cannot be told before it opens: the first of several.
    """
    if isinstance(choice, Executor):
        return choice.name, choice
    known = _executors._shared.get(choice)
    if known is None or known.closed:
        wanted = settings.executor_setting().value if choice is None else choice
        for _ in range(100):  # profiles that lead to profiles; a loop is found when it is made
            profile = settings.profile(wanted) if isinstance(wanted, str) else None
            if profile is None or profile.executor == wanted:
                break
            wanted = profile.executor
        if not isinstance(wanted, str):
            return f"the first that opens of {listing(wanted)}", None
        known = make_executor() if choice is None else make_executor(choice)
    return known.name, known
