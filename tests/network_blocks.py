"""Blocks for random networks: their getters call the model's formulas; they fail on demand."""

from __future__ import annotations

import connectors
from network_model import KINDS, formula, keys_of, mix

Laziness = connectors.Laziness


class Injected(Exception):
    """Raised by a method that was told to fail."""


class Base:
    def __init__(self, name):
        self.name = name
        self.failing = frozenset()
        self.log = []
        for at in KINDS[type(self).__name__].inputs:
            setattr(self, f"v_{at}", None)

    def enter(self, method, key=None):
        if method in self.failing:
            raise Injected(self.name, method)
        self.log.append(method if key is None else f"{method} {key}")

    def store(self, at, value):
        self.enter(at)
        setattr(self, f"v_{at}", value)
        return self

    def compute(self, output, key=None):
        self.enter(output, key)
        kind = type(self).__name__
        state = {at: getattr(self, f"v_{at}") for at in KINDS[kind].inputs}
        if KINDS[kind].multi:
            state["items"] = list(self.data.items())
        return formula(kind, output, state, key)


class One(Base):
    @connectors.Input("out")
    def a(self, value):
        return self.store("a", value)

    @connectors.Output()
    def out(self):
        return self.compute("out")


class Two(Base):
    @connectors.Input("out")
    def a(self, value):
        return self.store("a", value)

    @connectors.Input(["out"])
    def b(self, value):
        return self.store("b", value)

    @connectors.Output()
    def out(self):
        return self.compute("out")


class Split(Base):
    @connectors.Input(("out", "other"))
    def a(self, value):
        return self.store("a", value)

    @connectors.Output()
    def out(self):
        return self.compute("out")

    @connectors.Output()
    def other(self):
        return self.compute("other")


class Half(Base):
    @connectors.Input("out")
    def a(self, value):
        return self.store("a", value)

    @connectors.Input(("out", "other"))
    def b(self, value):
        return self.store("b", value)

    @connectors.Output()
    def out(self):
        return self.compute("out")

    @connectors.Output()
    def other(self):
        return self.compute("other")


class Loose(Base):
    """Its multi-input has no replace method."""

    def __init__(self, name):
        super().__init__(name)
        self.data = connectors.MultiInputData()

    @connectors.Input("out")
    def a(self, value):
        return self.store("a", value)

    @connectors.MultiInput("out")
    def items(self, value):
        self.enter("items")
        return self.data.add(value)

    @items.remove
    def items_remove(self, data_id):
        del self.data[data_id]
        return self

    @connectors.Output()
    def out(self):
        return self.compute("out")


class Ordered(Base):
    def __init__(self, name):
        super().__init__(name)
        self.data = connectors.MultiInputData()

    @connectors.Input("out")
    def a(self, value):
        return self.store("a", value)

    @connectors.MultiInput("out")
    def items(self, value):
        self.enter("items")
        return self.data.add(value)

    @items.remove
    def items_remove(self, data_id):
        del self.data[data_id]
        return self

    @items.replace
    def items_replace(self, data_id, value):
        self.enter("items")
        self.data[data_id] = value
        return data_id

    @connectors.Output()
    def out(self):
        return self.compute("out")


class Keyed(Ordered):
    """Its items are found by their keys; their order says nothing."""


class Many(Base):
    @connectors.Input(("out", "part"))
    def a(self, value):
        return self.store("a", value)

    @connectors.Input("part")
    def n(self, value):
        return self.store("n", value)

    @connectors.Output()
    def out(self):
        return self.compute("out")

    @connectors.MultiOutput()
    def part(self, key):
        return self.compute("part", key)

    @part.keys
    def part_keys(self):
        yield from keys_of(self.name, self.v_n)


class Sink(Base):
    @connectors.Input()
    def a(self, value):
        return self.store("a", value)


CLASSES = {
    kind.__name__: kind for kind in (One, Two, Split, Half, Loose, Ordered, Keyed, Many, Sink)
}


class Gate(Base):
    """Single inputs whose conditions say what the attributes `announces` and `notifies` say."""

    def __init__(self, name):
        self.name = name
        self.failing = frozenset()
        self.log = []
        self.values = [None, None]
        self.announces = [True, True]
        self.notifies = [True, True]

    def put(self, at, value):
        self.log.append(f"a{at}")
        values = list(self.values)
        values[at] = value
        self.values = values
        return self

    @connectors.Input("out")
    def a0(self, value):
        return self.put(0, value)

    @a0.announce_condition
    def a0_announces(self):
        return self.announces[0]

    @a0.notify_condition
    def a0_notifies(self, value):
        return self.notifies[0]

    @connectors.Input("out")
    def a1(self, value):
        return self.put(1, value)

    @a1.announce_condition
    def a1_announces(self):
        return self.announces[1]

    @a1.notify_condition
    def a1_notifies(self, value):
        return self.notifies[1]

    @connectors.Output()
    def out(self):
        self.log.append("out")
        return mix(self.name, *self.values)
