"""Random networks against a model that recomputes everything."""

import logging
import os
import time
from collections import Counter

import hypothesis
import hypothesis.strategies as st
import pytest

import connectors
from network_blocks import Gate
from network_model import Gated
from network_player import OPERATIONS, Executors, Player, play

MINUTES = float(os.environ.get("CONNECTORS_FUZZ_MINUTES", "0"))
NUMBER = st.integers(0, 10_000)
PROGRAMS = st.builds(
    lambda blocks, rest: [*(("new", kind, 0, 0) for kind in blocks), *rest],
    st.lists(st.integers(0, 8), min_size=3, max_size=10),
    st.lists(
        st.tuples(st.sampled_from(OPERATIONS), NUMBER, NUMBER, NUMBER), min_size=20, max_size=80
    ),
)
QUICK = hypothesis.settings(
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=150,
    print_blob=False,
    suppress_health_check=list(hypothesis.HealthCheck),
)
LONG = hypothesis.settings(QUICK, derandomize=False, max_examples=400)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # a finding is shrunk before it is shown
]


@pytest.fixture(autouse=True)
def unlogged():
    """Failures that are logged are not kept by pytest, and with them the blocks that failed."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def executors():
    with Executors(
        lambda: [
            connectors.executor(threads=0),
            connectors.executor(threads=1),
            connectors.executor("threading", threads=2),
            "sequential",
            "threading",
        ]
    ) as executors:
        yield executors


@pytest.fixture(scope="module")
def process_executors():
    with Executors(
        lambda: [
            connectors.executor(threads=0, processes=1),
            connectors.executor(threads=2, processes=2),
            connectors.executor(threads=0),
        ]
    ) as executors:
        yield executors


def test_random_networks(executors):
    """Any network gives the model's values, with no more runs than changes, hang or garbage."""

    @QUICK
    @hypothesis.given(PROGRAMS, NUMBER)
    def run(program, ending):
        play(program, ending, executors)

    run()


@pytest.mark.slow
def test_random_networks_in_processes(process_executors):
    """Getters that run in worker processes give the same values."""

    @hypothesis.settings(QUICK, max_examples=60)
    @hypothesis.given(PROGRAMS, NUMBER)
    def run(program, ending):
        far = [("processes", number, number, 0) for number in range(3)]
        play([*program[:20], *far, *program[20:]], ending, process_executors, counting=False)

    run()


STEPS = ["set", "read", "read", "connect", "announces", "notifies"]


@st.composite
def gated_programs(draw):
    steps = st.tuples(st.sampled_from(STEPS), NUMBER, NUMBER)
    return draw(st.lists(steps, min_size=15, max_size=60))


class Gates:
    """A few blocks with conditions, real and as the model has them."""

    def __init__(self, executors, number):
        self.model = Gated()
        self.real = {}
        self.script = []
        for i in range(5):
            name = f"g{i}"
            self.real[name] = Gate(name)
            self.real[name].out.set_caching(True)
            executor = executors.list[number % len(executors.list)]
            self.real[name].out.set_executor(executor)
            self.model.add(name, 2)
            self.script.append(f"{name} = Gate({name!r}); {name}.out.set_caching(True)")

    def step(self, operation, i, j):
        name, at = f"g{i % 5}", j % 2
        block, gate, real = (
            self.model.blocks[name],
            self.model.blocks[name].inputs[at],
            self.real[name],
        )
        if operation == "set" and gate.source is None:
            self.script.append(f"{name}.a{at}({j})")
            self.model.set(block, at, j)
            getattr(real, f"a{at}")(j)
        elif operation == "read":
            self.script.append(f"{name}.out()")
            before = {n: Counter(b.log) for n, b in self.real.items()}
            runs = {n: b.runs for n, b in self.model.blocks.items()}
            expected, found = self.model.read(block), real.out()
            assert found == expected, f"gave {found}, not {expected}"
            for n, b in self.real.items():
                most = self.model.blocks[n].runs - runs[n]
                ran = b.log.count("out") - before[n]["out"]
                assert ran <= most, f"{n}.out ran {ran} times, not {most}"
        elif operation == "connect" and gate.source is None:
            source = f"g{j // 2 % 5}"
            if source < name:
                self.script.append(f"{name}.a{at}.connect({source}.out)")
                self.model.connect(self.model.blocks[source], block, at)
                getattr(real, f"a{at}").connect(self.real[source].out)
        elif operation == "announces" and not gate.announced and not gate.pending:
            gate.announce = not gate.announce
            real.announces = [one.announce for one in block.inputs]
            self.script.append(f"{name}.announces = {real.announces}")
        elif operation == "notifies":
            gate.notify = not gate.notify
            real.notifies = [one.notify for one in block.inputs]
            self.script.append(f"{name}.notifies = {real.notifies}")

    def play(self, program):
        try:
            for step in program:
                self.step(*step)
        except Exception as error:
            raise AssertionError(
                "\n".join([*self.script, f"{type(error).__name__}: {error}"])
            ) from (error)


def test_random_conditions(executors):
    """Announce and notify conditions hold back and cancel what the specification says they do."""

    @hypothesis.settings(QUICK, max_examples=200)
    @hypothesis.given(gated_programs(), NUMBER)
    def run(program, number):
        Gates(executors, number).play(program)

    run()


@pytest.mark.skipif(not MINUTES, reason="CONNECTORS_FUZZ_MINUTES is not set")
@pytest.mark.timeout(0)
def test_random_networks_for_minutes(executors, process_executors, capsys):
    """As long as CONNECTORS_FUZZ_MINUTES says, no network has a finding."""
    end, cases, seed = time.monotonic() + MINUTES * 60, Counter(), time.time_ns()

    @hypothesis.settings(LONG)
    @hypothesis.given(PROGRAMS, NUMBER)
    def plain(program, ending):
        if time.monotonic() < end:
            play(program, ending, executors)
            cases["networks"] += 1

    @hypothesis.settings(LONG, max_examples=20)
    @hypothesis.given(PROGRAMS, NUMBER)
    def far(program, ending):
        if time.monotonic() < end:
            processes = [("processes", number, number, 0) for number in range(3)]
            program = [*program[:20], *processes, *program[20:]]
            play(program, ending, process_executors, counting=False)
            cases["networks in processes"] += 1

    @hypothesis.settings(LONG, max_examples=400)
    @hypothesis.given(gated_programs(), NUMBER)
    def gated(program, number):
        if time.monotonic() < end:
            Gates(executors, number).play(program)
            cases["networks with conditions"] += 1

    while time.monotonic() < end:
        seed += 1
        for test in (plain, far, gated):
            hypothesis.seed(seed)(test)()
    with capsys.disabled():
        print(f"\n{MINUTES:g} minutes of random networks without a finding: {dict(cases)}")


def test_a_program_can_be_told(executors):
    """The script of a program says in Python what was done."""
    player = Player(executors.list)
    for operation in [("new", 0, 0, 0), ("new", 1, 0, 0), ("connect", 0, 1, 0), ("read", 0, 0, 0)]:
        getattr(player, operation[0])(*operation[1:])
    assert player.script[:3] == ["b0 = One('b0')", "b1 = Two('b1')", "b0.out.connect(b1.a)"]
