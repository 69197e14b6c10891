"""Eight threads read and set one network; afterwards, when all is quiet, every read is right."""

import random
import threading

import pytest

import connectors
from network_player import stacks

THREADS, ROUNDS, SETTERS = 8, 150, 4
Parallelization = connectors.Parallelization


def merged(parts):
    """Return the oldest and the newest number that the parts have of each source."""
    found = {}
    for part in parts:
        for name, (low, high) in (part or {}).items():
            old_low, old_high = found.get(name, (low, high))
            found[name] = (min(low, old_low), max(high, old_high))
    return found


class Source:
    """Counts: what it gives tells how often it was set."""

    def __init__(self, name):
        self.name = name
        self.number = 0

    @connectors.Input("out")
    def set(self, number):
        self.number = number

    @connectors.Output()
    def out(self):
        return {self.name: (self.number, self.number)}


class Pair:
    def __init__(self):
        self.one = self.two = None

    @connectors.Input("out")
    def a(self, value):
        self.one = value

    @connectors.Input("out", parallelization=Parallelization.THREAD)
    def b(self, value):
        self.two = value

    @connectors.Output()
    def out(self):
        return merged([self.one, self.two])


class Many:
    def __init__(self):
        self.data = connectors.MultiInputData()

    @connectors.MultiInput("out")
    def add(self, value):
        return self.data.add(value)

    @add.remove
    def remove(self, data_id):
        del self.data[data_id]

    @add.replace
    def replace(self, data_id, value):
        self.data[data_id] = value
        return data_id

    @connectors.Output(parallelization=Parallelization.SEQUENTIAL)
    def out(self):
        return merged(list(self.data.values()))


def network():
    """Return four sources and eight blocks, with diamonds and multi-inputs."""
    sources = [Source(f"s{i}") for i in range(SETTERS)]
    left, right, both, top = (Pair() for _ in range(4))
    wide, wider, last = Many(), Many(), Many()
    uncached = Pair()
    left.a.connect(sources[0].out).b.connect(sources[1].out)
    right.a.connect(sources[1].out).b.connect(sources[2].out)
    both.a.connect(left.out).b.connect(right.out)
    for block in (left, right, sources[3]):
        wide.add.connect(block.out)
    for block in (*sources, both):
        wider.add.connect(block.out)
    top.a.connect(wide.out).b.connect(both.out)
    uncached.a.connect(wider.out).b.connect(sources[3].out)
    uncached.out.set_caching(False)
    for block in (top, uncached, wide, sources[0]):
        last.add.connect(block.out)
    right.b.set_laziness(connectors.Laziness.ON_NOTIFY)
    reaches = {
        left: {0, 1},
        right: {1, 2},
        both: {0, 1, 2},
        wide: {0, 1, 2, 3},
        wider: {0, 1, 2, 3},
        top: {0, 1, 2, 3},
        uncached: {0, 1, 2, 3},
        last: {0, 1, 2, 3},
    }
    return sources, reaches


class Actor(threading.Thread):
    """Sets its own source, if it has one, and reads what it may read."""

    def __init__(self, number, barrier, sources, reaches, mine, told):
        super().__init__(daemon=True)
        self.number, self.barrier = number, barrier
        self.sources, self.reaches, self.mine = sources, reaches, mine
        self.begun, self.ended = told
        self.error = None

    def run(self):
        dice = random.Random(self.number)
        try:
            self.barrier.wait(30)
            for step in range(1, ROUNDS + 1):
                if self.number < SETTERS:
                    self.begun[self.number] = step
                    self.sources[self.number].set(step)
                    self.ended[self.number] = step
                block = dice.choice(self.mine)
                oldest = list(self.ended)
                found = block.out()
                newest = list(self.begun)
                for i in self.reaches[block]:
                    low, high = found[f"s{i}"]
                    assert oldest[i] <= low <= high <= newest[i], (
                        f"{type(block).__name__} gave {low}..{high} of s{i}: "
                        f"set were {oldest[i]} before and {newest[i]} after"
                    )
        except BaseException as error:
            self.error = error


@pytest.mark.parametrize("lazy", [1, 3], ids=["on request", "on announce"])
@pytest.mark.parametrize("own", [False, True], ids=["one executor", "one executor each"])
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_eight_threads(threads, own, lazy):
    """Reads are never older than what was set before they began, and nothing hangs or is lost."""
    sources, reaches = network()
    blocks = list(reaches)
    blocks[-1].add.set_laziness(connectors.Laziness(lazy))
    executors = [connectors.executor(threads=threads) for _ in range(THREADS if own else 1)]
    for i, block in enumerate(blocks):
        block.out.set_executor(executors[i % len(executors)])
    for i, source in enumerate(sources):
        source.set.set_executor(executors[i % len(executors)])
    barrier = threading.Barrier(THREADS)
    told = [0] * SETTERS, [0] * SETTERS
    actors = [
        Actor(i, barrier, sources, reaches, [blocks[i]] if own else blocks, told)
        for i in range(THREADS)
    ]
    for actor in actors:
        actor.start()
    for actor in actors:
        actor.join(60)
        assert not actor.is_alive(), f"a thread hangs:\n{stacks()}"

    for actor in actors:
        if actor.error is not None:
            raise actor.error
    for block, reached in reaches.items():
        assert block.out() == {f"s{i}": (ROUNDS, ROUNDS) for i in reached}
    for executor in executors:
        executor.close()


pytestmark = pytest.mark.slow
