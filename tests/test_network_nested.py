"""Reads within reads: a method that itself reads the network never waits for its own caller."""

from __future__ import annotations

import threading

import pytest

import connectors
from connectors import Parallelization

SEQUENTIAL, THREAD, _ = Parallelization


class Leaf:
    def __init__(self, value):
        self.value = value

    @connectors.Output(parallelization=SEQUENTIAL)
    def get(self):
        return self.value

    @connectors.Output(parallelization=THREAD)
    def thread_get(self):
        return self.value


class Asks:
    """Its getters read what they are not connected to."""

    def __init__(self, ask):
        self.ask = ask

    @connectors.Output(parallelization=SEQUENTIAL)
    def get(self):
        return self.ask()

    @connectors.Output(parallelization=THREAD)
    def thread_get(self):
        return self.ask()


class Pair:
    def __init__(self):
        self.data = connectors.MultiInputData()

    @connectors.MultiInput("get")
    def add(self, value):
        return self.data.add(value)

    @add.remove
    def remove(self, data_id):
        del self.data[data_id]

    @connectors.Output(parallelization=SEQUENTIAL)
    def get(self):
        return tuple(self.data.values())


@pytest.mark.parametrize("output", ["get", "thread_get"])
@pytest.mark.parametrize("asked_first", [False, True])
def test_a_getter_reads_what_its_own_reader_has_still_to_compute(output, asked_first):
    """What is needed and not begun is done by the thread that needs it: one thread is enough."""
    leaf, pair = Leaf(5), Pair()
    asks = Asks(lambda: getattr(leaf, output)() + 1)
    ends = [getattr(asks, output), getattr(leaf, output)]
    for end in ends[::-1] if asked_first else ends:
        end.connect(pair.add)
    with connectors.executor(threads=1) as executor:
        for connector in (pair.get, getattr(leaf, output), getattr(asks, output)):
            connector.set_executor(executor)
        assert sorted(pair.get()) == [5, 6]


@pytest.mark.parametrize("own_first", [False, True])
def test_two_readers_that_need_what_the_other_has_still_to_compute(own_first):
    """Each of two threads is inside a method that reads what the other thread's read holds."""
    first_leaf, second_leaf = Leaf(1), Leaf(2)
    inside = threading.Barrier(2, timeout=10)

    def ask(leaf):
        def read():
            inside.wait()  # both reads have begun, and neither has computed its leaf
            return leaf.get()

        return read

    pairs = []
    for own, other in ((first_leaf, second_leaf), (second_leaf, first_leaf)):
        pair, asks = Pair(), Asks(ask(other))
        for block in (own, asks) if own_first else (asks, own):
            block.get.connect(pair.add)
        pairs.append((pair, asks))
    results = [None, None]

    def read(index):
        with connectors.executor(threads=0) as executor:
            pairs[index][0].get.set_executor(executor)
            results[index] = set(pairs[index][0].get())

    threads = [threading.Thread(target=read, args=(index,), daemon=True) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [{1, 2}, {1, 2}]
