"""Blocks for `test_network_shipping`, in a module that workers can import."""

import functools
import os

import connectors
from connectors import Input, Output

PROCESS = connectors.Parallelization.PROCESS


class Bag:
    """Holds anything; its getter calls a function with it, in another process."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    @Output(parallelization=PROCESS)
    def get(self, function=None):
        return os.getpid() if function is None else function(self)

    @Input("get")
    def change(self, function):
        function(self)

    @Input()
    def change_unobserved(self, function):
        function(self)


class Copied(Bag):
    """Copies itself by hand, with all that is in its `__dict__`."""

    def __copy__(self):
        other = type(self)()
        other.__dict__.update(
            {name: value for name, value in self.__dict__.items() if name not in {"get", "change"}}
        )
        return other


class Slotted(Bag):
    """Keeps some of its state in slots."""

    __slots__ = ("first", "second")


class Point:
    """Is as simple as an object can be."""

    def __init__(self, x):
        self.x = x


class Meddling:
    """Calls a function of its process when it is pickled."""

    function = None

    def __init__(self):
        self.unseen = set()

    def __reduce__(self):
        if type(self).function is not None:
            type(self).function()
        return Meddling, ()


def spoil(block):
    """Change in place all that can be changed; return what it was."""
    found = (
        int(block.array[0]),
        block.buffer[0],
        list(block.numbers),
        block.point.x,
        block.constant[0],
    )
    block.array[:] = 99
    block.buffer[0] = 99
    block.numbers.append(99)
    block.point.x = 99
    block.number = 99
    return found


def shared(block):
    """Tell which attributes are, or refer to, the same objects."""
    return (
        block.a is block.b,
        block.inside[0] is block.a,
        block.partial.args[0] is block.a,
        block.text is block.inside[1],
    )


def family(block):
    """Tell whether a child leads back to the block."""
    return block.child.x is block, len(block.child.x.data)


def item(block, name, index=0):
    """Return one item of an attribute."""
    return int(getattr(block, name)[index])


first_of = {name: functools.partial(item, name=name) for name in ("array", "other", "numbers")}


def descriptors(_=None):
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))
