"""Exceptions of getters, setters and conditions (section 3.9)."""

import pytest

import acceptance_blocks as nb
import connectors


class Trouble(Exception):
    """What methods of these tests raise."""


def failing():
    error = Trouble("failed")
    return error, nb.raiser(error)


@pytest.mark.parametrize("form", nb.FORMS)
@pytest.mark.parametrize("place", ["source get", "set", "get"])
def test_a_read_raises_the_failure(form, place):
    """A failure in a read reaches the caller unchanged, and the next read tries again."""
    source, sink = nb.chain([])
    source.set_value(1)
    error, fail = failing()
    block = source if place == "source get" else sink
    block.hooks[place.split()[-1]] = fail
    with nb.make_executor(form) as executor:
        sink.get_value.set_executor(executor)
        for _ in range(2):
            with pytest.raises(Trouble) as caught:
                sink.get_value()
            assert caught.value is error
        block.hooks.clear()
        assert sink.get_value() == 1


@pytest.mark.parametrize("form", ["multiprocessing", "threading_multiprocessing"])
def test_a_failure_in_another_process(form):
    """A getter that fails in another process gives its exception, and can be repaired."""
    block, sink = Fragile(), nb.Single()
    sink.set_value.connect(block.get_value)
    with nb.make_executor(form) as executor:
        sink.get_value.set_executor(executor)
        block.set_value(-1)
        for _ in range(2):
            with pytest.raises(Trouble, match="negative"):
                sink.get_value()
        block.set_value(2)
        assert sink.get_value() == 2


class Fragile(nb.Single):
    """Refuses negative values in its getter."""

    @connectors.Output(parallelization=nb.PROCESS)
    def get_value(self):
        if self.value < 0:
            raise Trouble("negative")
        return self.value


@pytest.mark.parametrize("kind", ["announce", "notify"])
@pytest.mark.parametrize("form", nb.LOCAL_NAMES)
def test_a_condition_that_raises_in_a_read(kind, form):
    """A notify condition that raises in a read reaches the caller; nothing is lost."""

    class Asking(nb.Single):
        error = None

        @connectors.Input("get_value")
        def set_value(self, value):
            self.value = value

        @set_value.notify_condition
        def may_notify(self, value):
            if self.error and kind == "notify":
                raise self.error
            return True

        @set_value.announce_condition
        def may_announce(self):
            if self.error and kind == "announce":
                raise self.error
            return self.open

        open = True

    source, block = nb.Single(value=1), Asking()
    block.set_value.connect(source.get_value)
    with nb.make_executor(form) as executor:
        block.get_value.set_executor(executor)
        assert block.get_value() == 1
        if kind == "announce":
            block.open = False  # so that the condition is asked again by the read
        source.set_value(2)
        block.error = Trouble("failed")
        with pytest.raises(Trouble) as caught:
            block.get_value()
        assert caught.value is block.error
        block.error, block.open = None, True
        assert block.get_value() == 2


@pytest.mark.parametrize("form", nb.LOCAL_NAMES)
def test_a_failing_key(form):
    """A multi-output whose getter fails for one key raises, and works after repair."""
    source, sink = nb.MultiOut(keys=(1, 2, 3)), nb.Keyed()
    error = Trouble("failed")

    def fail(key):
        if key == 2:
            raise error

    source.hooks["get"] = fail
    sink.add.connect(source.get)
    with nb.make_executor(form) as executor:
        sink.get.set_executor(executor)
        with pytest.raises(Trouble) as caught:
            sink.get()
        assert caught.value is error
        source.hooks.clear()
        assert sink.get() == {1: 3, 2: 6, 3: 9}


@pytest.mark.parametrize("kind", [nb.Multi, nb.NoReplace])
@pytest.mark.parametrize("form", nb.LOCAL_NAMES)
def test_a_failing_value_of_a_multi_input(kind, form):
    """A multi-input with one failing value keeps it and all later ones pending."""
    sources, sink = [nb.Single(value=i) for i in range(3)], kind()
    for source in sources:
        sink.add.connect(source.get_value)
    error = Trouble("failed")

    def fail(value):
        if value == 1:
            raise error

    sink.hooks["add"] = fail
    with nb.make_executor(form) as executor:
        sink.get.set_executor(executor)
        for _ in range(2):
            with pytest.raises(Trouble) as caught:
                sink.get()
            assert caught.value is error
        sink.hooks.clear()
        assert sink.get() == (0, 1, 2)


def test_the_pools_stay_open():
    """An executor works on after a failed read."""
    block = nb.Single(value=1)
    with connectors.executor(threads=1) as executor:
        block.get_value.set_executor(executor)
        error, block.hooks["get"] = failing()
        with pytest.raises(Trouble) as caught:
            block.get_value()
        assert caught.value is error
        block.hooks.clear()
        assert block.get_value() == 1
        assert executor.submit(pow, 2, 3).result() == 8


def test_a_joining_read_gets_the_error():
    """A request that joins a failing computation gets an error or tries again; none hangs."""
    block, gate = nb.Single(value=1), nb.Gate()
    error = Trouble("failed")

    def fail():
        gate()
        raise error

    block.hooks["get"] = fail
    block.get_value.set_caching(True)
    futures = [nb.spawn(block.get_value)]
    assert gate.entered.wait(nb.LIMIT)
    futures.append(nb.spawn(block.get_value))
    gate.opened.set()
    assert [future.exception(nb.LIMIT) for future in futures] == [error, error]


@pytest.mark.parametrize("make_real", [False, True])
def test_a_direct_call_that_raises(make_real):
    """The exception of a direct call propagates, and the network stays readable."""
    source, block, sink = nb.chain([], *[nb.Single] * 3)
    if not make_real:
        block.set_value.disconnect(source.get_value)
        block = nb.Single()
        sink = nb.Single()
        sink.set_value.connect(block.get_value)
    sink.get_value()
    error, block.hooks["set"] = failing()
    with pytest.raises(Trouble) as caught:
        block.set_value(1)
    assert caught.value is error
    assert nb.spawn(sink.get_value).result(nb.LIMIT) is None
    block.hooks.clear()
    block.set_value(2)
    assert nb.spawn(sink.get_value).result(nb.LIMIT) == 2


@pytest.mark.parametrize("make_real", [False, True])
def test_a_direct_call_whose_condition_raises(make_real):
    """After a notify condition that raises, the observers count as changed."""

    class Asking(nb.Single):
        error = None

        @connectors.Input("get_value")
        def set_value(self, value):
            self.value = value

        @set_value.notify_condition
        def may_notify(self, value):
            if self.error:
                raise self.error
            return True

    block, sink = Asking(), nb.Single()
    sink.set_value.connect(block.get_value)
    if make_real:
        block.set_value.set_laziness(nb.ON_REQUEST)
    assert sink.get_value() is None
    block.error = Trouble("failed")
    with pytest.raises(Trouble):
        block.set_value(1)
    assert nb.spawn(sink.get_value).result(nb.LIMIT) == 1


def test_a_direct_add_that_raises():
    """A failing direct add loses no pending value."""
    source, block = nb.Single(value=1), nb.Multi()
    block.add.connect(source.get_value)

    def fail(value):
        if value == "bad":
            raise Trouble

    block.hooks["add"] = fail
    with pytest.raises(Trouble):
        block.add("bad")
    assert nb.spawn(block.get).result(nb.LIMIT) == (1,)


@pytest.mark.parametrize("name", ["remove", "replace", "item"])
def test_direct_associates_that_raise(name):
    """A failing direct remove or replace leaves the network readable."""
    block, sink = nb.Multi(), nb.Single()
    sink.set_value.connect(block.get)
    block.add(1)
    assert sink.get_value() == (1,)
    error, fail = failing()
    block.hooks.update(remove=fail, replace=fail)
    acts = {
        "remove": lambda: block.remove(0),
        "replace": lambda: block.replace(0, 2),
        "item": lambda: block.add[0](2),
    }
    with pytest.raises(Trouble) as caught:
        acts[name]()
    assert caught.value is error
    assert nb.spawn(sink.get_value).result(nb.LIMIT) == (1,)


def lazy_fan(sources=None):
    """Return a source with three ON_ANNOUNCE consumers."""
    source, sinks = nb.Single(), [nb.Single(str(i)) for i in range(3)]
    for sink in sinks:
        sink.set_value.connect(source.get_value)
        sink.set_value.set_laziness(nb.ON_ANNOUNCE)
    return source, sinks


@pytest.mark.parametrize("form", nb.LOCAL_NAMES)
def test_one_failing_non_lazy_input(form):
    """All non-lazy inputs run to their end; one failure is raised as it is."""
    source, sinks = lazy_fan()
    error, sinks[0].hooks["set"] = failing()
    with nb.make_executor(form) as executor:
        source.set_value.set_executor(executor)
        with pytest.raises(Trouble) as caught:
            source.set_value(1)
    assert caught.value is error
    assert source.value == 1
    assert [sink.value for sink in sinks] == [None, 1, 1]
    sinks[0].hooks.clear()
    assert sinks[0].get_value() == 1


@pytest.mark.parametrize("form", nb.LOCAL_NAMES)
def test_several_failing_non_lazy_inputs(form):
    """Several failures of non-lazy inputs are raised as an ExceptionGroup."""
    source, sinks = lazy_fan()
    errors = []
    for sink in sinks[:2]:
        error, sink.hooks["set"] = failing()
        errors.append(error)
    with nb.make_executor(form) as executor:
        source.set_value.set_executor(executor)
        with pytest.raises(ExceptionGroup) as caught:
            source.set_value(1)
    assert set(caught.value.exceptions) == set(errors)
    assert (source.value, sinks[2].value) == (1, 1)


def test_a_failing_non_lazy_input_of_a_connect():
    """A failing ON_CONNECT input raises from `connect`; the connection can be read later."""
    source, sink = nb.Single(value=1), nb.Single()
    error, sink.hooks["set"] = failing()
    sink.set_value.set_laziness(nb.ON_CONNECT)
    with pytest.raises(Trouble) as caught:
        sink.set_value.connect(source.get_value)
    assert caught.value is error
    sink.hooks.clear()
    source.set_value(2)
    assert sink.get_value() == 2


def test_a_failing_non_lazy_input_of_a_disconnect():
    """A failing ON_CONNECT input raises from the `disconnect` of a multi-input."""
    source, block, sink = nb.Single(value=1), nb.Multi(), nb.Single()
    block.add.connect(source.get_value)
    sink.set_value.connect(block.get)
    sink.get_value()
    sink.set_value.set_laziness(nb.ON_CONNECT)
    error, sink.hooks["set"] = failing()
    with pytest.raises(Trouble) as caught:
        block.add.disconnect(source.get_value)
    assert caught.value is error
    sink.hooks.clear()
    assert sink.get_value() == ()


def test_a_failure_with_a_slow_sibling():
    """One branch fails while a sibling runs in a thread; the next read uses that run."""
    bad, slow, sink = nb.Single(value=1), nb.Single(value=2), nb.Double()
    sink.set1.connect(bad.get_value)
    sink.set2.connect(slow.get_value)
    gate = nb.Gate()
    error = Trouble("failed")

    def fail():
        assert gate.entered.wait(nb.LIMIT)
        raise error

    bad.hooks["get"], slow.hooks["get"] = fail, gate
    with connectors.executor(threads=2) as executor:
        sink.get_values.set_executor(executor)
        assert nb.spawn(sink.get_values).exception(nb.LIMIT) is error
        bad.hooks.clear()
        second = nb.spawn(sink.get_values)
        gate.opened.set()
        assert second.result(nb.LIMIT) == (1, 2)
    assert slow.log == ["S.get"]
