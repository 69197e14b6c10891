"""Plays a random program on a real network and on its model, and compares the two."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import itertools
import pickle
import sys
import threading
import time
import traceback
import weakref
from collections import Counter

import trio

import connectors
from network_blocks import CLASSES, Injected
from network_model import (
    KINDS,
    ON_ANNOUNCE,
    ON_CONNECT,
    ON_NOTIFY,
    ON_REQUEST,
    WHOLE,
    Entry,
    Network,
    keys_of,
)

MOST_BLOCKS = 12
PATIENCE = 2.0  # seconds until a block must be free


class Hang(AssertionError):
    """A step did not end."""


class Player:
    """Each operation is a method that takes three numbers, which choose among what is possible.

    What is not possible is passed over, so every program can be played and shrunk. `script` tells
    in Python what was done.
    """

    def __init__(self, executors, *, counting=True):
        self.executors = executors
        self.counting = counting  # methods that run in worker processes leave no trace here
        self.model = Network()
        self.held = {}
        self.references = {}
        self.script = []
        self.numbers = itertools.count(1)
        self.names = itertools.count()
        self.knot = False  # whether blocks hold each other in a circle, though no value goes round

    # tools

    def tell(self, line):
        self.script.append(line)

    def pick(self, candidates, number):
        candidates = list(candidates)
        return candidates[number % len(candidates)] if candidates else None

    def block(self, name):
        """Return a block, also one that only its upstream holds."""
        block = self.held.get(name) or self.references[name]()
        assert block is not None, f"{name} is gone although its upstream lives"
        return block

    def kind(self, name):
        return KINDS[self.model.blocks[name].kind]

    def held_inputs(self):
        return [at for at in self.model.inputs() if at[0] in self.held]

    def held_outputs(self):
        return [output for output in self.model.outputs() if output[0] in self.held]

    def connections(self):
        """Return (source, block, input, key) of all connections between held blocks."""
        found = []
        for name, block in self.model.blocks.items():
            for at, single in block.singles.items():
                found += [(source, name, at, None) for source in single.connected]
            found += [(e.source, name, "items", e.key) for e in block.entries if e.source]
        return [one for one in found if one[0][0] in self.held and one[1] in self.held]

    def real_source(self, source):
        name, output, key = source
        connector = getattr(self.block(name), output)
        text = f"{name}.{output}"
        return (connector, text) if key in {None, WHOLE} else (connector[key], f"{text}[{key!r}]")

    def real_target(self, name, at, key):
        connector = getattr(self.block(name), at)
        text = f"{name}.{at}"
        return (connector, text) if key is None else (connector[key], f"{text}[{key!r}]")

    def call(self, text, function, *args, allowed=frozenset(), gone=False, mode=0):
        """Call, and return the result in a tuple, or None if it raised what it may raise."""
        how = ("plain", "asyncio", "trio", "plain inside asyncio")[mode]
        self.tell(f"{text}  # {how}" if mode else text)
        try:
            return (self.run(function, args, mode),)
        except (Injected, connectors.BlockGoneError, ExceptionGroup) as raised:
            self.script[-1] += f"  # raised {raised!r}"
            for error in leaves(raised):
                if isinstance(error, Injected):
                    assert error.args in allowed, (
                        f"{error!r} raised, to blame are {allowed or None}"
                    )
                elif isinstance(error, connectors.BlockGoneError):
                    assert gone, "no needed block is gone"
                else:
                    raise
                del error  # or it would keep itself and this frame
        if mode:
            gc.collect()  # asyncio itself leaves a cycle when a coroutine raises
        return None

    def run(self, function, args, mode):
        if mode == 0:
            return function(*args)
        if mode == 1:
            return asyncio.run(awaited(function.aio, args))
        if mode == 2:
            try:
                return trio.run(awaited, function.aio, args)
            finally:
                gc.collect()  # trio itself leaves cycles
        return asyncio.run(inside(function, args))

    def mode(self, number):
        return (0, 0, 0, 0, 0, 1, 1, 2, 3)[number % 9]

    def lazy_blame(self, reached, situation):
        failing, gone = set(), False
        for at in self.model.lazy(reached, situation):
            more, missing = self.model.blame_input(*at)
            failing |= more
            gone |= missing
        return failing, gone

    def check_lazy(self, reached, situation):
        """An input that is not lazy has its value as soon as the call that caused it returned."""
        if self.model.quiet():
            for at in self.model.lazy(reached, situation):
                self.check_input(*at)

    def check_input(self, name, at):
        block = self.block(name)
        if at == "items":
            expected = [value for _, value in self.model.items(name)]
            found = list(block.data.values())
            if not self.kind(name).ordered:
                expected, found = sorted(expected), sorted(found)
        else:
            expected, found = self.model.at(name, at), getattr(block, f"v_{at}")
        assert found == expected, f"{name}.{at} has {found}, not {expected}"

    def check_runs(self):
        """No method ran more often than there were changes that can reach it."""
        if not self.counting:
            return
        for name in self.model.blocks:
            block = self.block(name)
            for method, runs in Counter(block.log).items():
                allowed = self.model.allowed[name, method.split()[0]]
                if method != "items":
                    assert runs <= allowed, f"{name}.{method} ran {runs} times, {allowed} changes"

    # operations

    def nothing(self, i, j, k):
        pass

    def new(self, i, j, k):
        if len(self.model.blocks) < MOST_BLOCKS:
            kind = self.pick(CLASSES, i)
            name = f"b{next(self.names)}"
            self.tell(f"{name} = {kind}({name!r})")
            self.hold(name, CLASSES[kind](name))
            self.model.add(kind, name)

    def hold(self, name, block):
        self.held[name] = block
        self.references[name] = weakref.ref(block)

    def set(self, i, j, k):
        at = self.pick([at for at in self.held_inputs() if at[1] != "items"], i)
        if at:
            self._set(at, self.mode(j))

    def _set(self, at, mode=0):
        name, method = at
        value = next(self.numbers)
        failing = method in self.model.blocks[name].failing
        observers = self.model.observers(name, method)
        reached = self.model.wave(observers) if failing else self.model.set(name, method, value)
        allowed, gone = self.lazy_blame(reached, ON_ANNOUNCE)
        if failing:
            allowed.add(at)
        block = self.held[name]
        got = self.call(
            f"{name}.{method}({value})",
            getattr(block, method),
            value,
            allowed=allowed,
            gone=gone,
            mode=mode,
        )
        if got:
            assert not failing, "a failing setter did not raise"
            assert got[0] is block, "a setter's result is not returned"
        if not failing:
            assert getattr(block, f"v_{method}") == value, "the set value is not there"
        self.check_lazy(reached, ON_ANNOUNCE)

    def add(self, i, j, k):
        """Add a value to a multi-input by hand, under a key where it has keys."""
        name = self.pick([name for name, at in self.held_inputs() if at == "items"], i)
        if name is None:
            return
        block, value = self.model.blocks[name], next(self.numbers)
        kind, failing = self.kind(name), "items" in block.failing
        upstream, missing = self.model.blame_input(name, "items")
        if kind.ordered and (upstream or missing):
            return  # whether the value comes before the pending ones is free then
        if kind.keyed:
            self._set_key(block, f"k{j % 4}", value)
            return
        reached = self.model.wave(self.model.observers(name, "items"))
        lazy, gone = self.lazy_blame(reached, ON_ANNOUNCE)
        got = self.call(
            f"{name}.items({value})",
            self.held[name].items,
            value,
            allowed=upstream | lazy,
            gone=gone or missing,
            mode=self.mode(j),
        )
        ids = [key for key, found in self.held[name].data.items() if found == value]
        if got:
            assert [got[0]] == ids, "not the new id"
        elif not failing and not upstream and not missing:
            assert ids, "the value was lost because of another input's error"
        if ids:
            block.entries.append(Entry(value, None, ids[0]))
        self.check_lazy(reached, ON_ANNOUNCE)

    def _set_key(self, block, key, value):
        entry = next((e for e in block.entries if e.key == key), None)
        if entry and entry.source:
            return
        reached = self.model.wave(self.model.observers(block.name, "items"))
        allowed, gone = self.lazy_blame(reached, ON_ANNOUNCE)
        failing = "items" in block.failing
        if failing:
            allowed.add((block.name, "items"))
        elif entry:
            entry.value = value
        else:
            block.entries.append(Entry(value, None, key))
        got = self.call(
            f"{block.name}.items[{key!r}]({value})",
            self.held[block.name].items[key],
            value,
            allowed=allowed,
            gone=gone,
        )
        if got:
            assert got[0] is self.held[block.name], "a keyed call returns the block"
            assert not failing, "a failing replace did not raise"
        self.check_lazy(reached, ON_ANNOUNCE)

    def by_hand(self):
        return [
            (name, entry)
            for name, block in self.model.blocks.items()
            for entry in block.entries
            if name in self.held and entry.source is None and entry.key is not None
        ]

    def remove(self, i, j, k):
        found = self.pick(self.by_hand(), i)
        if found:
            name, entry = found
            self.model.blocks[name].entries.remove(entry)
            reached = self.model.wave(self.model.observers(name, "items"))
            allowed, gone = self.lazy_blame(reached, ON_ANNOUNCE)
            self.call(
                f"{name}.items_remove({entry.key!r})",
                self.held[name].items_remove,
                entry.key,
                allowed=allowed,
                gone=gone,
                mode=self.mode(j),
            )
            self.check_lazy(reached, ON_ANNOUNCE)

    def replace(self, i, j, k):
        found = self.pick([f for f in self.by_hand() if self.model.blocks[f[0]].kind != "Loose"], i)
        if found:
            name, entry = found
            value = next(self.numbers)
            failing = "items" in self.model.blocks[name].failing
            reached = self.model.wave(self.model.observers(name, "items"))
            allowed, gone = self.lazy_blame(reached, ON_ANNOUNCE)
            if failing:
                allowed.add((name, "items"))
            else:
                entry.value = value
            self.call(
                f"{name}.items_replace({entry.key!r}, {value})",
                self.held[name].items_replace,
                entry.key,
                value,
                allowed=allowed,
                gone=gone,
            )
            self.check_lazy(reached, ON_ANNOUNCE)

    def choose_pair(self, i, j, k):
        """Return a source, an input and a key that fit, connected or not."""
        output = self.pick(self.held_outputs(), i)
        target = self.pick(self.held_inputs(), j)
        if not output or not target:
            return None
        (origin, method), (name, at) = output, target
        kind, key = self.kind(name), None
        if method == "part":
            whole = at == "items" and not kind.ordered and k % 3 == 0
            source = (origin, method, WHOLE if whole else f"{origin}:{k % 4}")
        else:
            source = (origin, method, None)
        if at == "items" and kind.keyed and source[2] != WHOLE:
            key = f"k{k % 4}"
        return source, name, at, key

    def connect(self, i, j, k):
        pair = self.choose_pair(i, j, k)
        if not pair:
            return
        source, name, at, key = pair
        if source[:2] in self.model.downstream(self.model.observers(name, at))[0]:
            return
        block = self.model.blocks[name]
        if key is not None and any(e.key == key and e.source != source for e in block.entries):
            return
        if source[2] == WHOLE and any(e.key in keys_of(source[0], 3) for e in block.entries):
            return  # left by a multi-output of that name
        if at != "items":
            single = block.singles[at]
            if source in single.connected:
                return
        elif any(e.source == source and e.key == key for e in block.entries):
            # Twice adds nothing. Whether it announces again is not said, and must not matter here.
            outputs, reached = self.model.downstream(self.model.observers(name, at))
            singles = [self.model.blocks[n].singles[at] for n, at in reached if at != "items"]
            if any([single.source] != single.connected for single in singles):
                return
            self.model.wave(outputs)
            self.model.allowed[name, at] += 1
            self.model.loosen(*source[:2])
            allowed, gone = self.lazy_blame(set(self.model.inputs()), ON_REQUEST)
            self._connect(source, name, at, key, k, allowed, gone=gone)
            return
        connected = block.entries if at == "items" else block.singles[at].connected
        connected.append(Entry(source=source) if at == "items" else source)
        ambiguous = self.model.ambiguous()
        connected.pop()
        if ambiguous:
            return
        self.knot |= name in self.model.ancestors(source[0])
        reached = self.model.connect(source, name, at, key)
        allowed, gone = self.lazy_blame(reached, ON_CONNECT)
        self._connect(source, name, at, key, k, allowed, gone=gone)
        self.check_lazy(reached, ON_CONNECT)

    def _connect(self, source, name, at, key, k, allowed=frozenset(), *, gone=False):
        one, one_text = self.real_source(source)
        two, two_text = self.real_target(name, at, key)
        owner = self.held[source[0]]
        if k % 2:
            one, one_text, two, two_text, owner = two, two_text, one, one_text, self.held[name]
        got = self.call(
            f"{one_text}.connect({two_text})", one.connect, two, allowed=allowed, gone=gone
        )
        if got:
            assert got[0] is owner, "connect returns the block it is called on"

    def disconnect(self, i, j, k):
        pair = self.pick(self.connections(), i)
        if pair:
            self._disconnect(*pair, j)

    def _disconnect(self, source, name, at, key, j):
        one, one_text = self.real_source(source)
        two, two_text = self.real_target(name, at, key)
        owner = self.held[source[0]]
        if at == "items" and self.model.overruled(name):
            # Only what was delivered is a change when it goes, which ends what was set by hand.
            self.heal(0, 0, 0)
            self._read(name, "out")
        if j % 2:
            one, one_text, two, two_text, owner = two, two_text, one, one_text, self.held[name]
        text = f"{one_text}.disconnect({two_text})"
        if at == "items":
            reached = self.model.disconnect_multi(source, name, key)
            allowed, gone = self.lazy_blame(reached, ON_CONNECT)
            got = self.call(text, one.disconnect, two, allowed=allowed, gone=gone)
            self.check_lazy(reached, ON_CONNECT)
        else:
            allowed, gone = self.model.blame_input(name, at)
            if gone:
                return
            got = self.call(text, one.disconnect, two, allowed=allowed)
            if not got:
                self.heal(0, 0, 0)
                try:
                    self.tell(text)
                    got = (one.disconnect(two),)
                except connectors.ConnectorsError as error:
                    assert isinstance(error, KeyError)
                    self.script[-1] += "  # was cut although its request failed, which is free"
                    self.model.disconnect_single(source, name, at)
                    self.model.blocks[name].singles[at].value = getattr(self.held[name], f"v_{at}")
                    return
            self.model.disconnect_single(source, name, at)
            self.check_input(name, at)
        if got:
            assert got[0] is owner, "disconnect returns the block it is called on"

    def disconnect_stranger(self, i, j, k):
        """Disconnecting what is not connected raises and changes nothing."""
        pair = self.choose_pair(i, j, k)
        if not pair:
            return
        source, name, at, key = pair
        if any(other[:2] == source[:2] for other in self.model.sources(name, at)):
            return
        one, one_text = self.real_source(source)
        two, two_text = self.real_target(name, at, key)
        if k % 2:
            one, one_text, two, two_text = two, two_text, one, one_text
        self.tell(f"{one_text}.disconnect({two_text})  # raises")
        try:
            one.disconnect(two)
        except connectors.ConnectorsError as error:
            assert isinstance(error, KeyError)
        else:
            raise AssertionError("disconnected what was not connected")

    def loop(self, i, j, k):
        """Closing a loop of lazy inputs raises and changes nothing."""
        pair = self.choose_pair(i, j, k)
        if not pair:
            return
        source, name, at, key = pair
        if key is not None and any(e.key == key for e in self.model.blocks[name].entries):
            return
        _, reached = self.model.downstream(self.model.observers(name, at))
        around = {
            other
            for other in reached
            if source[:2] in self.model.downstream(self.model.observers(*other))[0]
        } | {(name, at)}
        closes = source[:2] in self.model.downstream(self.model.observers(name, at))[0]
        if not closes or any(self.model.blocks[n].laziness[at] > ON_REQUEST for n, at in around):
            return
        one, one_text = self.real_source(source)
        two, two_text = self.real_target(name, at, key)
        if k % 2:
            one, one_text, two, two_text = two, two_text, one, one_text
        self.tell(f"{one_text}.connect({two_text})  # CycleError")
        try:
            one.connect(two)
        except connectors.CycleError as error:
            assert type(self.held[name]).__name__ in str(error), "the blocks are not named"
        else:
            raise AssertionError("a loop was closed")

    def laziness(self, i, j, k):
        at = self.pick(self.held_inputs(), i)
        if at:
            name, method = at
            laziness = connectors.Laziness(1 + j % 4)
            self.model.blocks[name].laziness[method] = int(laziness)
            self.model.make_real(name, method)
            self.configure(name, method, "set_laziness", laziness)

    def configure(self, name, method, setter, value):
        self.tell(f"{name}.{method}.{setter}({value})")
        result = getattr(getattr(self.held[name], method), setter)(value)
        assert result is None, "set_* return None"

    def caching(self, i, j, k):
        output = self.pick(self.held_outputs(), i)
        if output:
            name, method = output
            uncached = self.model.blocks[name].uncached
            (uncached.discard if j % 2 else uncached.add)(method)
            self.model.make_real(name, method)
            self.model.loosen(name, method)
            self.configure(name, method, "set_caching", bool(j % 2))

    def parallelization(self, i, j, k):
        connector = self.pick([*self.held_inputs(), *self.held_outputs()], i)
        if connector:
            self.model.make_real(*connector)
            self.configure(
                *connector, "set_parallelization", list(connectors.Parallelization)[j % 3]
            )

    def executor(self, i, j, k):
        connector = self.pick([*self.held_inputs(), *self.held_outputs()], i)
        if connector:
            self.model.make_real(*connector)
            self.configure(*connector, "set_executor", self.pick(self.executors, j))

    def processes(self, i, j, k):
        """Every getter wants another process, and an executor that may have one."""
        for connector in self.held_outputs():
            self.model.make_real(*connector)
            far = connectors.Parallelization.PROCESS
            self.configure(*connector, "set_parallelization", far)
            self.configure(*connector, "set_executor", self.pick(self.executors, j))

    def fail(self, i, j, k):
        methods = [*self.held_inputs(), *self.held_outputs()]
        found = self.pick(methods, i)
        if found:
            name, method = found
            self.model.blocks[name].failing.add(method)
            self._failing(name)

    def _failing(self, name):
        failing = frozenset(self.model.blocks[name].failing)
        self.tell(f"{name}.failing = {set(failing) or '()'}")
        self.block(name).failing = failing

    def heal(self, i, j, k):
        for name, block in self.model.blocks.items():
            if block.failing:
                block.failing.clear()
                self._failing(name)

    def invalidate(self, i, j, k):
        output = self.pick(self.held_outputs(), i)
        if output:
            name, method = output
            reached = self.model.wave([output])
            allowed, gone = self.lazy_blame(reached, ON_ANNOUNCE)
            got = self.call(
                f"{name}.{method}.invalidate()",
                getattr(self.held[name], method).invalidate,
                allowed=allowed,
                gone=gone,
            )
            if got:
                assert got[0] is self.held[name], "invalidate returns the block"
            self.check_lazy(reached, ON_ANNOUNCE)

    def read(self, i, j, k):
        output = self.pick(self.held_outputs(), i)
        if output:
            self._read(*output, f"{output[0]}:{k % 4}" if output[1] == "part" else None, j)

    def _read(self, name, method, key=None, j=0):
        block = self.model.blocks[name]
        if method not in block.real or method in block.uncached:
            self.model.loosen(name, method)
        if not self.model.quiet():
            for ancestor in self.model.ancestors(name):
                for output in self.model.blocks[ancestor].uncached:
                    self.model.loosen(ancestor, output)
        connector, text = getattr(self.block(name), method), f"{name}.{method}"
        args = ()
        if key is not None and j % 2:
            connector, text = connector[key], f"{text}[{key!r}]"
        elif key is not None:
            args = (key,)
        failing, gone = self.model.blame(name, method)
        got = self.call(
            f"{text}({', '.join(map(repr, args))})",
            connector,
            *args,
            allowed=failing,
            gone=gone,
            mode=self.mode(j // 2),
        )
        if got:
            expected = self.model.value(name, method, key)
            self.script[-1] += f"  # {expected}"
            assert got[0] == expected, f"{text} gave {got[0]}"
        self.check_runs()
        return got is not None

    def again(self, i, j, k):
        """A second read of a cached output runs nothing at all."""
        output = self.pick(self.held_outputs(), i)
        if not output:
            return
        name, method = output
        block = self.model.blocks[name]
        key = f"{name}:{k % 4}" if method == "part" else None
        if (
            method in block.real
            and method not in block.uncached
            and self._read(name, method, key, j)
        ):
            before = [(other, list(self.block(other).log)) for other in self.model.blocks]
            self._read(name, method, key, k)
            after = [(other, list(self.block(other).log)) for other in self.model.blocks]
            assert before == after, "a second read ran something"

    def set_and_read(self, i, j, k):
        """A direct read of a changed output updates every connected input that is not lazy."""
        at = self.pick([at for at in self.held_inputs() if at[1] != "items"], i)
        if not at or not self.kind(at[0]).observers(at[1]) or not self.model.quiet():
            return
        name = at[0]
        method = self.pick(self.kind(name).observers(at[1]), k)
        if method == "part":
            return
        self._set(at)
        self._read(name, method)
        source = (name, method, None)
        direct = {at for at in self.model.inputs() if self.model.sources(*at) == [source]}
        for at in self.model.lazy(direct, ON_NOTIFY):
            self.check_input(*at)

    def copy(self, i, j, k):
        """A copy has the state of its block, no connections, and a life of its own."""
        name = self.pick(
            [
                name
                for name in self.held
                if self.kind(name).outputs
                and max(self.model.blocks[name].laziness.values(), default=0) <= ON_REQUEST
            ],
            i,
        )
        if name is None or not self.model.quiet() or len(self.model.blocks) >= MOST_BLOCKS:
            return
        self.read_all([name])
        kind, block = self.kind(name), self.model.blocks[name]
        how = ["deepcopy", "pickle", "copy"][j % (2 if kind.multi else 3)]
        new = f"b{next(self.names)}"
        self.tell(f"{new} = {how}({name}); {new}.name = {new!r}; {new}.log = []")
        if how == "pickle":
            made = pickle.loads(pickle.dumps(self.held[name]))
        else:
            made = getattr(copy, how)(self.held[name])
        made.name, made.log = new, []
        self.hold(new, made)
        copied = self.model.add(block.kind, new)
        for at, single in copied.singles.items():
            single.value = self.model.at(name, at)
        copied.entries = (
            [
                Entry(
                    value,
                    None,
                    key if kind.keyed or not self.model.sources(name, "items") else None,
                )
                for key, value in self.model.items(name)
            ]
            if kind.multi
            else []
        )
        copied.uncached = set(block.uncached)
        self.read_all([new])

    def read_all(self, names):
        for name in names:
            for method in self.kind(name).outputs:
                assert self._read(name, method, f"{name}:0" if method == "part" else None)

    def let_go(self, i, j, k):
        """Drop a block: it lives on while its upstream lives, else it is freed at once."""
        name = self.pick(self.held, i)
        if name is None or self.knot or not self.model.quiet():
            return
        dead = self.model.dying(set(self.held) - {name})
        consumers = {
            at
            for at in self.model.inputs()
            if at[0] not in dead and any(source[0] in dead for source in self.model.sources(*at))
        }
        settled = j % 2 or any(at == "items" for _, at in consumers)
        if len(dead) > 1:  # what is unread between two dropped blocks keeps both, on purpose
            for other in dead:
                self.settle_sinks(other)
            self.read_all(dead)
        if settled:
            self.read_all({name for name, at in consumers})
        self.tell(f"del {name}")
        del self.held[name]
        self.model.drop(dead)
        if settled:
            for other, at in consumers:
                if self.kind(other).inputs.get(at):
                    self.model.blocks[other].singles[at].gone = False
        self.check_freed(dead)
        for other in self.model.blocks:
            self.block(other)

    def check_freed(self, names):
        """A thread of a pool may hold a block for a moment after the read, but not for longer."""
        end = time.monotonic() + PATIENCE
        while alive := [name for name in names if self.references[name]() is not None]:
            assert time.monotonic() < end, f"{alive} still alive without a garbage collection"
            time.sleep(0.001)

    # the end

    def finish(self, number):
        """Repair and read everything, take the network down, and look for garbage."""
        self.heal(0, 0, 0)
        for name, block in self.model.blocks.items():
            for at, single in block.singles.items():
                if single.gone:
                    value = next(self.numbers)
                    self.tell(f"{name}.{at}({value})")
                    self.model.set(name, at, value)
                    getattr(self.block(name), at)(value)
        self.read_all(list(self.model.blocks))
        for name in self.model.blocks:
            self.settle_sinks(name)
        for at in self.model.inputs():
            self.check_input(*at)
        if number % 2 or self.knot:
            while pair := self.pick(self.connections(), number):
                self._disconnect(*pair, number)
            self.read_all(list(self.model.blocks))
            for name in self.model.blocks:
                self.settle_sinks(name)
            for at in self.model.inputs():
                self.check_input(*at)
        self.tell("gc.disable(); del all")
        self.held.clear()
        self.check_freed(self.references)
        found = gc.collect()
        assert found == 0, f"{found} objects of cyclic garbage"

    def settle_sinks(self, name):
        """What nobody reads stays pending, and keeps its source alive on purpose."""
        if not self.kind(name).outputs:
            for at, single in self.model.blocks[name].singles.items():
                value = next(self.numbers)
                if single.connected and name in self.held and single.connected[-1][0] in self.held:
                    self._disconnect(single.connected[-1], name, at, None, 0)
                self.tell(f"{name}.{at}({value})")
                self.model.set(name, at, value)
                getattr(self.block(name), at)(value)


async def awaited(aio, args):
    return await aio(*args)


async def inside(function, args):
    result = function(*args)
    assert not inspect.isawaitable(result)
    return result


def leaves(error):
    if isinstance(error, ExceptionGroup):
        return [leaf for one in error.exceptions for leaf in leaves(one)]
    return [error]


OPERATIONS = [
    *["nothing"],
    *["connect"] * 8,
    *["set"] * 5,
    *["read"] * 6,
    *["add"] * 2,
    "new",
    "remove",
    "replace",
    *["disconnect"] * 2,
    "disconnect_stranger",
    *["loop"] * 2,
    *["laziness"] * 2,
    "caching",
    "parallelization",
    *["executor"] * 2,
    *["fail"] * 2,
    *["heal"] * 2,
    "invalidate",
    *["again"] * 2,
    *["set_and_read"] * 2,
    "copy",
    "let_go",
]


class Executors:
    """Executors that live as long as a test module, and are replaced after a hang."""

    def __init__(self, make):
        self.make = make
        self.seconds = 20.0  # that a program may take
        self.list = self._opened()

    def _opened(self):
        """Return executors that have run something: what is imported for that leaves garbage."""
        executors = self.make()
        for executor in executors:
            block = CLASSES["One"]("warm")
            block.out.set_executor(executor)
            block.out.set_parallelization(connectors.Parallelization.PROCESS)
            block.out()
        return executors

    def replace(self):
        self.list = self._opened()
        self.seconds = 3.0  # so that shrinking does not take for ever

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for executor in self.list:
            if not isinstance(executor, str):
                executor.close()


class Played(threading.Thread):
    """Plays a program in a thread of its own, so that a hang is noticed and told where it is."""

    def __init__(self, player, program, ending):
        super().__init__(daemon=True)
        self.player, self.program, self.ending = player, program, ending
        self.error = None

    def run(self):
        try:
            for operation, *numbers in self.program:
                getattr(self.player, operation)(*numbers)
            self.player.finish(self.ending)
        except BaseException as error:
            self.error = error


def play(program, ending, executors, *, counting=True):
    """Play a program; what is wrong is raised with the script that leads there."""
    gc.collect()
    gc.freeze()
    gc.disable()
    player = Player(executors.list, counting=counting)
    thread = Played(player, program, ending)
    try:
        thread.start()
        thread.join(executors.seconds)
        script = "\n".join(player.script)
        if thread.is_alive():
            executors.replace()
            raise Hang(f"{stacks()}\n{script}\nhangs")
        if thread.error is not None:
            raise AssertionError(f"{type(thread.error).__name__}: {thread.error}\n{script}") from (
                thread.error
            )
    finally:
        gc.enable()
        gc.unfreeze()


def stacks():
    """Return where every thread is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"{names.get(ident)}:\n{''.join(traceback.format_stack(frame)[-6:])}"
        for ident, frame in sys._current_frames().items()
    )
