"""Macro inputs and macro outputs (section 2.6)."""

import pytest

import acceptance_blocks as nb
import connectors


class Recorder:
    """Has the methods that macros forward, and records their calls."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        if not name.startswith("set_"):
            raise AttributeError(name)
        return lambda argument: self.calls.append((name, argument))


class Forwarding:
    """Exports recorders."""

    def __init__(self):
        self.recorders = Recorder(), Recorder()

    @connectors.MacroInput()
    def enter(self):
        yield from self.recorders

    @connectors.MacroOutput()
    def leave(self):
        return self.recorders[0]


@pytest.mark.parametrize("name", ["set_input1", "get_output1"])
def test_a_macro_is_not_stored(name):
    """Each access gives a fresh object, and the instance stays as it was."""
    macro = nb.Macro()
    before = dict(vars(macro))
    assert getattr(macro, name) is not getattr(macro, name)
    macro.set_input1.connect(nb.Single().get_value)
    assert vars(macro) == before


def test_a_macro_connector_holds_its_block():
    """A macro connector holds the instance strongly."""
    assert nb.Macro().set_input1(2.3).set_input2and3(4.9).get_output1() == ((2.3, 4.9), 4.9)


def test_the_function_is_evaluated_on_every_operation():
    """The decorated function is evaluated again on every operation."""

    class Choosing:
        def __init__(self):
            self.blocks = [nb.Single(value=0), nb.Single(value=1)]
            self.chosen = 0

        @connectors.MacroInput()
        def enter(self):
            yield self.blocks[self.chosen].set_value

        @connectors.MacroOutput()
        def leave(self):
            return self.blocks[self.chosen].get_value

    macro = Choosing()
    enter, leave = macro.enter, macro.leave
    assert leave() == 0
    macro.chosen = 1
    assert leave() == 1
    enter(5)
    assert [block.value for block in macro.blocks] == [0, 5]


def test_calling_an_input_macro():
    """A call calls every exported input with the arguments and returns the macro block."""
    macro = nb.Macro()
    assert macro.set_input2and3(7) is macro
    assert macro.set_input1(value=6) is macro
    assert macro.log == ["one.set2(7)", "two.set2(7)", "one.set1(6)"]


def test_calling_an_output_macro():
    """A call gives the result of the exported output and takes no arguments."""
    macro = nb.Macro()
    assert macro.get_output1() == ((None, None), None)
    with pytest.raises(TypeError):
        macro.get_output1(1)


@pytest.mark.parametrize("name", ["set_laziness", "set_parallelization", "set_executor"])
def test_settings_of_an_input_macro(name):
    """Settings of an input macro are forwarded to every exported object, which may be any."""
    macro = Forwarding()
    assert getattr(macro.enter, name)("setting") is None
    assert [recorder.calls for recorder in macro.recorders] == [[(name, "setting")]] * 2


@pytest.mark.parametrize("name", ["set_caching", "set_parallelization", "set_executor"])
def test_settings_of_an_output_macro(name):
    """Settings of an output macro are forwarded to the exported output."""
    macro = Forwarding()
    assert getattr(macro.leave, name)("setting") is None
    assert macro.recorders[0].calls == [(name, "setting")]


def test_laziness_of_a_macro_works():
    """A laziness set at a macro is that of its exported inputs."""
    macro, source = nb.Macro(), nb.Single()
    macro.set_input2and3.set_laziness(nb.ON_ANNOUNCE)
    macro.set_input2and3.connect(source.get_value)
    source.set_value(3)
    assert sorted(macro.log) == ["one.set2(3)", "two.set2(3)"]


@pytest.mark.parametrize("connect_from", ["macro", "output"])
@pytest.mark.parametrize("disconnect_from", ["macro", "output"])
def test_connecting_an_input_macro(connect_from, disconnect_from):
    """`connect` and `disconnect` act on all exported inputs, from either side."""
    macro, source = nb.Macro(), nb.Single(value=1)
    if connect_from == "macro":
        assert macro.set_input2and3.connect(source.get_value) is macro
    else:
        assert source.get_value.connect(macro.set_input2and3) is source
    assert macro.get_output1() == ((None, 1), 1)
    source.set_value(2)
    assert macro.get_output1() == ((None, 2), 2)
    if disconnect_from == "macro":
        assert macro.set_input2and3.disconnect(source.get_value) is macro
    else:
        assert source.get_value.disconnect(macro.set_input2and3) is source
    source.set_value(3)
    assert macro.get_output1() == ((None, 2), 2)


@pytest.mark.parametrize("connect_from", ["macro", "input"])
@pytest.mark.parametrize("disconnect_from", ["macro", "input"])
def test_connecting_an_output_macro(connect_from, disconnect_from):
    """`connect` and `disconnect` of an output macro are forwarded and return the macro block."""
    macro, sink = nb.Macro(), nb.Single()
    if connect_from == "macro":
        assert macro.get_output1.connect(sink.set_value) is macro
    else:
        assert sink.set_value.connect(macro.get_output1) is sink
    macro.set_input1(1)
    assert sink.get_value() == ((1, None), None)
    if disconnect_from == "macro":
        assert macro.get_output1.disconnect(sink.set_value) is macro
    else:
        assert sink.set_value.disconnect(macro.get_output1) is sink
    macro.set_input1(2)
    assert sink.get_value() == ((1, None), None)
    assert macro.get_output1() == ((2, None), None)


def test_macro_to_macro():
    """An output macro can be connected to an input macro."""
    one, two = nb.Macro(), nb.Macro()
    one.get_output1.connect(two.set_input2and3)
    one.set_input1(1)
    values = ((1, None), None)
    assert two.get_output1() == ((None, values), values)


def test_a_macro_may_export_macros():
    """A macro may export other macros."""
    macro, source = nb.OuterMacro(), nb.Single(value=1)
    assert macro.set_all(0) is macro
    assert (macro.get_inner(), macro.extra.get_value()) == (((0, 0), 0), 0)
    macro.set_all.connect(source.get_value)
    assert (macro.get_inner(), macro.extra.get_value()) == (((1, 1), 1), 1)
    source.get_value.disconnect(macro.set_all)
    source.set_value(2)
    assert (macro.get_inner(), macro.extra.get_value()) == (((1, 1), 1), 1)


def test_output_macro_caching():
    """`set_caching` of an output macro reaches the exported output."""
    macro = nb.Macro()
    macro.get_output1.set_caching(False)
    macro.get_output1()
    nb.taken(macro.log)
    macro.get_output1()
    assert macro.log == ["two.get"]


@pytest.mark.parametrize("name", ["set_input1", "get_output1"])
def test_macros_have_no_keys(name):
    """Neither macro has `[]`."""
    with pytest.raises(TypeError):
        getattr(nb.Macro(), name)["key"]


def test_a_macro_lives_as_long_as_upstream():
    """The blocks behind a connected input macro live as long as upstream does."""
    source = nb.Single(value=1)
    macro = nb.Macro()
    log = macro.log
    macro.set_input1.set_laziness(nb.ON_ANNOUNCE)
    source.get_value.connect(macro.set_input1)
    del macro
    source.set_value(2)
    assert log == ["one.set1(2)"]
