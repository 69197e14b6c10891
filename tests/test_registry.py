"""Names stand for executors, and only what is asked for is loaded."""

from __future__ import annotations

import sys
import threading

import pytest

from connectors import settings
from connectors._errors import (
    ExecutorNotFoundError,
    PluginClashError,
    PluginLoadError,
    SettingsError,
)
from connectors._executor import Executor
from connectors._hookspecs import hookimpl
from connectors._registry import (
    available_executors,
    executor_class,
    plugins,
    register,
    register_plugin,
    unregister,
)

GOOD = """
    from connectors._executor import Executor

    class Good(Executor):
        pass
"""

PROVIDER = """
    from connectors._executor import Executor
    from connectors._hookspecs import hookimpl

    class One(Executor):
        pass

    class Two(Executor):
        pass

    @hookimpl
    def connectors_executors():
        return {names}
"""


class Mine(Executor):
    pass


class Yours(Executor):
    pass


def info(name, distribution=None):
    return next(
        info
        for info in available_executors()
        if info.name == name and distribution in (None, info.distribution)
    )


def error_of(kind, name):
    with pytest.raises(kind) as caught:
        executor_class(name)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["threading_multiprocessing", "threading+multiprocessing", "Threading.Multi Processing"],
)
def test_names_compare_normalised(registry, name):
    """Case, dashes, underscores, dots, plus signs and spaces do not matter in a name."""
    assert executor_class(name).__name__ == "ThreadingMultiprocessingExecutor"


def test_list_imports_no_plugin(install):
    """Listing tells name, aliases, distribution, version and address, and imports nothing."""
    install(
        "stranger-good",
        "2.5",
        executors={"good": "stranger_good:Good", "fine": "stranger_good:Good"},
        modules={"stranger_good": GOOD},
    )

    good = info("good")

    assert (good.aliases, good.distribution, good.version) == (("fine",), "stranger-good", "2.5")
    assert (good.value, good.state, good.error) == ("stranger_good:Good", "not loaded", None)
    assert (good.builtin, good.clashes, good.address) == (False, (), "good")
    assert "stranger_good" not in sys.modules


def test_only_the_chosen_plugin_is_loaded(install):
    """Choosing one plugin leaves another one alone; what is loaded is listed as such."""
    install("chosen", executors={"chosen": "chosen:Good"}, modules={"chosen": GOOD})
    install("other", executors={"other": "other:Good"}, modules={"other": GOOD})

    assert executor_class("chosen") is executor_class("chosen")
    assert (info("chosen").state, info("other").state) == ("loaded", "not loaded")
    assert "other" not in sys.modules


def test_alias_gives_the_same_class(install):
    """A second entry-point name chooses the same class."""
    install("ali", executors={"a1": "ali:Good", "b1": "ali:Good"}, modules={"ali": GOOD})

    assert executor_class("b1") is executor_class("A_1")


@pytest.mark.parametrize(
    ("value", "source", "reason"),
    [
        ("bad_plugin:Good", "1 / 0", "importing bad_plugin raised ZeroDivisionError"),
        ("bad_plugin:Good", "import sys; sys.exit(3)", "importing bad_plugin raised SystemExit: 3"),
        ("bad_plugin:Good", "import not_there_at_all", "No module named 'not_there_at_all'"),
        ("bad_plugin:Good", "", "there is no 'Good' in module 'bad_plugin'"),
        ("bad_plugin_2:Good", "", "there is no module 'bad_plugin_2'"),
        ("bad_plugin:Good", "class Good: pass", "neither a subclass of connectors.Executor"),
        ("bad_plugin", "", "the module bad_plugin is neither a subclass"),
        ("bad_plugin:Good", "Good = 5", "the int 5 is neither a subclass"),
        ("not an address", "", "'not an address' is not of the form 'package.module:Class'"),
    ],
)
def test_broken_plugin_is_isolated(install, value, source, reason):
    """A plugin that cannot be used is an error with a cure when asked for, and only then."""
    install("bad-plugin", "0.3", executors={"bad": value}, modules={"bad_plugin": source})

    assert info("bad").state == "not loaded"
    message = error_of(PluginLoadError, "bad")

    assert "plugin 'bad' of bad-plugin 0.3 cannot be used" in message
    assert reason in message
    assert (info("bad").state, info("bad").error) == ("broken", message)
    assert executor_class("sequential").__name__ == "SequentialExecutor"


def test_attribute_that_raises_is_told(install):
    """An attribute that raises while it is looked up is told as what it is."""
    source = "def __getattr__(name): raise OSError('disk is gone')"
    install("lazy", executors={"lazy": "lazy:Thing"}, modules={"lazy": source})

    assert "lazy:Thing raised OSError: disk is gone" in error_of(PluginLoadError, "lazy")


def test_repaired_plugin_is_loaded_at_the_next_try(install):
    """A plugin that failed is tried again when it is asked for again."""
    info_path = install("fixme", executors={"fixme": "fixme:Good"})
    error_of(PluginLoadError, "fixme")
    (info_path.parent / "fixme.py").write_text(
        "from connectors._executor import Executor\nclass Good(Executor): pass\n"
    )

    assert executor_class("fixme").__name__ == "Good"
    assert info("fixme").state == "loaded"


@pytest.mark.parametrize(
    ("version", "cure"),
    [("2", "pip install --upgrade connectors-executors"), ("0", "pip install --upgrade versioned")],
)
def test_hook_api_mismatch_names_both_versions(install, version, cure):
    """A plugin for another hook API says both versions and which distribution to upgrade."""
    source = GOOD.replace("pass", f"hook_api = {version}")
    install("versioned", executors={"versioned": "versioned:Good"}, modules={"versioned": source})

    message = error_of(PluginLoadError, "versioned")

    assert f"written for hook API {version}, and this connectors has hook API 1" in message
    assert cure in message


def test_hook_api_is_an_integer(install):
    """A hook API version that is no integer is an error that says so."""
    source = GOOD.replace("pass", "hook_api = '1'")
    install("texty", executors={"texty": "texty:Good"}, modules={"texty": source})

    assert "its hook_api is '1'" in error_of(PluginLoadError, "texty")


def test_two_distributions_with_one_name_clash(install):
    """A name that two distributions offer is an error that tells how to choose, and that works."""
    for name in ("left", "right"):
        install(name, executors={"pool": f"{name}:Good"}, modules={name: GOOD})

    message = error_of(PluginClashError, "pool")

    assert "'left:pool'" in message
    assert "'right:pool'" in message
    assert executor_class("right:pool").__module__ == "right"
    assert info("pool", "left").clashes == ("right 1.0",)
    assert info("pool", "left").address == "left:pool"


def test_blocking_one_side_settles_a_clash(install, monkeypatch):
    """When one of two distributions is blocked, the name stands for the other one."""
    for name in ("left", "right"):
        install(name, executors={"pool": f"{name}:Good"}, modules={name: GOOD})
    monkeypatch.setenv("CONNECTORS_DISABLE_PLUGINS", "left:pool")

    assert executor_class("pool").__module__ == "right"


def test_builtin_name_is_not_taken_over(install):
    """Another distribution that offers a built-in's name is reported, and chosen in full only."""
    install("usurper", executors={"Threading": "usurper:Good"}, modules={"usurper": GOOD})

    assert executor_class("threading").__module__ == "connectors.executors.threading"
    assert executor_class("usurper:threading").__module__ == "usurper"
    assert info("threading").clashes == ("usurper 1.0",)
    assert info("threading").address == "threading"
    assert info("Threading").address == "usurper:Threading"


def test_blocked_builtin_is_not_taken_over_either(install, monkeypatch):
    """A built-in that is blocked leaves its name to nobody."""
    install("usurper", executors={"threading": "usurper:Good"}, modules={"usurper": GOOD})
    monkeypatch.setenv("CONNECTORS_DISABLE_PLUGINS", "connectors-executors:threading")

    assert "blocked by environment variable" in error_of(ExecutorNotFoundError, "threading")


def test_blocked_name_is_not_loaded(install, monkeypatch):
    """A blocked plugin is listed as blocked with the place that says so, under any of its names."""
    install(
        "blockable",
        executors={"blockable": "blockable:Good", "alias": "blockable:Good"},
        modules={"blockable": GOOD},
    )
    monkeypatch.setenv("CONNECTORS_DISABLE_PLUGINS", "Block-able")

    message = error_of(ExecutorNotFoundError, "alias")

    assert "blocked by environment variable CONNECTORS_DISABLE_PLUGINS" in message
    assert "blockable" not in message.partition("installed:")[2].partition(".")[0]
    assert info("blockable").state == "blocked"
    assert "CONNECTORS_DISABLE_PLUGINS" in info("blockable").error


def test_settings_can_block_names(registry):
    """What the settings disable is blocked."""
    settings.configure(disable_plugins=["trio"])

    assert "blocked by configure()" in error_of(ExecutorNotFoundError, "trio")


def test_unknown_name_says_what_there_is(registry):
    """An unknown name gets what is installed and the closest name."""
    message = error_of(ExecutorNotFoundError, "treading")

    assert "installed: sequential, threading, multiprocessing" in message
    assert "Did you mean 'threading'?" in message


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_well_known_name_says_what_to_install(registry, monkeypatch, name):
    """A well-known executor that is not installed is named with its distribution."""
    message = error_of(ExecutorNotFoundError, name.upper())

    assert f"pip install connectors-{name}" in message


def test_wrong_distribution_says_who_offers_the_name(registry):
    """A known name of a distribution that does not offer it is answered with those that do."""
    message = error_of(ExecutorNotFoundError, "nobody:threading")

    assert "'connectors-executors:threading'" in message


def test_registered_class_is_equal_in_rank(registry):
    """A class registered in code is found by name, listed, and gone when it is unregistered."""
    register("mine", Mine)

    assert executor_class("MINE") is Mine
    assert info("mine").state == "loaded"
    assert info("mine").distribution == Mine.__module__.partition(".")[0]
    unregister("mine")
    error_of(ExecutorNotFoundError, "mine")


def test_registered_address_is_imported_when_asked_for(install):
    """An address registered in code is not imported before it is asked for."""
    install("addressed", modules={"addressed": GOOD})
    register("late", "addressed:Good", distribution="some-host")

    assert info("late").distribution == "some-host"
    assert "addressed" not in sys.modules
    assert executor_class("some-host:late").__module__ == "addressed"


def test_registered_and_installed_clash(install):
    """A name that is registered and installed is a clash, unless both are the same class."""
    install("both", executors={"both": "both:Good"}, modules={"both": GOOD})
    register("both", "both:Good")
    assert executor_class("both").__module__ == "both"
    unregister("both")

    register("both", Mine, distribution="host")

    assert "'both:both' or 'host:both'" in error_of(PluginClashError, "both")


def test_registering_twice(registry):
    """The same class may be registered again; another one needs the name to be free."""
    register("mine", Mine)
    register("mine", Mine)

    register("yours", Yours)

    with pytest.raises(SettingsError, match=r"unregister\('mine'\) first"):
        register("mine", Yours)
    assert [info.name for info in available_executors()].count("mine") == 1


def test_redefined_class_takes_the_place_of_the_old_one(registry):
    """A class that is defined and registered again, as in a notebook, replaces itself."""
    old = type("Cell", (Executor,), {"__module__": "__main__"})
    new = type("Cell", (Executor,), {"__module__": "__main__"})
    register("cell", old)
    executor_class("cell")

    register("cell", new)

    assert executor_class("cell") is new


def test_builtin_name_cannot_be_registered(registry):
    """A built-in's name is registered for a distribution only, and never stands alone."""
    with pytest.raises(SettingsError, match="belongs to a built-in executor"):
        register("threading", Mine)
    register("threading", Mine, distribution="mine")

    assert executor_class("threading") is not Mine
    assert executor_class("mine:threading") is Mine


@pytest.mark.parametrize(
    ("name", "target", "kind"),
    [
        ("", Mine, SettingsError),
        ("a:b", Mine, SettingsError),
        (None, Mine, SettingsError),
        ("mine", "no address", SettingsError),
        ("mine", "only.a.module", SettingsError),
        ("mine", int, PluginLoadError),
        ("mine", 5, PluginLoadError),
    ],
)
def test_nonsense_is_not_registered(registry, name, target, kind):
    """What is no name, no address or no executor is refused at once."""
    with pytest.raises(kind):
        register(name, target)


def test_unregistering_what_is_not_registered(registry):
    """Only registered names can be unregistered; a built-in cannot."""
    with pytest.raises(ExecutorNotFoundError, match="no executor 'threading'"):
        unregister("threading")


def test_address_from_code(install):
    """Code may name a class by its address; an installed one is then found under its name."""
    install("pathy", executors={"pathy": "pathy:Good"}, modules={"pathy": GOOD})

    assert executor_class("pathy:Good").__module__ == "pathy"
    assert executor_class(f"{__name__}:Mine") is Mine
    assert info("pathy").state == "loaded"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("collections:OrderedDict", "neither a subclass of connectors.Executor"),
        ("not_there_at_all:Thing", "there is no module 'not_there_at_all'"),
    ],
)
def test_address_of_no_executor(registry, address, reason):
    """An address that gives no executor is an error that says what it gives."""
    assert reason in error_of(PluginLoadError, address)


def test_plugin_provides_the_class(install):
    """An entry point may name a plugin, which provides one class under whatever name."""
    source = PROVIDER.format(names="{'whatever': One}")
    install("prov", executors={"prov": "prov", "p": "prov"}, modules={"prov": source})

    assert executor_class("prov").__name__ == "One"
    assert executor_class("p") is executor_class("prov")
    error_of(ExecutorNotFoundError, "whatever")


def test_plugin_provides_a_class_per_name(install):
    """A plugin that provides several classes gives each entry point that of its name."""
    source = PROVIDER.format(names="{'prov': One, 'prov-gpu': Two}")
    install("prov2", executors={"prov": "prov2", "prov_gpu": "prov2"}, modules={"prov2": source})

    assert executor_class("prov_gpu").__name__ == "Two"
    assert executor_class("prov").__name__ == "One"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("{}", "provides nothing, and no 'odd'"),
        ("{'a': One, 'b': Two}", "provides a, b, and no 'odd'"),
        ("{'odd': int}", "neither a subclass of connectors.Executor"),
        ("1 / 0", "its hook connectors_executors raised ZeroDivisionError"),
        ("None", "provides nothing"),
    ],
)
def test_plugin_that_does_not_provide(install, names, reason):
    """A plugin that provides no class for its entry point is an error that says what it gave."""
    install("odd", executors={"odd": "odd"}, modules={"odd": PROVIDER.format(names=names)})

    assert reason in error_of(PluginLoadError, "odd")


def test_plugin_without_the_hook(install):
    """A plugin of an executor's entry point that has other hooks only is an error."""
    source = """
        from connectors._hookspecs import hookimpl

        @hookimpl
        def connectors_event():
            pass
    """
    other = PROVIDER.format(names="{'extra': One}")
    install("watcher", executors={"watcher": "watcher"}, modules={"watcher": source})
    install("prov5", plugins={"other": "prov5"}, modules={"prov5": other})

    assert "provides nothing, and no 'watcher'" in error_of(PluginLoadError, "watcher")


def test_active_plugin_provides_names(install):
    """What a plugin of the group connectors.plugins provides can be chosen by name."""
    source = PROVIDER.format(names="{'extra': One, 'threading': Two, 'bad': int}")
    install("active", plugins={"active": "active_one"}, modules={"active_one": source})

    assert executor_class("extra").__name__ == "One"
    assert executor_class("threading").__module__ == "connectors.executors.threading"
    assert info("extra").distribution == "active"


def test_plugin_of_an_entry_point_provides_under_its_names_only(install):
    """What a plugin provides beyond its entry points does not depend on whether it was loaded."""
    source = PROVIDER.format(names="{'prov': One, 'more': Two}")
    install("prov3", executors={"prov": "prov3"}, modules={"prov3": source})
    other = PROVIDER.format(names="{'extra': One}")
    install("prov4", plugins={"other": "prov4"}, modules={"prov4": other})

    assert executor_class("prov").__name__ == "One"
    register_plugin(type("Silent", (), {"connectors_executors": hookimpl(lambda self: None)})())

    error_of(ExecutorNotFoundError, "more")
    assert executor_class("extra").__module__ == "prov4"


def test_plugin_in_both_groups_offers_its_name_once(install):
    """A plugin that is always active and has an entry point for its executor is no clash."""
    source = PROVIDER.format(names="{'twice': One}")
    install(
        "twice", executors={"twice": "twice"}, plugins={"t": "twice"}, modules={"twice": source}
    )

    assert executor_class("twice").__name__ == "One"
    assert [info.name for info in available_executors()].count("twice") == 1


def test_plugins_are_listed(install, monkeypatch):
    """The plugins that are always active are listed with what became of them."""
    source = PROVIDER.format(names="{}")
    install("fine-one", plugins={"fine": "fine_one"}, modules={"fine_one": source})
    install("bad-one", plugins={"bad": "bad_one"}, modules={"bad_one": "1 / 0"})
    install("off-one", plugins={"off": "off_one"}, modules={"off_one": source})
    monkeypatch.setenv("CONNECTORS_DISABLE_PLUGINS", "off")
    before = {plugin.name: plugin.state for plugin in plugins()}

    executor_class("sequential")

    assert before == {"off": "blocked", "bad": "not loaded", "fine": "not loaded"}
    after = {plugin.name: (plugin.state, plugin.distribution) for plugin in plugins()}
    assert after == {
        "off": ("blocked", "off-one"),
        "bad": ("broken", "bad-one"),
        "fine": ("loaded", "fine-one"),
    }
    assert "off_one" not in sys.modules


def test_many_threads_get_one_class(install):
    """Threads that ask for one plugin at the same time get the same class."""
    install("shared", executors={"shared": "shared_one:Good"}, modules={"shared_one": GOOD})
    gate = threading.Barrier(8)
    classes = []

    def ask():
        gate.wait()
        classes.append(executor_class("shared"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(classes) == 8
    assert len(set(classes)) == 1
