"""Whatever the caller has, `executor` makes the executor that is meant, or says what is wrong."""

from __future__ import annotations

import concurrent.futures

import pytest

from connectors import settings
from connectors._errors import (
    ExecutorNotFoundError,
    ExecutorOpenError,
    OptionError,
    PluginLoadError,
    SettingsError,
)
from connectors._executor import Executor
from connectors._factory import executor
from connectors._flags import Parallelization
from connectors._registry import register
from connectors.settings import option

GOOD = """
    from connectors._executor import Executor
    from connectors.settings import option

    class Good(Executor):
        size: int = option(default=1, minimum=1, help="how big")
"""


class Unopenable(Executor):
    """Its engine is out of order."""

    closed_with = None

    def pools(self):
        return {Parallelization.THREAD: self._engine}

    def _engine(self):
        raise OSError("no engine here")

    def shutdown(self, wait=True, *, cancel_futures=False):
        type(self).closed_with = wait
        super().shutdown(wait, cancel_futures=cancel_futures)


class Sized(Executor):
    size: int = option(default=1, minimum=1, help="how big")
    flavour: str = option(default="plain", help="how it tastes")


@pytest.fixture
def sized(registry):
    register("sized", Sized)


def options(made):
    return {name: each.value for name, each in made.settings.items() if each.origin != "default"}


@pytest.mark.parametrize(
    ("args", "kwargs", "name", "given"),
    [
        ((), {}, "threading", {}),
        ((None,), {}, "threading", {}),
        ((), {"threads": 0}, "sequential", {}),
        ((), {"threads": 3}, "threading", {"threads": 3}),
        ((), {"threads": None}, "threading", {"threads": None}),
        ((), {"threads": 0, "processes": 2}, "multiprocessing", {"processes": 2}),
        ((), {"threads": 0, "processes": None}, "multiprocessing", {"processes": None}),
        ((), {"processes": 2}, "threading_multiprocessing", {"threads": None, "processes": 2}),
        ((), {"threads": 0, "processes": 0}, "sequential", {}),
        ((), {"processes": 0}, "threading", {"threads": None}),
        ((), {"threads": 3, "processes": 0}, "threading", {"threads": 3}),
        (
            (),
            {"threads": 3, "processes": 2},
            "threading_multiprocessing",
            {"threads": 3, "processes": 2},
        ),
        ((4, 2), {}, "threading_multiprocessing", {"threads": 4, "processes": 2}),
        ((None, 2), {}, "threading_multiprocessing", {"threads": None, "processes": 2}),
        ((4,), {"processes": 2}, "threading_multiprocessing", {"threads": 4, "processes": 2}),
        ((4,), {}, "threading", {"threads": 4}),
        ((0,), {}, "sequential", {}),
        ((0, 2), {}, "multiprocessing", {"processes": 2}),
        (("trio",), {"threads": 8}, "trio", {"threads": 8}),
        (("Threading+Multiprocessing",), {}, "threading_multiprocessing", {}),
        (("connectors-executors:trio",), {}, "trio", {}),
        ((), {"threads": 2, "strict": True}, "threading", {"threads": 2, "strict": True}),
    ],
)
def test_every_form_of_the_table(registry, args, kwargs, name, given):
    """Names, counts and nothing give the executor of the table in the design."""
    made = executor(*args, **kwargs)

    assert (made.name, options(made)) == (name, given)


def test_executor_is_returned_as_it_is(registry):
    """An executor is returned as it is, and takes no options any more."""
    made = executor("sequential")

    assert executor(made) is made
    with pytest.raises(OptionError, match="takes no options, and got strict"):
        executor(made, strict=True)
    with pytest.raises(OptionError, match="takes no options, and got 2"):
        executor(made, 2)


@pytest.mark.parametrize(
    ("args", "kwargs", "parts"),
    [
        (
            ("threading",),
            {"thread": 8},
            ["'thread'", "keyword argument", "Did you mean 'threads'?"],
        ),
        (("threading",), {"threads": "8"}, ["'threads'", "'8'", "int or None"]),
        (("threading",), {"threads": 0}, ["'threads'", "0", "at least 1"]),
        (("threading",), {"threads": True}, ["'threads'", "True"]),
        ((), {"threads": -1}, ["threads=-1", "expected 0 for none"]),
        ((), {"threads": 1, "processes": -2}, ["processes=-2", "expected 0 for none"]),
        ((), {"threads": 2.5}, ["threads=2.5"]),
        ((), {"threads": True}, ["threads=True"]),
        ((-4,), {}, ["threads=-4"]),
        ((4, "2"), {}, ["processes='2'"]),
        (("threading", 4), {}, ["executor('threading', 4)", "threads=4"]),
        ((4,), {"threads": 4}, ["threads is given by position and by name"]),
        (([],), {}, ["executor([])", "expected the name of an executor"]),
        ((["trio", 5],), {}, ["expected the name of an executor"]),
        ((True,), {}, ["executor(True)"]),
        ((2.5,), {}, ["executor(2.5)", "sequential, threading"]),
        ((concurrent.futures.Executor(),), {}, ["an executor of ours"]),
        ((), {"color": "red"}, ["'color'", "threading"]),
    ],
)
def test_bad_input_fails_at_once(registry, args, kwargs, parts):
    """A wrong option, count or name names the value and what is allowed, when it is given."""
    with pytest.raises(OptionError) as caught:
        executor(*args, **kwargs)

    assert [part for part in parts if part not in str(caught.value)] == []


def test_first_of_a_list_that_opens(registry):
    """Of a list the first that is installed and opens is taken, and the reasons are kept."""
    register("unopenable", Unopenable)

    with executor(["dask", "unopenable", "threading", "trio"]) as made:
        (first, *_) = made.decisions

    assert made.name == "threading"
    assert (first.chosen, list(first.rejected)) == ("threading", ["dask", "unopenable"])
    assert "pip install connectors-dask" in first.rejected["dask"]
    assert "no engine here" in first.rejected["unopenable"]
    assert Unopenable.closed_with is False


def test_list_passes_over_broken_plugins(install):
    """A plugin of a list that cannot be loaded is passed over."""
    install("rotten", executors={"rotten": "rotten:Good"}, modules={"rotten": "1 / 0"})

    with executor(["rotten", "sequential"]) as made:
        assert made.name == "sequential"
        assert "ZeroDivisionError" in made.decisions[0].rejected["rotten"]


def test_list_of_which_none_opens(registry):
    """If none of a list opens, the error has the reason of each."""
    register("unopenable", Unopenable)

    with pytest.raises(ExecutorOpenError) as caught:
        executor(["dask", "unopenable"])

    assert list(caught.value.reasons) == ["dask", "unopenable"]
    assert "no engine here" in str(caught.value)


def test_list_of_which_none_is_installed(registry):
    """If none of a list is installed, the error says so, and how to get each."""
    with pytest.raises(ExecutorNotFoundError) as caught:
        executor(["dask", "ray"])

    assert "pip install connectors-dask" in str(caught.value)
    assert "pip install connectors-ray" in str(caught.value)


def test_list_does_not_swallow_a_wrong_option(registry):
    """A wrong option of an executor in a list is an error, not a reason to take the next one."""
    with pytest.raises(OptionError, match="'theads'"):
        executor(["threading", "sequential"], theads=2)


def test_configured_executor(registry):
    """Without a name the settings choose, and the decision says which of them."""
    settings.configure(executor="trio")

    made = executor()

    assert made.name == "trio"
    assert (made.decisions[-1].chosen, made.decisions[-1].reason) == ("trio", "configure()")


def test_configured_list(registry):
    """The settings may give a list, of which the first that opens is taken."""
    settings.configure(executor=["dask", "sequential"])

    with executor() as made:
        assert made.name == "sequential"


def test_environment_and_file(registry, monkeypatch, tmp_path):
    """Options come from where they are set, and the executor knows where that is."""
    file = tmp_path / "connectors.toml"
    file.write_text('executor = "threading"\n[executors.threading]\nthreads = 7\ntimeout = 5\n')
    monkeypatch.setenv("CONNECTORS_CONFIG", str(file))
    monkeypatch.setenv("CONNECTORS_THREADING_THREADS", "6")

    made = executor(label="mine")

    assert options(made) == {"threads": 6, "timeout": 5, "label": "mine"}
    assert "CONNECTORS_THREADING_THREADS" in made.settings["threads"].origin
    assert str(file) in made.settings["timeout"].origin
    reasons = {each.subject: each.reason for each in made.decisions}
    assert "CONNECTORS_THREADING_THREADS" in reasons["option threads"]


def test_counts_are_asked_for_before_the_settings(registry):
    """Counts choose among the built-ins, whatever executor is configured."""
    settings.configure(executor="trio", profiles={"threading": {"executor": "sequential"}})

    assert executor(threads=2).name == "threading"


def test_profile(sized):
    """A profile stands for an executor with options; arguments go before those."""
    settings.configure(profiles={"big": {"executor": "sized", "size": 9, "flavour": "sweet"}})

    made = executor("BIG", flavour="sour")

    assert (made.name, options(made)) == ("sized", {"size": 9, "flavour": "sour"})
    assert [each.subject for each in made.decisions[:2]] == ["profile", "executor"]


def test_profile_of_a_profile(sized):
    """A profile may stand for another one; the options of the outer one count."""
    settings.configure(
        profiles={
            "outer": {"executor": "inner", "size": 3},
            "inner": {"executor": ["dask", "sized"], "size": 9, "flavour": "sweet"},
        }
    )

    with executor("outer") as made:
        assert options(made) == {"size": 3, "flavour": "sweet"}


def test_profile_with_the_name_of_its_executor(sized):
    """A profile may have the name of the executor that it is for."""
    settings.configure(profiles={"sized": {"executor": "sized", "size": 4}})

    assert options(executor("sized")) == {"size": 4}


def test_profiles_that_go_round(registry):
    """Profiles that stand for each other end in an error."""
    settings.configure(profiles={"ping": {"executor": "pong"}, "pong": {"executor": "ping"}})

    with pytest.raises(ExecutorNotFoundError, match="no executor 'ping'"):
        executor("ping")


def test_settings_import_no_address(install):
    """A name that comes from the settings never makes us import what it says."""
    install("secret", modules={"secret": GOOD})
    assert executor("secret:Good").name == "good"

    for setting in ({"executor": "secret:Good"}, {"executor": ["secret:Good"]}):
        settings.configure(**setting)
        with pytest.raises(ExecutorNotFoundError, match="import no addresses") as caught:
            executor()
        assert "The name stands in configure()" in str(caught.value)
    settings.configure(executor=None, profiles={"hidden": {"executor": "secret:Good"}})
    with pytest.raises(ExecutorNotFoundError, match="import no addresses"):
        executor("hidden")


def test_unknown_name_of_the_settings_says_where_it_stands(registry, monkeypatch):
    """A name that is not known is named with the place where it stands."""
    monkeypatch.setenv("CONNECTORS_EXECUTOR", "treading")

    with pytest.raises(ExecutorNotFoundError) as caught:
        executor()

    assert "Did you mean 'threading'?" in str(caught.value)
    assert "CONNECTORS_EXECUTOR" in str(caught.value)


def test_stranger_has_the_options_of_the_settings(install, monkeypatch):
    """An installed plugin takes its options from the settings as ours do, under any name."""
    install(
        "stranger",
        executors={"stranger": "stranger:Good", "odd": "stranger:Good"},
        modules={"stranger": GOOD},
    )
    settings.configure(executors={"odd": {"size": 5}})
    made = executor("odd")
    assert (made.name, options(made)) == ("stranger", {"size": 5})

    monkeypatch.setenv("CONNECTORS_STRANGER_SIZE", "8")
    settings.configure(executors=None)

    assert options(executor("odd")) == {"size": 8}
    assert "stranger 1.0" in executor("odd").decisions[0].reason


def test_usurper_does_not_get_the_options_of_the_builtin(install):
    """What has a built-in's name has options under its full name only."""
    install("usurper", executors={"threading": "usurper:Good"}, modules={"usurper": GOOD})
    settings.configure(
        executors={"threading": {"threads": 3}, "usurper:threading": {"size": 2}},
    )

    made = executor("usurper:threading")

    assert (made.name, options(made)) == ("usurper:threading", {"size": 2})


def test_alias_that_is_a_builtin_name_gets_none_of_its_options(install):
    """An alias that is a built-in's name brings none of the built-in's settings with it."""
    names = {"modest": "modest:Good", "threading": "modest:Good"}
    install("modest", executors=names, modules={"modest": GOOD})
    settings.configure(executors={"threading": {"threads": 3}})

    assert options(executor("modest")) == {}


def test_mistake_in_the_settings_is_an_error(registry):
    """An option in the settings that the executor does not have is an error that says where."""
    settings.configure(executors={"threading": {"theads": 3}})

    with pytest.raises(SettingsError, match=r"configure\(\)"):
        executor("threading")


def test_broken_plugin_is_an_error_when_asked_for(install):
    """A plugin that cannot be loaded is an error only for who asks for it."""
    install("rotten", executors={"rotten": "rotten:Good"}, modules={"rotten": "1 / 0"})

    assert executor("sequential").name == "sequential"
    with pytest.raises(PluginLoadError, match="ZeroDivisionError"):
        executor("rotten")


def test_default_of_a_class_is_its_own(registry):
    """A class that makes something of an option that nobody set is not disturbed."""

    class Clever(Executor):
        size: int = option(default=1, help="how big")

        def __init__(self, **given):
            super().__init__(**{"size": 42, **given})

    register("clever", Clever)

    assert executor("clever").settings["size"].value == executor("clever").size == 42
    assert executor("clever", size=3).size == 3
