"""Plugins are heard through hooks, and none of them harms a call or another plugin."""

from __future__ import annotations

import sys
import threading

import pytest

from connectors import events
from connectors._errors import ExecutorNotFoundError, PluginLoadError
from connectors._executor import Executor
from connectors._factory import executor
from connectors._hookspecs import HOOK_API, hookimpl
from connectors._registry import plugins, register_plugin, unregister_plugin

RECORDER = """
    from connectors._hookspecs import hookimpl

    heard = []

    @hookimpl
    def connectors_event(event):
        heard.append(type(event).__name__)
"""


class Recorder:
    """Writes down what it hears."""

    def __init__(self):
        self.heard = []

    @hookimpl
    def connectors_executor_opened(self, executor):
        self.heard.append(("opened", executor.name))

    @hookimpl
    def connectors_executor_closed(self, executor):
        self.heard.append(("closed", executor.name))

    @hookimpl
    def connectors_event(self, event):
        self.heard.append(type(event).__name__)


class Failing:
    """Raises in every hook."""

    @hookimpl
    def connectors_executor_opened(self):
        raise OSError("opened")

    @hookimpl
    def connectors_event(self):
        raise OSError("event")

    @hookimpl
    def connectors_adjust_settings(self):
        raise OSError("adjust")

    @hookimpl
    def connectors_executors(self):
        raise OSError("executors")


class Adjuster:
    """Does to the options what it is told."""

    def __init__(self, change):
        self.change = change

    @hookimpl
    def connectors_adjust_settings(self, name, options):
        self.change(name, options)


def test_hook_api_is_that_of_the_executor():
    """There is one hook API version, and executors have it unless they say otherwise."""
    assert HOOK_API == Executor.hook_api == 1


def test_plugin_hears_events_and_openings(registry):
    """A plugin hears of events and of executors that open and close."""
    recorder = Recorder()
    register_plugin(recorder)

    with executor("threading", threads=1) as made:
        made.submit(abs, -1).result()

    assert ("opened", "threading") in recorder.heard
    assert recorder.heard[-1] == ("closed", "threading")
    assert "CallSubmitted" in recorder.heard


def test_failing_plugin_harms_nobody(registry, caplog):
    """A plugin that raises in every hook is logged by name; calls and other plugins go on."""
    first, last = Recorder(), Recorder()
    register_plugin(first)
    register_plugin(Failing(), "spoiler")
    register_plugin(last)

    with executor("threading", threads=1) as made:
        assert made.submit(abs, -1).result() == 1

    assert first.heard == last.heard
    assert ("opened", "threading") in first.heard
    for hook in ("executors", "adjust_settings", "executor_opened", "event"):
        assert f"the hook connectors_{hook} of plugin 'spoiler' raised" in caplog.text
    # The traceback is written once, however often the hook raises.
    assert caplog.text.count('OSError("event")') == 1


def test_nobody_observes_without_a_plugin_that_does(registry):
    """Events are made while some plugin wants them, and no longer."""
    adjuster = Adjuster(lambda name, options: None)
    register_plugin(adjuster)
    assert not events.observed()
    recorder = Recorder()
    register_plugin(recorder)
    assert events.observed()

    unregister_plugin(recorder)

    assert not events.observed()


def test_installed_plugin_is_active_with_the_first_executor(install):
    """A plugin of the group connectors.plugins is loaded once, with the first executor."""
    install("rec", plugins={"rec": "rec_one"}, modules={"rec_one": RECORDER})
    assert "rec_one" not in sys.modules

    for _ in range(2):
        with executor("sequential") as made:
            made.submit(abs, -1).result()

    assert sys.modules["rec_one"].heard.count("CallSubmitted") == 2


def test_one_object_under_two_names_is_active_once(install):
    """A plugin with several entry points is one plugin."""
    names = {"rec": "rec_two", "again": "rec_two", "once-more": "rec_two "}
    install("rec", plugins=names, modules={"rec_two": RECORDER})

    with executor("sequential") as made:
        made.submit(abs, -1).result()

    assert sys.modules["rec_two"].heard.count("CallSubmitted") == 1


def test_broken_plugin_is_left_out(install, caplog):
    """A plugin that cannot be imported is logged with its distribution, and all else works."""
    install("rec", plugins={"rec": "rec_three"}, modules={"rec_three": RECORDER})
    install("smashed", "9.9", plugins={"smashed": "smashed"}, modules={"smashed": "1 / 0"})

    executor("sequential").close()
    executor("sequential").close()

    assert caplog.text.count("plugin 'smashed' of smashed 9.9 cannot be used") == 1
    assert "rec_three" in sys.modules


def test_executor_in_the_wrong_group(install, caplog):
    """An executor class in the group of plugins is told where it belongs."""
    source = "from connectors._executor import Executor\nclass Good(Executor): pass\n"
    install("misplaced", plugins={"x": "misplaced:Good"}, modules={"misplaced": source})

    executor("sequential").close()

    assert "the entry-point group connectors.executors" in caplog.text


def test_plugin_that_makes_an_executor_while_it_is_imported(install):
    """A plugin may make an executor while it is imported."""
    source = (
        RECORDER + "\n    from connectors._factory import executor\n    executor('trio').close()"
    )
    install("eager", plugins={"eager": "eager_one"}, modules={"eager_one": source})

    executor("sequential").close()

    assert [(plugin.name, plugin.state) for plugin in plugins()] == [("eager", "loaded")]


def test_adjusted_options_count(registry):
    """A plugin changes options before the executor is made, and is named as their origin."""
    register_plugin(Adjuster(lambda name, options: options.update(threads=3)), "tuner")

    made = executor("threading", threads=2)

    assert made.threads == 3
    assert (made.settings["threads"].value, made.settings["threads"].origin) == (
        3,
        "plugin 'tuner'",
    )


def test_adjusted_options_are_checked(registry, caplog):
    """What a plugin changes to nonsense is logged and left as it was."""
    register_plugin(Adjuster(lambda name, options: options.update(threads="many")), "tuner")

    assert executor("threading", threads=2).threads == 2
    assert "connectors_adjust_settings of plugin 'tuner' raised" in caplog.text
    assert "option 'threads'" in caplog.text


def test_adjusting_one_after_the_other(registry):
    """Each plugin sees what those before it made of the options."""
    seen = []
    register_plugin(Adjuster(lambda name, options: seen.append(options["threads"])))
    register_plugin(Adjuster(lambda name, options: options.update(threads=5)))

    executor("threading", threads=2)

    assert seen == [5]


def misspelt():
    class Plugin:
        @hookimpl
        def connectors_evnt(self, event):
            pass

    return Plugin()


def wrong_arguments():
    class Plugin:
        @hookimpl
        def connectors_event(self, happening):
            pass

    return Plugin()


def wrapper():
    class Plugin:
        @hookimpl(wrapper=True)
        def connectors_event(self, event):
            yield

    return Plugin()


def for_another_version():
    plugin = Recorder()
    plugin.hook_api = 7
    return plugin


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (misspelt, "Did you mean 'connectors_event'?"),
        (wrong_arguments, "'happening'"),
        (wrapper, "its hook 'connectors_event' is a wrapper"),
        (object, "has no hooks"),
        (lambda: Executor, "is an executor, not a plugin"),
        (for_another_version, "hook API 7, and this connectors has hook API 1"),
    ],
)
def test_plugin_that_does_not_fit_is_refused(registry, make, reason):
    """A hook that nobody specified, or with other arguments, is an error at registration."""
    with pytest.raises(PluginLoadError) as caught:
        register_plugin(make(), "odd")

    assert reason in str(caught.value)
    assert registry.plugins.names() == {}


def test_hook_under_another_name(registry):
    """An implementation may have a name of its own and say which hook it is for."""
    heard = []

    class Plugin:
        @hookimpl(specname="connectors_executor_opened")
        def listen(self, executor):
            heard.append(executor.name)

    register_plugin(Plugin())
    with executor("threading", threads=1) as made:
        made.open()

    assert heard == ["threading"]


def test_registering_a_plugin_twice(registry):
    """The same plugin stays registered under its first name; two of a kind get a name each."""
    one, two = Recorder(), Recorder()

    assert register_plugin(one) == register_plugin(one, "other") == "Recorder"
    assert register_plugin(two) == "Recorder-2"


def test_name_of_a_plugin_is_taken(registry):
    """A name that another plugin has is refused."""
    register_plugin(Recorder(), "one")

    with pytest.raises(PluginLoadError, match="another plugin is registered as 'one'"):
        register_plugin(Recorder(), "one")


def test_unregistering(registry):
    """A plugin is unregistered by itself or by its name, and hears nothing more."""
    one, two = Recorder(), Recorder()
    register_plugin(one)
    register_plugin(two, "two")

    unregister_plugin(one)
    unregister_plugin("two")
    executor("threading").close()

    assert one.heard == two.heard == []
    with pytest.raises(ExecutorNotFoundError, match="'two'"):
        unregister_plugin("two")


def test_provided_by_a_registered_plugin(registry):
    """A plugin object of the host provides executors as long as it is registered."""

    class Mine(Executor):
        pass

    class Plugin:
        @hookimpl
        def connectors_executors(self):
            return {"mine": Mine}

    plugin = Plugin()
    register_plugin(plugin)
    assert type(executor("mine")) is Mine

    unregister_plugin(plugin)

    with pytest.raises(ExecutorNotFoundError):
        executor("mine")


def test_provided_nonsense_is_left_out(registry, caplog):
    """A plugin that provides no mapping, or no executors, is logged."""

    class Plugin:
        def __init__(self, value):
            self.value = value

        @hookimpl
        def connectors_executors(self):
            return self.value

    register_plugin(Plugin({"number": 5}), "numbers")
    register_plugin(Plugin([1]), "lists")

    assert "plugin 'number' of " in caplog.text
    assert "connectors_executors of plugin 'lists' gave no mapping: [1]" in caplog.text


def test_first_executors_of_many_threads(install):
    """Threads that make the first executors at the same time find the plugins active, once."""
    install("rec", plugins={"rec": "rec_four"}, modules={"rec_four": RECORDER})
    gate = threading.Barrier(6)

    def make():
        gate.wait()
        with executor("sequential") as made:
            made.submit(abs, -1).result()

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sys.modules["rec_four"].heard.count("CallSubmitted") == 6
