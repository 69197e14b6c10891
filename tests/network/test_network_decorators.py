"""The decorators and their sub-decorators (section 2.1)."""

import inspect

import pytest

import acceptance_blocks as nb
import connectors
from connectors import (
    Input,
    Laziness,
    MacroInput,
    MacroOutput,
    MultiInput,
    MultiOutput,
    Output,
    Parallelization,
)

ALL = [Output, Input, MultiInput, MultiOutput, MacroInput, MacroOutput]


@pytest.mark.parametrize("kind", ALL)
def test_a_decorator_returns_itself(kind):
    """A decorator is called once with the function and returns itself."""
    decorator = kind()
    assert decorator(lambda self: None) is decorator


def test_the_class_attribute_is_the_decorator():
    """The class attribute is the decorator object."""
    assert isinstance(vars(nb.Single)["get_value"], Output)
    assert isinstance(vars(nb.Single)["set_value"], Input)
    assert isinstance(vars(nb.Multi)["add"], MultiInput)
    assert isinstance(vars(nb.MultiOut)["get"], MultiOutput)
    assert isinstance(vars(nb.Macro)["set_input1"], MacroInput)
    assert isinstance(vars(nb.Macro)["get_output1"], MacroOutput)


@pytest.mark.parametrize("kind", ALL)
def test_decorators_are_non_data_descriptors(kind):
    """Decorators have `__get__` only."""
    assert hasattr(kind, "__get__")
    assert not hasattr(kind, "__set__")
    assert not hasattr(kind, "__delete__")


@pytest.mark.parametrize("name", ["set_value", "get_value"])
def test_an_entry_of_the_instance_wins(name):
    """An entry of the same name in the instance's `__dict__` wins."""
    block = nb.Single()
    vars(block)[name] = "mine"
    assert getattr(block, name) == "mine"


def test_no_parentheses():
    """Without parentheses a decorator works with all defaults."""

    class Bare(nb.Block):
        value = None

        @Input
        def set(self, value):
            self.value = value

        @MultiInput
        def add(self, value):
            self.note("add", value)
            return 0

        @Output
        def get(self):
            self.note("get")
            return self.value

        @MultiOutput
        def item(self, key):
            return key, self.value

        @MacroInput
        def enter(self):
            yield self.set

        @MacroOutput
        def leave(self):
            return self.get

    block = Bare()
    assert block.enter(4) is block
    assert (block.leave(), block.item(1), block.add(2)) == (4, (1, 4), 0)
    source = nb.Single(value=5)
    block.set.connect(source.get_value)
    block.get.set_caching(True)
    assert block.get() == 4  # the setter has no observers


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Output, {"caching": True, "parallelization": Parallelization.THREAD}),
        (MultiOutput, {"caching": True, "parallelization": Parallelization.THREAD}),
        (
            Input,
            {
                "observers": (),
                "laziness": Laziness.ON_REQUEST,
                "parallelization": Parallelization.SEQUENTIAL,
            },
        ),
        (
            MultiInput,
            {
                "observers": (),
                "laziness": Laziness.ON_REQUEST,
                "parallelization": Parallelization.SEQUENTIAL,
            },
        ),
    ],
)
def test_arguments_by_position_and_keyword(kind, arguments):
    """The arguments of a decorator can be given by position and by keyword, in this order."""
    kind(*arguments.values(), "threading")
    kind(**arguments, executor="threading")
    kind(**arguments, executor=connectors.executor(threads=0))


@pytest.mark.parametrize("observers", ["get", ("get",), ["get"], ("get", "other")])
def test_observers(observers):
    """Observers are one method name or a sequence of names."""

    class Observed(nb.Block):
        value = 0

        @Input(observers)
        def set(self, value):
            self.value = value

        @Output()
        def get(self):
            return self.value

        @Output()
        def other(self):
            return self.value

    block = Observed()
    block.get.set_caching(True)
    assert block.get() == 0
    block.set(1)
    assert block.get() == 1


def test_a_setter_without_observers_invalidates_nothing():
    """Only the outputs that a setter names as observers are influenced by it."""

    class Unobserved(nb.Single):
        @Input()
        def set_value(self, value):
            self.value = value

    block = Unobserved()
    block.get_value.set_caching(True)
    assert block.get_value() is None
    block.set_value(1)
    assert block.get_value() is None


@pytest.mark.parametrize("use", ["call", "connect", "set_laziness"])
def test_observers_are_checked_at_first_use(use):
    """Names of observers are checked when a connector of an instance is first used."""

    class Misspelt(nb.Single):
        @Input("get_valu")
        def set_value(self, value):
            self.value = value

    block = Misspelt()
    uses = {
        "call": lambda: block.set_value(1),
        "connect": lambda: block.set_value.connect(nb.Single().get_value),
        "set_laziness": lambda: block.set_value.set_laziness(Laziness.ON_NOTIFY),
    }
    with pytest.raises(connectors.ConnectorsError, match="get_value"):
        uses[use]()


@pytest.mark.parametrize("name", nb.NAMES)
def test_executor_by_name(name):
    """`executor` may be a name."""

    class Named(nb.Single):
        @Output(executor=name)
        def get_value(self):
            return self.value

    block = Named(value=3)
    block.get_value.set_caching(True)
    assert block.get_value() == 3


def test_an_unknown_executor_name():
    """An unknown name raises at first use, lists the known names and says did-you-mean."""

    class Named(nb.Single):
        @Output(executor="sequentiel")
        def get_value(self):
            return self.value

    block = Named()
    block.get_value.set_caching(True)
    with pytest.raises(connectors.ConnectorsError) as caught:
        block.get_value()
    for name in ("sequentiel", "sequential", "threading", "trio", "multiprocessing"):
        assert name in str(caught.value)


def test_conditions_stay_normal_methods():
    """The decorators of conditions return the function unchanged."""
    for kind, name in [
        (nb.AnnounceSingle, "may_announce"),
        (nb.NotifySingle, "may_notify"),
        (nb.ConditionalMulti, "may_announce"),
        (nb.ConditionalMulti, "may_notify"),
    ]:
        assert inspect.isfunction(vars(kind)[name])


def test_conditions_may_have_private_names():
    """A condition may be name-mangled."""

    class Private(nb.Single):
        @Input("get_value")
        def set_value(self, value):
            self.value = value

        @set_value.announce_condition
        def __may_announce(self):
            return True

        @set_value.notify_condition
        def __may_notify(self, value):
            return value != 2

    source, block = nb.Single(value=1), Private()
    block.set_value.connect(source.get_value)
    assert block.get_value() == 1
    source.set_value(2)
    assert block.get_value() == 1
    source.set_value(3)
    assert block.get_value() == 3


def test_arguments_of_the_conditions_of_an_input():
    """Conditions of an input are called with (self) and (self, new value)."""
    asked = []

    class Asking(nb.Single):
        @Input("get_value")
        def set_value(self, value):
            self.value = value

        @set_value.announce_condition
        def may_announce(self):
            asked.append((self,))
            return True

        @set_value.notify_condition
        def may_notify(self, new_value):
            asked.append((self, new_value))
            return True

    source, block = nb.Single(value=1), Asking()
    block.set_value.connect(source.get_value)
    assert block.get_value() == 1
    assert (block,) in asked
    assert [entry for entry in asked if len(entry) == 2] == [(block, 1)]


def test_ids_that_announce_conditions_get():
    """In `announce`, the id is None until the value was first added, then the id."""
    source, block = nb.Single(value=1), nb.ConditionalMulti()
    block.add.connect(source.get_value)
    assert block.get() == (1,)
    assert {entry for entry in block.asked if entry[0] == "announce"} == {("announce", None)}
    block.asked.clear()
    source.set_value(2)
    assert {entry for entry in block.asked if entry[0] == "announce"} == {("announce", 0)}
    assert block.get() == (2,)


def test_keys_that_announce_conditions_get():
    """In `announce`, the id of a keyed connection is the key from the beginning."""
    source, block = nb.Single(value=1), nb.ConditionalMulti()
    block.add["k"].connect(source.get_value)
    assert block.get() == (1,)
    source.set_value(2)
    assert block.get() == (2,)
    assert {entry for entry in block.asked if entry[0] == "announce"} == {("announce", "k")}


def test_arguments_of_notify_conditions():
    """In `notify`, id and value are those of the change, and the value is None for a removal."""
    source, block = nb.Single(value=1), nb.ConditionalMulti()
    block.add.connect(source.get_value)
    assert block.get() == (1,)
    block.add.disconnect(source.get_value)
    notified = [entry for entry in block.asked if entry[0] == "notify"]
    assert notified == [("notify", 0, 1), ("notify", 0, None)]


@pytest.mark.parametrize("name", ["remove", "replace"])
def test_associates_are_made_per_access(name):
    """`remove` and `replace` give a new associate per access."""
    block = nb.Multi()
    assert getattr(block, name) is not getattr(block, name)


@pytest.mark.parametrize(
    ("kind", "expected"), [(nb.NoReplace, (2, 12, 13)), (nb.Multi, (2, 13, 12))]
)
def test_replacing(kind, expected):
    """Without a replace method a value that changes moves to the end."""
    block = kind()
    sources = [nb.Single(value=value) for value in (2, 11, 12)]
    for source in sources:
        block.add.connect(source.get_value)
    assert block.get() == (2, 11, 12)
    sources[1].set_value(13)
    assert block.get() == expected


def test_replacing_without_replace_uses_the_new_id():
    """Replacing is `remove(id)` and `add(value)`, and the new id is used from then on."""
    block, source, other = nb.NoReplace(), nb.Single(value=1), nb.Single(value=5)
    block.add.connect(source.get_value)
    block.add.connect(other.get_value)
    assert block.get() == (1, 5)
    for value in (2, 3):
        source.set_value(value)
        nb.taken(block.log)
        block.get()
        removed, added, got = nb.taken(block.log)
        assert removed.startswith("M.remove(")
        assert (added, got) == (f"M.add({value})", "M.get")
    assert tuple(block.data.values()) == (5, 3)


def test_an_unknown_id_is_only_added():
    """Without a replace method, an id that is not stored yet is only added."""
    block, source = nb.NoReplace(), nb.Single(value=1)
    block.add["new"].connect(source.get_value)
    assert block.get() == (1,)
    assert block.log == ["M.add(1)", "M.get"]


def test_replace_may_return_another_id():
    """`replace` returns the id under which the value is stored from then on."""

    class Moving(nb.Multi):
        @MultiInput("get")
        def add(self, value):
            return self.data.add(value)

        @add.remove
        def remove(self, data_id):
            self.note("remove", data_id)
            del self.data[data_id]

        @add.replace
        def replace(self, data_id, value):
            self.note("replace", data_id, value)
            self.data.pop(data_id, None)
            return self.data.add(value)

    block, source = Moving(), nb.Single(value=1)
    block.data.add("first")
    block.add.connect(source.get_value)
    assert block.get() == ("first", 1)
    block.data.add("last")
    source.set_value(2)
    assert block.get() == ("first", "last", 2)
    moved = list(block.data)[-1]
    nb.taken(block.log)
    block.add.disconnect(source.get_value)
    assert block.log == [f"M.remove({moved})"]


def test_keys_stay_normal_methods():
    """`keys` returns the function unchanged, with its docstring."""
    method = vars(nb.MultiOut)["keys"]
    assert inspect.isfunction(method)
    assert method.__doc__ == "Return the served keys."


@pytest.mark.parametrize(
    "kind", [list, set, iter, lambda keys: (key for key in keys), dict.fromkeys]
)
def test_keys_may_be_any_iterable(kind):
    """`keys` may return any iterable, also a generator."""

    class Serving(nb.Keyless):
        @MultiOutput()
        def get(self, key):
            return key

        @get.keys
        def keys(self):
            return kind([1, 2])

    source, sink = Serving(), nb.Keyed()
    sink.add.connect(source.get)
    assert sink.get() == {1: 1, 2: 2}
    assert source.keys() is not None


def test_no_keys_by_default():
    """Without a keys method no keys are served."""
    source, sink = nb.Keyless(), nb.Keyed()
    sink.add.connect(source.get)
    assert sink.get() == {}
    assert source.log == []
