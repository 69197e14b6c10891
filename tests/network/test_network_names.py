"""The names of the network, and what kinds of objects they are (section 1)."""

import collections
import enum
import inspect
import subprocess
import sys

import pytest

import acceptance_blocks as nb
import connectors

CLASSES = {
    "Connector": "instance method parallelization executor",
    "SingleInputConnector": "instance method observers laziness parallelization executor",
    "ConditionalSingleInputConnector": "instance method observers announce_condition"
    " notify_condition laziness parallelization executor",
    "MultiInputConnector": "instance method remove_method replace_method observers laziness"
    " parallelization executor",
    "ConditionalMultiInputConnector": "instance method remove_method replace_method observers"
    " announce_condition notify_condition laziness parallelization executor",
    "OutputConnector": "instance method caching parallelization executor",
    "MultiOutputConnector": "instance method caching parallelization executor keys",
    "MacroInputConnector": "instance method",
    "MacroOutputConnector": "instance method",
    "MultiInputAssociateProxy": "instance method observers executor",
}


def real(block, name, *args):
    """Make a connector real and return it."""
    getattr(block, name).set_parallelization(nb.THREAD)
    return getattr(block, name)


@pytest.mark.parametrize("name", ["blocks", "connectors"])
def test_importing_the_package_gives_the_submodules(name):
    """`import connectors` makes the submodules `blocks` and `connectors` available."""
    code = f"import connectors; print(connectors.{name}.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == (f"connectors.{name}", "")


@pytest.mark.parametrize(
    "name", ["Output", "Input", "MultiInput", "MultiOutput", "MacroInput", "MacroOutput"]
)
def test_decorators_are_classes(name):
    """The method decorators are classes."""
    assert inspect.isclass(getattr(connectors, name))


@pytest.mark.parametrize("kind", [connectors.MacroInput, connectors.MacroOutput])
def test_macro_decorators_take_no_arguments(kind):
    """Macro decorators have no constructor arguments."""
    kind()
    with pytest.raises(TypeError):
        kind(executor="threading")


def test_multi_input_data_is_an_ordered_dict():
    """`MultiInputData` is an `OrderedDict` subclass."""
    assert issubclass(connectors.MultiInputData, collections.OrderedDict)


def test_laziness():
    """`Laziness` is a unique, ordered IntEnum with four members and a default."""
    assert issubclass(connectors.Laziness, enum.IntEnum)
    members = {name: int(member) for name, member in connectors.Laziness.__members__.items()}
    assert members == {"ON_REQUEST": 1, "ON_NOTIFY": 2, "ON_ANNOUNCE": 3, "ON_CONNECT": 4}
    assert nb.ON_REQUEST < nb.ON_NOTIFY < nb.ON_ANNOUNCE < nb.ON_CONNECT
    assert connectors.Laziness.default() is connectors.Laziness.ON_REQUEST


def test_parallelization():
    """`Parallelization` is an enum of three levels."""
    members = {
        name: member.value for name, member in connectors.Parallelization.__members__.items()
    }
    assert members == {"SEQUENTIAL": 1, "THREAD": 2, "PROCESS": 3}


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("output", nb.THREAD),
        ("multioutput", nb.THREAD),
        ("input", nb.SEQUENTIAL),
        ("multiinput", nb.SEQUENTIAL),
    ],
)
def test_default_parallelizations(kind, level):
    """Outputs default to THREAD and inputs to SEQUENTIAL."""
    assert getattr(connectors.Parallelization, f"default_{kind}_parallelization")() is level


def test_errors():
    """The errors of the network derive from the library's base and from what one expects."""
    assert issubclass(connectors.BlockGoneError, connectors.ConnectorsError)
    assert issubclass(connectors.BlockGoneError, AttributeError)
    assert issubclass(connectors.CycleError, connectors.ConnectorsError)


@pytest.mark.parametrize("name", ["Multiplexer", "PassThrough", "WeakrefProxyGenerator"])
def test_blocks(name):
    """`connectors.blocks` has the three blocks."""
    assert inspect.isclass(getattr(connectors.blocks, name))


@pytest.mark.parametrize("name", CLASSES)
def test_constructor_arguments_have_their_names_and_order(name):
    """The classes of `connectors.connectors` have the documented constructor arguments."""
    signature = inspect.signature(getattr(connectors.connectors, name).__init__)
    assert list(signature.parameters) == ["self", *CLASSES[name].split()]
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_can_be_documented(name):
    """The classes of `connectors.connectors` exist for documentation: they have a signature."""
    signature = inspect.signature(getattr(connectors.connectors, name))
    assert list(signature.parameters) == CLASSES[name].split()


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("SingleInputConnector", "Connector"),
        ("ConditionalSingleInputConnector", "SingleInputConnector"),
        ("MultiInputConnector", "Connector"),
        ("ConditionalMultiInputConnector", "MultiInputConnector"),
        ("OutputConnector", "Connector"),
        ("MultiOutputConnector", "Connector"),
        ("MultiInputProxy", "SingleInputProxy"),
    ],
)
def test_base_classes(name, base):
    """The classes of `connectors.connectors` derive from each other as documented."""
    names = connectors.connectors
    assert issubclass(getattr(names, name), getattr(names, base))


@pytest.mark.parametrize("name", ["MacroInputConnector", "MacroOutputConnector"])
def test_macro_connectors_are_no_connectors(name):
    """Macro connectors are no `Connector` subclasses."""
    names = connectors.connectors
    assert not issubclass(getattr(names, name), names.Connector)


@pytest.mark.parametrize(
    ("block", "name", "kind"),
    [
        (nb.Single(), "set_value", "SingleInputProxy"),
        (nb.Multi(), "add", "MultiInputProxy"),
        (nb.Multi(), "remove", "MultiInputAssociateProxy"),
        (nb.Multi(), "replace", "MultiInputAssociateProxy"),
        (nb.Single(), "get_value", "OutputProxy"),
        (nb.MultiOut(), "get", "MultiOutputProxy"),
        (nb.Macro(), "set_input1", "MacroInputConnector"),
        (nb.Macro(), "get_output1", "MacroOutputConnector"),
    ],
)
def test_kinds_of_attributes(block, name, kind):
    """What attribute access gives is an instance of the documented class."""
    assert isinstance(getattr(block, name), getattr(connectors.connectors, kind))


@pytest.mark.parametrize(
    ("block", "name", "kind"),
    [
        (nb.Single(), "set_value", "SingleInputConnector"),
        (nb.AnnounceSingle(), "set_value", "ConditionalSingleInputConnector"),
        (nb.NotifySingle(), "set_value", "ConditionalSingleInputConnector"),
        (nb.Multi(), "add", "MultiInputConnector"),
        (nb.ConditionalMulti(), "add", "ConditionalMultiInputConnector"),
        (nb.Single(), "get_value", "OutputConnector"),
        (nb.MultiOut(), "get", "MultiOutputConnector"),
    ],
)
def test_kinds_of_real_connectors(block, name, kind):
    """A real connector is an instance of the documented class."""
    connector = real(block, name)
    assert isinstance(connector, getattr(connectors.connectors, kind))
    assert isinstance(connector, connectors.connectors.Connector)


@pytest.mark.parametrize(
    ("block", "name", "doc"),
    [
        (nb.Single(), "set_value", "Set the value."),
        (nb.Multi(), "add", "Add a value."),
        (nb.ConditionalMulti(), "add", "Add a value."),
        (nb.Single(), "get_value", "Return the value."),
        (nb.MultiOut(), "get", "Return the product with a key."),
    ],
)
def test_method_of_a_real_connector(block, name, doc):
    """`_method` of a real connector is the undecorated function."""
    method = real(block, name)._method
    assert (inspect.isfunction(method), method.__name__, method.__doc__) == (True, name, doc)


@pytest.mark.parametrize("name", ["remove", "replace"])
def test_method_of_an_associate(name):
    """An associate is of a class `MultiInputAssociateProxy` with a private `__method`."""
    associate = getattr(nb.Multi(), name)
    assert type(associate).__name__ == "MultiInputAssociateProxy"
    assert associate._MultiInputAssociateProxy__method.__name__ == name


def test_methods_of_macro_connectors():
    """Macro connectors have a private `__method`."""
    macro = nb.Macro()
    assert macro.set_input1._MacroInputConnector__method.__name__ == "set_input1"
    assert macro.get_output1._MacroOutputConnector__method.__name__ == "get_output1"
