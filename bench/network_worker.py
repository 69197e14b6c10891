"""Measures networks in a process of its own, with whatever library is called ``connectors`` there.

It uses only what the older library has as well, so that two interpreters can run it in turns.
"""

import gc
import itertools
import time

import connectors
from connectors import Parallelization

counter = itertools.count()
clock = time.perf_counter


class Block:
    """One input and one output, with all defaults."""

    def __init__(self):
        self.value = None

    @connectors.Input("get")
    def set(self, value):
        self.value = value
        return self

    @connectors.Output()
    def get(self):
        return self.value


class Uncached(Block):
    @connectors.Output(caching=False)
    def get(self):
        return self.value


class Threaded(Block):
    @connectors.Input("get", parallelization=Parallelization.THREAD)
    def set(self, value):
        self.value = value
        return self

    @connectors.Output(parallelization=Parallelization.THREAD)
    def get(self):
        return self.value


class Away(Block):
    @connectors.Output(parallelization=Parallelization.PROCESS)
    def get(self):
        return self.value


class Join:
    def __init__(self):
        self.left = self.right = None

    @connectors.Input("get")
    def set_left(self, value):
        self.left = value
        return self

    @connectors.Input("get")
    def set_right(self, value):
        self.right = value
        return self

    @connectors.Output()
    def get(self):
        return self.left


class Collector:
    def __init__(self):
        self.data = connectors.MultiInputData()

    @connectors.MultiInput("get")
    def add(self, value):
        return self.data.add(value)

    @add.remove
    def remove(self, data_id):
        del self.data[data_id]
        return self

    @add.replace
    def replace(self, data_id, value):
        self.data[data_id] = value
        return data_id

    @connectors.Output()
    def get(self):
        return len(self.data)


class Last:
    """A multi-input that keeps only the last value, so that it does not grow."""

    def __init__(self):
        self.value = None

    @connectors.MultiInput("get")
    def add(self, value):
        self.value = value
        return 0

    @add.remove
    def remove(self, data_id):
        return self

    @connectors.Output()
    def get(self):
        return self.value


def repeated(function, units=1):
    """Return a measure of the seconds per unit of *function*, called as often as fits."""

    def measure(budget):
        begin = clock()
        function()
        calls = max(1, min(1_000_000, int(budget / max(clock() - begin, 1e-7))))
        begin = clock()
        for _ in itertools.repeat(None, calls):
            function()
        return (clock() - begin) / calls / units

    return measure


def connected(blocks):
    for upstream, downstream in itertools.pairwise(blocks):
        upstream.get.connect(downstream.set)
    return blocks


def set_and_read(first, last):
    def run():
        value = next(counter)
        first.set(value)
        if last.get() != value:
            raise AssertionError("the value did not arrive")

    return run


def chain(size, cls=Block, pools=None, units=None):
    blocks = connected([cls() for _ in range(size)])
    if pools is not None:
        blocks[-1].get.set_executor(connectors.executor(**pools))
    measure = repeated(set_and_read(blocks[0], blocks[-1]), units or size)
    return lambda budget: blocks and measure(budget)  # which keeps the blocks


def single(caching, pools):
    block = (Block if caching else Uncached)().set(1)
    block.get.set_executor(connectors.executor(**pools))
    get = block.get
    measure = repeated(get)
    return lambda budget: block and measure(budget)


def diamonds(size):
    first = last = Block()
    kept = [first]
    for _ in range(size):
        left, right, join = Block(), Block(), Join()
        last.get.connect(left.set)
        last.get.connect(right.set)
        left.get.connect(join.set_left)
        right.get.connect(join.set_right)
        kept += [left, right, join]
        last = join
    last.get.set_executor(connectors.executor(threads=0))
    first.set(0)
    last.get()

    def measure(budget):
        times = []
        end = clock() + budget
        while not times or clock() < end:
            begin = clock()
            first.set(next(counter))
            times.append(clock() - begin)
            last.get()
        return sorted(times)[len(times) // 2]

    return lambda budget: kept and measure(budget)


def fan(size, pools):
    first, last = Block(), Collector()
    blocks = [Block() for _ in range(size)]
    for block in blocks:
        first.get.connect(block.set)
        block.get.connect(last.add)
    if pools is not None:
        last.get.set_executor(connectors.executor(**pools))

    def run():
        first.set(next(counter))
        if last.get() != size:
            raise AssertionError("values are missing")

    measure = repeated(run, size)
    return lambda budget: blocks and measure(budget)


def multi_input(real):
    block = Last()
    if real:
        block.add.set_laziness(connectors.Laziness.ON_REQUEST)
    add = block.add
    measure = repeated(lambda: add(1))
    return lambda budget: block and measure(budget)


def connecting(size):
    def measure(budget):
        blocks = [Block() for _ in range(size)]
        begin = clock()
        connected(blocks)
        return clock() - begin

    return measure


def first_read(size, pools):
    """Measure the first set and read of a new chain, for which everything is pending."""

    def measure(budget):
        blocks = connected([Block() for _ in range(size)])
        blocks[-1].get.set_executor(connectors.executor(**pools))
        gc.collect()
        run = set_and_read(blocks[0], blocks[-1])
        begin = clock()
        run()
        return clock() - begin

    return measure


SEQUENTIAL = {"threads": 0}
THREADS = {"threads": 2}
PROCESSES = {"threads": 0, "processes": 2}
BOTH = {"threads": 2, "processes": 2}

MEASURES = {
    "cached": lambda size: single(True, SEQUENTIAL),
    "uncached": lambda size: single(False, SEQUENTIAL),
    "chain, sequential": lambda size: chain(size, Block, SEQUENTIAL),
    "chain, threads": lambda size: chain(size, Block, THREADS),
    "chain, all threads": lambda size: chain(size, Threaded, THREADS),
    "pair, sequential": lambda size: chain(2, Block, SEQUENTIAL, 1),
    "pair, threads": lambda size: chain(2, Block, THREADS, 1),
    "pair, processes": lambda size: chain(2, Away, PROCESSES, 1),
    "pair, threads and processes": lambda size: chain(2, Away, BOTH, 1),
    "diamonds": diamonds,
    "fan, default": lambda size: fan(size, None),
    "fan, threads": lambda size: fan(size, {"threads": 4}),
    "fan, sequential": lambda size: fan(size, SEQUENTIAL),
    "multi-input": lambda size: multi_input(True),
    "multi-input, proxy": lambda size: multi_input(False),
    "connecting": connecting,
    "first read": lambda size: first_read(size, SEQUENTIAL),
    "long chain": lambda size: chain(size, Block, SEQUENTIAL, 1),
    "long chain, threads": lambda size: chain(size, Block, THREADS, 1),
}
