"""Settings: declared options, and the layers that give them their values."""

import asyncio
import collections.abc
import contextvars
import decimal
import doctest
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import typing

import pytest

from connectors import (
    _cpus,
    _environment,
    _layer,
    _option,
    _settings_files,
    _structure,
    settings,
)
from connectors._errors import OptionError, SettingsError
from connectors._flags import Parallelization
from connectors.settings import Setting, option, options_of


class Base:
    strict: bool = option(default=False, help="A fallback is an error.")
    timeout: float | None = option(default=None, minimum=0, help="Seconds.")


class Threads(Base):
    threads: int | None = option(default=None, minimum=1, help="How many.")
    start: str = option(default="spawn", choices=("fork", "spawn"), help="How they start.")
    context: list[str] = option(default=(), help="What travels.")


OPTIONS = options_of(Threads)


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    """Each test has a directory, a home and an environment of its own."""
    for variable in [name for name in os.environ if name.startswith("CONNECTORS_")]:
        monkeypatch.delenv(variable)
    user = tmp_path / "user" / "connectors"
    user.mkdir(parents=True)
    monkeypatch.setattr("platformdirs.user_config_dir", lambda name: str(tmp_path / "user" / name))
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    yield
    settings.restore(None)


@pytest.fixture
def project(tmp_path):
    return tmp_path / "project"


@pytest.fixture
def user_file(tmp_path):
    return tmp_path / "user" / "connectors" / "connectors.toml"


def resolve(name="threading", **keywords):
    given = keywords.pop("given", {})
    return settings.resolve_options(name, OPTIONS, given, **keywords)


def table(threads, name="threading"):
    return f"[executors.{name}]\nthreads = {threads}\n"


class TestOption:
    def test_class_and_instance(self):
        """An option is itself on the class and its default on an instance without a value."""
        instance = Threads()

        assert isinstance(Threads.threads, settings.Option)
        assert instance.threads is None
        instance.threads = 3
        assert instance.threads == 3

    def test_knows_its_place(self):
        """An option knows its name and its class."""
        assert (Threads.threads.name, Threads.threads.owner) == ("threads", Threads)

    def test_order(self):
        """The options of base classes come first."""
        assert list(OPTIONS) == ["strict", "timeout", "threads", "start", "context"]

    def test_override(self):
        """A subclass replaces an option by declaring it again, and takes it away otherwise."""

        class Other(Threads):
            threads: int = option(default=4, help="Always four.")
            timeout = None

        assert options_of(Other)["threads"].default == 4
        assert "timeout" not in options_of(Other)

    @pytest.mark.parametrize(
        ("type_", "words"),
        [
            (int | None, "int or None"),
            (bool, "bool"),
            (list[str], "list of str"),
            (tuple[int, ...], "list of int"),
            (dict[str, int], "table"),
            (typing.Any, "anything"),
            (typing.Literal["a", "b"], "'a' or 'b'"),
            (Parallelization, "SEQUENTIAL or THREAD or PROCESS"),
            (collections.abc.Callable[[], None] | None, "function or None"),
            (collections.abc.Callable, "function"),
            (pathlib.Path, "Path"),
        ],
    )
    def test_type_name(self, type_, words):
        """A type is named in words that fit a message."""
        assert _structure.in_words(type_) == words

    def test_type_of_text_annotation(self):
        """An annotation that is a text is resolved where the class was defined, and alone."""

        class Late:
            path: "pathlib.Path | None" = option(default=None, help="")
            other: "Nowhere" = option(default=None, help="")  # noqa: F821

        assert Late.path.type == pathlib.Path | None
        with pytest.raises(OptionError, match="type of option 'other' .* cannot be resolved"):
            Late.other.check(1, "keyword argument")

    def test_no_annotation(self):
        """An option without an annotation says what is missing."""

        class Bare:
            threads = option(default=None, help="")

        with pytest.raises(OptionError, match=r"annotate it: threads: int = option\("):
            _ = Bare.threads.type

    def test_environment_variable(self):
        """The variable carries the executor's name in capitals."""
        assert (
            Threads.threads.environment_variable("threading+multiprocessing")
            == "CONNECTORS_THREADING_MULTIPROCESSING_THREADS"
        )


def option_of(type_, **keywords):
    class Holder:
        x: type_ = option(default=None, help="", **keywords)

    return Holder.x


class Index:
    def __index__(self):
        return 7


class TestCheck:
    @pytest.mark.parametrize(
        ("type_", "value"),
        [
            (int, 8),
            (int | None, None),
            (float, 0.5),
            (bool, True),
            (str, ""),
            (float | int, 1),
            (str | list[str], ["a"]),
            (list[str], []),
            (list, [1, "a"]),
            (dict[str, int], {"a": 1}),
            (typing.Literal["a", "b"], "b"),
            (Parallelization, Parallelization.THREAD),
            (collections.abc.Callable[[], object] | None, print),
            (typing.Any, object),
            (decimal.Decimal, decimal.Decimal(1)),
        ],
    )
    def test_kept(self, type_, value):
        """A value of the type stays what it is."""
        checked = option_of(type_).check(value, "here")

        assert checked == value
        assert type(checked) is type(value)

    @pytest.mark.parametrize(
        ("type_", "value", "counts_as"),
        [
            (float, 3, 3.0),
            (float | None, 3, 3.0),
            (int, Index(), 7),
            (list[str], ("a", "b"), ["a", "b"]),
            (tuple[str, ...], ["a", "b"], ("a", "b")),
            (Parallelization, "process", Parallelization.PROCESS),
            (pathlib.Path, "x", pathlib.Path("x")),
        ],
    )
    def test_converted(self, type_, value, counts_as):
        """A value that can mean nothing else counts as what it means."""
        checked = option_of(type_).check(value, "here")

        assert checked == counts_as
        assert type(checked) is type(counts_as)

    @pytest.mark.parametrize(
        ("type_", "value"),
        [
            (int, True),
            (int, "8"),
            (int, 8.0),
            (int, None),
            (int | None, 1.5),
            (float, True),
            (float, "1"),
            (bool, 1),
            (bool, "true"),
            (str, 1),
            (list[str], "abc"),
            (list[str], [1]),
            (list, "abc"),
            (dict[str, int], {"a": "1"}),
            (dict[str, int], 3),
            (typing.Literal["a"], "c"),
            (Parallelization, "NEAR"),
            (Parallelization, 1),
            (collections.abc.Callable[[], object], "os:getcwd"),
            (decimal.Decimal, 1),
            (pathlib.Path, 1),
        ],
    )
    def test_refused(self, type_, value):
        """Nothing becomes what it is not."""
        with pytest.raises(OptionError, match="option 'x' cannot be"):
            option_of(type_).check(value, "here")

    @pytest.mark.parametrize("value", [0, -1, float("nan")])
    def test_minimum(self, value):
        """A number below the minimum is refused, and so is what is no number at all."""
        with pytest.raises(OptionError, match="at least 1"):
            option_of(int | float | None, minimum=1).check(value, "here")

    def test_minimum_itself(self):
        """The minimum itself is allowed, and None has none."""
        least = option_of(int | None, minimum=0)

        assert least.check(0, "here") == 0
        assert least.check(None, "here") is None

    def test_choices(self):
        """A value outside the choices is refused with the choices and the nearest of them."""
        start = option_of(str | None, choices=("fork", "spawn"))

        assert start.check("fork", "here") == "fork"
        assert start.check(None, "here") is None
        with pytest.raises(
            OptionError, match="one of 'fork', 'spawn', None. Did you mean 'spawn'?"
        ):
            start.check("spwan", "here")

    def test_choices_of_list(self):
        """Each element of a list has to be among the choices."""
        some = option_of(list[str], choices=("a", "b"))

        assert some.check(["a", "b"], "here") == ["a", "b"]
        with pytest.raises(OptionError, match="one of 'a', 'b'"):
            some.check(["a", "c"], "here")

    def test_sentence(self):
        """The message names option, executor, value, place, what is allowed and what was meant."""
        with pytest.raises(OptionError) as caught:
            Threads.threads.check("8", "keyword argument", executor="threading")

        assert str(caught.value) == (
            "option 'threads' of executor 'threading' cannot be '8' (keyword argument); "
            "allowed: int or None, at least 1. Did you mean 8?"
        )

    def test_long_value(self):
        """A long value is shortened in the message."""
        with pytest.raises(OptionError) as caught:
            Threads.threads.check("x" * 1000, "here")

        assert len(str(caught.value)) < 200

    def test_is_type_error_and_value_error(self):
        """A wrong option is what Python's own callers expect, too."""
        with pytest.raises(TypeError):
            Threads.threads.check("x", "here")
        with pytest.raises(ValueError):
            Threads.threads.check("x", "here")

    def test_common_value_needs_no_cattrs(self):
        """Checking a value of exactly the right type imports neither cattrs nor tomllib."""
        code = (
            "import sys; from connectors import settings as s\n"
            "class C:\n    n: int | None = s.option(default=None, minimum=1, help='')\n"
            "s.check_options('c', s.options_of(C), {'n': 2}, 'here')\n"
            "late = {'cattrs', 'tomllib', 'platformdirs', 'asyncio', 'multiprocessing'}\n"
            "print(sorted(late.intersection(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )

        assert (done.stdout, done.stderr) == ("[]\n", "")


class TestParse:
    @pytest.mark.parametrize(
        ("type_", "text", "value"),
        [
            (int, " 8 ", 8),
            (int | None, "None", None),
            (str | None, "none", None),
            (str, "none", "none"),
            (float | None, "0.5", 0.5),
            (float, "2", 2.0),
            (float | int, "2", 2),
            (bool, "yes", True),
            (bool, "ON", True),
            (bool, "1", True),
            (bool, "0", False),
            (bool, "off", False),
            (bool, "False", False),
            (bool, "no", False),
            (str, "8", "8"),
            (list[str], "a, b", ["a", "b"]),
            (list[str], "a", ["a"]),
            (list[int], "1,2", [1, 2]),
            (tuple[int, ...], "1,2", (1, 2)),
            (str | list[str], "a", "a"),
            (str | list[str], "a,b", ["a", "b"]),
            (int | str, "8", 8),
            (int | str, "2 GiB", "2 GiB"),
            (Parallelization, "thread", Parallelization.THREAD),
        ],
    )
    def test_meaning(self, type_, text, value):
        """A text means what the type makes of it."""
        parsed = option_of(type_).parse(text, "here")

        assert parsed == value
        assert type(parsed) is type(value)

    @pytest.mark.parametrize(
        ("type_", "text"),
        [
            (int, "none"),
            (int, "8.0"),
            (int, "many"),
            (float, "x"),
            (bool, "maybe"),
            (list[int], "1,x"),
            (collections.abc.Callable, "os:getcwd"),
        ],
    )
    def test_refused(self, type_, text):
        """A text that means no value of the type is refused as it stands."""
        with pytest.raises(OptionError, match=f"cannot be '{text}' \\(here\\)"):
            option_of(type_).parse(text, "here")

    def test_minimum(self):
        """The minimum holds for texts as well."""
        with pytest.raises(OptionError, match="cannot be '0' .* at least 1"):
            Threads.threads.parse("0", "here")


class TestCheckOptions:
    def test_checked(self):
        """Every given value comes back checked."""
        assert settings.check_options("t", OPTIONS, {"timeout": 3}, "here") == {"timeout": 3.0}

    def test_unknown(self):
        """An unknown option is refused with executor, place, the known ones and the nearest."""
        with pytest.raises(OptionError) as caught:
            settings.check_options("threading", OPTIONS, {"thread": 3}, "keyword argument")

        assert str(caught.value) == (
            "executor 'threading' has no option 'thread' (keyword argument); it has: "
            "context, start, strict, threads, timeout. Did you mean 'threads'?"
        )


class TestPrecedence:
    def test_default(self):
        """Without any setting every option has its default."""
        resolved = resolve()

        assert list(resolved) == list(OPTIONS)
        assert resolved["start"] == Setting("spawn", "default")

    def test_each_layer(self, project, user_file, monkeypatch):
        """Keyword, profile, using, configure, environment, file, user's file: the first wins."""
        path = project / "connectors.toml"
        seen = [resolve()["threads"]]
        user_file.write_text(table(1))
        seen.append(resolve()["threads"])
        path.write_text(table(2))
        settings.files()
        seen.append(resolve()["threads"])
        monkeypatch.setenv("CONNECTORS_THREADING_THREADS", "3")
        seen.append(resolve()["threads"])
        settings.configure(executors={"threading": {"threads": 4}})
        seen.append(resolve()["threads"])
        profile = settings.Profile("p", "threading", {"threads": 6}, "profile p")
        with settings.using(executors={"threading": {"threads": 5}}):
            seen.append(resolve()["threads"])
            seen.append(resolve(profile=profile)["threads"])
            seen.append(resolve(profile=profile, given={"threads": 7})["threads"])

        assert [(setting.value, setting.origin) for setting in seen] == [
            (None, "default"),
            (1, f"{user_file}: [executors.threading]"),
            (2, f"{path}: [executors.threading]"),
            (3, "environment variable CONNECTORS_THREADING_THREADS"),
            (4, "configure()"),
            (5, "using()"),
            (6, "profile p"),
            (7, "keyword argument"),
        ]

    def test_per_option(self, project, user_file):
        """A layer that sets one option leaves the others to the layers below."""
        (project / "connectors.toml").write_text(table(2))
        user_file.write_text(table(9) + "timeout = 5\n")

        resolved = resolve()

        assert (resolved["threads"].value, resolved["timeout"].value) == (2, 5.0)

    def test_none_is_a_value(self, user_file):
        """None that is given is a value and not a gap."""
        user_file.write_text(table(2))

        assert resolve(given={"threads": None})["threads"] == Setting(None, "keyword argument")

    def test_names_are_normalised(self, user_file):
        """Executors are found under any spelling of their name and under their aliases."""
        user_file.write_text(table(2, '"Threading.Multi-Processing"') + table(3, "tp"))

        assert resolve("threading_multiprocessing")["threads"].value == 2
        assert resolve("other", aliases=["TP"])["threads"].value == 3
        assert resolve("tp", aliases=["threading+multiprocessing"])["threads"].value == 3

    def test_wrong_value_in_file(self, project):
        """A wrong value in a file is refused with the file, the line, the table and the cure."""
        path = project / "connectors.toml"
        path.write_text("# mine\n\n[executors.threading]\nstrict = true\nthreads = '8'\n")

        with pytest.raises(OptionError) as caught:
            resolve()

        assert f"cannot be '8' ({path}, line 5: [executors.threading]);" in str(caught.value)
        assert "Did you mean 8?" in str(caught.value)

    def test_unknown_option_in_file(self, project):
        """An unknown option in a file is refused, also where nothing else of the file counts."""
        path = project / "pyproject.toml"
        path.write_text("[tool.connectors.executors.threading]\nthreds = 8\n")

        with pytest.raises(OptionError) as caught:
            resolve(given={"threads": 2})

        assert f"({path}, line 2: [tool.connectors.executors.threading])" in str(caught.value)
        assert "Did you mean 'threads'?" in str(caught.value)

    def test_wrong_value_in_code(self):
        """A wrong option that code has set is refused with the function that set it."""
        settings.configure(executors={"threading": {"threads": 0}})

        with pytest.raises(OptionError, match=r"cannot be 0 \(configure\(\)\)"):
            resolve()

    def test_executor(self, project, user_file, monkeypatch):
        """The executor follows the same order."""
        path = project / "pyproject.toml"
        seen = [settings.executor_setting()]
        user_file.write_text("executor = 'a'\n")
        seen.append(settings.executor_setting())
        path.write_text("[tool.connectors]\nexecutor = ['b', 'c']\n")
        settings.files()
        seen.append(settings.executor_setting())
        monkeypatch.setenv("CONNECTORS_EXECUTOR", "d")
        seen.append(settings.executor_setting())
        settings.configure(executor="e")
        seen.append(settings.executor_setting())
        with settings.using(["f"]):
            seen.append(settings.executor_setting())

        assert seen == [
            Setting("threading", "default"),
            Setting("a", str(user_file)),
            Setting(["b", "c"], f"{path}: [tool.connectors]"),
            Setting("d", "environment variable CONNECTORS_EXECUTOR"),
            Setting("e", "configure()"),
            Setting(["f"], "using()"),
        ]


class TestEnvironment:
    def test_executor_list(self, monkeypatch):
        """Several executors are separated by commas."""
        monkeypatch.setenv("CONNECTORS_EXECUTOR", "dask, threading,")

        assert settings.executor_setting().value == ["dask", "threading"]

    def test_empty(self, monkeypatch):
        """An empty variable counts as one that is not there."""
        for variable in ("EXECUTOR", "THREADING_THREADS", "DISABLE_PLUGINS", "CONFIG"):
            monkeypatch.setenv(f"CONNECTORS_{variable}", "")

        assert settings.executor_setting().origin == "default"
        assert resolve()["threads"].origin == "default"
        assert settings.blocked_names() == {}

    def test_wrong_value(self, monkeypatch):
        """A wrong value is refused with the variable's name."""
        monkeypatch.setenv("CONNECTORS_THREADING_THREADS", "many")

        with pytest.raises(OptionError) as caught:
            resolve()

        assert str(caught.value) == (
            "option 'threads' of executor 'threading' cannot be 'many' (environment variable "
            "CONNECTORS_THREADING_THREADS); allowed: int or None, at least 1."
        )

    def test_unknown_option(self, monkeypatch):
        """A mistyped option is refused with what was meant."""
        monkeypatch.setenv("CONNECTORS_THREADING_THREDS", "8")

        with pytest.raises(OptionError, match="no option 'threds' .* Did you mean 'threads'?"):
            resolve()
        assert resolve("trio")["threads"].value is None

    def test_longer_executor_name(self, monkeypatch):
        """A variable of an executor with a longer name is no mistyped option of the shorter."""
        monkeypatch.setenv("CONNECTORS_THREADING_MULTIPROCESSING_THREADS", "8")
        known = ["threading", "threading_multiprocessing"]

        assert resolve(known_executors=known)["threads"].value is None
        longer = resolve("threading_multiprocessing", known_executors=known)
        assert longer["threads"].value == 8
        with pytest.raises(OptionError, match="no option 'multiprocessing_threads'"):
            resolve(known_executors=["threading"])

    def test_alias(self, monkeypatch):
        """Variables under an alias count too, after those under the name."""
        monkeypatch.setenv("CONNECTORS_TM_THREADS", "2")
        monkeypatch.setenv("CONNECTORS_TM_STRICT", "yes")
        monkeypatch.setenv("CONNECTORS_THREADING_THREADS", "8")

        resolved = resolve(aliases=["tm"])

        assert (resolved["threads"].value, resolved["strict"].value) == (8, True)


class TestFiles:
    def test_searched_upward(self, project, monkeypatch):
        """The file is looked for from the working directory upward."""
        deep = project / "a" / "b"
        deep.mkdir(parents=True)
        monkeypatch.chdir(deep)
        (project / "connectors.toml").write_text("executor = 'up'\n")

        assert settings.executor_setting().value == "up"

    def test_nearest_wins(self, project, monkeypatch):
        """A nearer pyproject.toml comes before a connectors.toml above, which is not read."""
        near = project / "near"
        near.mkdir()
        monkeypatch.chdir(near)
        (project / "connectors.toml").write_text("disable_plugins = ['x']\n")
        (near / "pyproject.toml").write_text("[tool.connectors]\nexecutor = 'near'\n")

        assert settings.executor_setting().value == "near"
        assert settings.blocked_names() == {}

    def test_connectors_toml_first(self, project):
        """In one directory connectors.toml comes before pyproject.toml."""
        (project / "connectors.toml").write_text("executor = 'own'\n")
        (project / "pyproject.toml").write_text("[tool.connectors]\nexecutor = 'shared'\n")

        assert settings.executor_setting().value == "own"

    def test_pyproject_of_others(self, project, monkeypatch):
        """A pyproject.toml without [tool.connectors] is passed over, also a broken one."""
        for name, text in [
            ("a", "[tool.other]\nconnectors = 1\n"),
            ("b", "[tool]\nother = 1\n"),
            ("c", "this is no TOML, but a word about connectors\n"),
        ]:
            project = project / name
            project.mkdir()
            (project / "pyproject.toml").write_text(text)
        monkeypatch.chdir(project)
        (project.parents[2] / "connectors.toml").write_text("executor = 'up'\n")

        assert settings.executor_setting().value == "up"

    @pytest.mark.parametrize(
        "text",
        [
            "[tool.connectors]\nexecutor = 'x'\n",
            "[ tool . 'connectors' ]\nexecutor = 'x'\n",
            '["tool"]\nconnectors.executor = "x"\n',
            "tool.connectors.executor = 'x'\n",
            "tool = {connectors = {executor = 'x'}}\n",
        ],
    )
    def test_spellings_of_the_table(self, project, text):
        """The table is found however TOML lets it be written."""
        (project / "pyproject.toml").write_text(text)

        assert settings.executor_setting().value == "x"

    def test_table_in_connectors_toml(self, project):
        """A connectors.toml may carry the settings in [tool.connectors], but not in both places."""
        path = project / "connectors.toml"
        path.write_text("[tool.connectors]\nexecutor = 'x'\n")
        assert settings.executor_setting() == Setting("x", f"{path}: [tool.connectors]")

        path.write_text("executor = 'abc'\n[tool.connectors]\nexecutor = 'x'\n")
        with pytest.raises(SettingsError, match=r"holds \[tool.connectors\] and 'executor' beside"):
            settings.executor_setting()

    def test_named_file(self, project, tmp_path, user_file, monkeypatch):
        """CONNECTORS_CONFIG names the file; the user's own still counts below it."""
        (project / "connectors.toml").write_text("executor = 'searched'\n")
        (tmp_path / "other.toml").write_text("executor = 'named'\n")
        user_file.write_text(table(3))
        monkeypatch.setenv("CONNECTORS_CONFIG", os.path.join("..", "other.toml"))

        assert settings.executor_setting() == Setting("named", str(tmp_path / "other.toml"))
        assert resolve()["threads"].value == 3
        assert settings.files() == [
            (tmp_path / "other.toml", "read: named by CONNECTORS_CONFIG"),
            (user_file, "read"),
        ]

    def test_named_pyproject(self, tmp_path, monkeypatch):
        """A pyproject.toml that is named without [tool.connectors] sets nothing."""
        (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
        monkeypatch.setenv("CONNECTORS_CONFIG", str(tmp_path / "pyproject.toml"))

        assert settings.executor_setting().origin == "default"

    def test_named_file_missing(self, tmp_path, monkeypatch):
        """A named file that is not there is an error with the path and the cure."""
        monkeypatch.setenv("CONNECTORS_CONFIG", str(tmp_path / "nowhere.toml"))

        with pytest.raises(SettingsError) as caught:
            settings.executor_setting()

        assert str(tmp_path / "nowhere.toml") in str(caught.value)
        assert "correct CONNECTORS_CONFIG" in str(caught.value)

    def test_none(self, project, user_file, monkeypatch):
        """CONNECTORS_CONFIG=none reads no file, not the user's either."""
        (project / "connectors.toml").write_text("broken")
        user_file.write_text("broken")
        monkeypatch.setenv("CONNECTORS_CONFIG", "None")

        assert settings.executor_setting().origin == "default"
        assert settings.files() == [(user_file, "not read: CONNECTORS_CONFIG is none")]

    def test_changed_file(self, project):
        """A file that changed is read again."""
        path = project / "connectors.toml"
        path.write_text("executor = 'a'\n")
        assert settings.executor_setting().value == "a"

        path.write_text("executor = 'longer'\n")

        assert settings.executor_setting().value == "longer"

    def test_unchanged_file(self, project, monkeypatch):
        """A file that did not change is not read again."""
        (project / "connectors.toml").write_text("executor = 'a'\n")
        settings.executor_setting()
        monkeypatch.setattr("tomllib.loads", None)

        assert settings.executor_setting().value == "a"

    def test_deleted_file(self, project):
        """A file that was deleted counts no more."""
        path = project / "connectors.toml"
        path.write_text("executor = 'a'\n")
        settings.executor_setting()
        path.unlink()

        assert settings.executor_setting().origin == "default"

    def test_new_file(self, project):
        """A new file is found when the files are asked for, for the search is cached."""
        settings.executor_setting()
        (project / "connectors.toml").write_text("executor = 'a'\n")
        settings.files()

        assert settings.executor_setting().value == "a"

    def test_deleted_directory(self, project, monkeypatch):
        """A working directory that was deleted has no file."""

        def gone():
            raise FileNotFoundError

        monkeypatch.setattr(os, "getcwd", gone)

        assert settings.executor_setting().origin == "default"

    @pytest.mark.parametrize(
        ("text", "line"), [("executor = 'a'\nexecutor == 3\n", 2), ("executor = [\n'a',\n", 2)]
    )
    def test_broken(self, project, text, line):
        """A syntax error is told with file and line."""
        (project / "connectors.toml").write_text(text)

        with pytest.raises(
            SettingsError, match=rf"connectors.toml is no valid TOML: .*line {line}"
        ):
            settings.executor_setting()

    def test_no_text(self, project):
        """A file that is no UTF-8 is told by name."""
        (project / "connectors.toml").write_bytes(b"\xff\xfe")

        with pytest.raises(SettingsError, match=r"connectors.toml cannot be read: it is not UTF-8"):
            settings.executor_setting()

    def test_unreadable(self, project, monkeypatch):
        """A file that may not be read is told by name; another tool's is passed over."""

        def refuse(path, *args, **kwargs):
            raise PermissionError(13, "Permission denied")

        (project / "pyproject.toml").write_text("[tool.connectors]\n")
        monkeypatch.setattr(_settings_files, "open", refuse, raising=False)
        assert settings.executor_setting().origin == "default"

        (project / "connectors.toml").write_text("executor = 'a'\n")
        settings.files()
        with pytest.raises(SettingsError, match="cannot be read: Permission denied"):
            settings.executor_setting()

    def test_reported(self, project, user_file):
        """The files that are looked for are reported up to the one that is read."""
        (project / "pyproject.toml").write_text("[project]\n")
        (project.parent / "connectors.toml").write_text("")

        assert settings.files() == [
            (project / "connectors.toml", "not there"),
            (project / "pyproject.toml", "holds no [tool.connectors]"),
            (project.parent / "connectors.toml", "read"),
            (user_file, "not there"),
        ]

    def test_reported_without_any(self, project, user_file):
        """Where there is no file, every place up to the root is reported, and the user's."""
        reported = settings.files()

        assert reported[0] == (project / "connectors.toml", "not there")
        assert reported[-2][0] == pathlib.Path(project.anchor) / "pyproject.toml"
        assert "read" not in [status for _, status in reported]


class TestShape:
    """What a file may hold; configure() and using() take the same."""

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("exectuor = 'x'", "line 1); known here: executor, executors, .* mean 'executor'?"),
            ("executor = 3", "setting 'executor' cannot be 3 .*allowed: str or list of str"),
            ("executor = ''", "'executor' cannot be '' .*the name of an executor, or a list"),
            ("executor = []", r"'executor' cannot be \[\] .*the name of an executor, or a list"),
            ("executors = 3", "setting 'executors' cannot be 3 .*allowed: table"),
            ("[executors]\nthreading = 3", r"line 2: \[executors\]\); allowed: a table"),
            (
                "[executors.threading]\n[executors.Threading]",
                "'Threading' and 'threading' are one name .*line 2",
            ),
            ("disable_plugins = 'x'", r"cannot be 'x' .*list of str. Did you mean \['x'\]?"),
            ("[profiles.p]\nthreads = 3", r"profile 'p' names no executor .*line 1: \[profiles\]"),
            ("[profiles.p]\nexecutor = 3", r"'executor' cannot be 3 .*line 2: \[profiles.p\]"),
            (
                '\n[methods."a.b"]\nwish = "NEAR"',
                r"line 3: \[methods.\"a.b\"\]\); allowed: SEQUENTIAL or THREAD or PROCESS",
            ),
            ("[methods.a]\ntimeot = 3", "'timeot' is no setting .* Did you mean 'timeout'?"),
            ("[methods.a]\ntimeout = -3", "cannot be -3 .*float, at least 0"),
            ("[methods.a]\nretries = 1.5", "cannot be 1.5 .*int, at least 0"),
            ("[methods.a]\nlabel = 1", "cannot be 1 .*str"),
            ("[tool]\nconnectors = 3", r"'connectors' cannot be 3 .*: \[tool\]\); .*a table"),
        ],
    )
    def test_refused(self, project, text, said):
        """What a file must not hold is told with file, line, key, value and what is allowed."""
        (project / "connectors.toml").write_text(text)

        with pytest.raises(SettingsError) as caught:
            settings.executor_setting()

        assert str(project / "connectors.toml") in str(caught.value)
        assert caught.match(said.replace("line 1);", r"line 1\);"))
        assert not isinstance(caught.value, OptionError)

    def test_every_key(self, project):
        """A file may hold all of the keys at once."""
        (project / "connectors.toml").write_text(
            "executor = ['a', 'b']\ndisable_plugins = ['c']\n"
            "[executors.threading]\nthreads = 3\n"
            "[profiles.p]\nexecutor = 'dask'\naddress = 'tcp://x'\n"
            "[methods.'camera.detect']\n"
            "executor = 'p'\nwish = 'process'\ntimeout = 3\nretries = 2\nlabel = 'd'\n"
        )

        assert settings.executor_setting().value == ["a", "b"]
        assert settings.route("camera.detect").wish is Parallelization.PROCESS

    @pytest.mark.parametrize("take", [settings.configure, settings.using])
    def test_code(self, take):
        """configure() and using() refuse the same at once."""
        with pytest.raises(
            SettingsError, match="'exectuor' is no setting .*Did you mean 'executor'"
        ):
            take(exectuor="x")
        with pytest.raises(SettingsError, match="'exectuor' is no setting"):
            take(exectuor=None)
        with pytest.raises(SettingsError, match="'executors' cannot be 3"):
            take(executors=3)
        with pytest.raises(SettingsError, match="'threading' cannot be 3"):
            take(executors={"threading": 3})


class TestProfile:
    def test_found(self, project):
        """A profile is found under any spelling of its name."""
        path = project / "connectors.toml"
        path.write_text("[profiles.My-Cluster]\nexecutor = 'dask'\nthreads = 3\n")

        found = settings.profile("my_cluster")

        assert found == settings.Profile(
            "My-Cluster", "dask", {"threads": 3}, f"{path}: [profiles.My-Cluster]"
        )
        assert settings.profile("other") is None

    def test_first_layer_wins_whole(self, project):
        """A profile comes whole from the first layer that has it."""
        (project / "connectors.toml").write_text("[profiles.p]\nexecutor = 'dask'\nthreads = 3\n")
        settings.configure(profiles={"p": {"executor": "ray"}})

        assert settings.profile("p").executor == "ray"
        assert settings.profile("p").options == {}

    def test_wrong_option(self, project):
        """A wrong option of a profile is told with its line."""
        (project / "connectors.toml").write_text("[profiles.p]\nexecutor = 'x'\nthreads = 0\n")

        with pytest.raises(OptionError, match=r"line 3: \[profiles.p\]"):
            resolve(profile=settings.profile("p"))


class TestRoute:
    def test_none(self):
        """A method without a route is left as it is."""
        assert settings.route("camera.detect") == settings.Route()

    def test_exact_beats_pattern(self, project):
        """The exact name beats a pattern, and a longer pattern a shorter one, key by key."""
        path = project / "connectors.toml"
        path.write_text(
            '[methods."*"]\nretries = 1\nlabel = "all"\n'
            '[methods."camera.*"]\ntimeout = 1\nlabel = "camera"\n'
            '[methods."camera.detect"]\ntimeout = 30\n'
        )

        assert settings.route("camera.detect") == settings.Route(
            timeout=30.0,
            retries=1,
            label="camera",
            origin=f'{path}: [methods."camera.detect"]',
        )
        assert settings.route("camera.read").timeout == 1.0
        assert settings.route("Camera.detect").timeout is None

    def test_layers(self, project):
        """A nearer layer beats a farther one, key by key, also with a pattern."""
        (project / "connectors.toml").write_text(
            '[methods."camera.detect"]\nexecutor = "cluster"\ntimeout = 30\n'
        )

        with settings.using(methods={"camera.*": {"executor": "sequential"}}):
            route = settings.route("camera.detect")

        assert (route.executor, route.timeout, route.origin) == ("sequential", 30.0, "using()")

    def test_wish_from_code(self):
        """Code may give the wish itself."""
        settings.configure(methods={"a": {"wish": Parallelization.THREAD}})

        assert settings.route("a").wish is Parallelization.THREAD


class TestBlockedNames:
    def test_union(self, project, user_file, monkeypatch):
        """The names of all layers are united, normalised, each with who said so first."""
        monkeypatch.setenv("CONNECTORS_DISABLE_PLUGINS", "My-Plugin, ray")
        (project / "connectors.toml").write_text("disable_plugins = ['ray', 'dask']\n")
        user_file.write_text("disable_plugins = ['trio']\n")
        settings.configure(disable_plugins=["x"])

        assert settings.blocked_names() == {
            "x": "configure()",
            "myplugin": "environment variable CONNECTORS_DISABLE_PLUGINS",
            "ray": "environment variable CONNECTORS_DISABLE_PLUGINS",
            "dask": str(project / "connectors.toml"),
            "trio": str(user_file),
        }


class TestConfigure:
    def test_merged(self):
        """Later calls are merged over earlier ones, option by option."""
        settings.configure(executor="a", executors={"threading": {"threads": 1, "strict": True}})
        settings.configure(executors={"Threading": {"threads": 2}, "trio": {"threads": 3}})

        assert settings.executor_setting().value == "a"
        assert resolve()["threads"].value == 2
        assert resolve()["strict"].value is True
        assert resolve("trio")["threads"].value == 3

    def test_profile_replaced(self):
        """A profile that is configured again is replaced as a whole."""
        settings.configure(profiles={"p": {"executor": "a", "threads": 1}})
        settings.configure(profiles={"P": {"executor": "b"}})

        assert settings.profile("p").executor == "b"
        assert settings.profile("p").options == {}

    def test_taken_back(self):
        """A key, or a table's name, that is None is taken back."""
        settings.configure(
            executor="a",
            executors={"threading": {"threads": 1}, "trio": {"threads": 2}},
            methods={"m": {"retries": 1}},
        )

        settings.configure(executor=None, executors={"Threading": None}, methods=None)

        assert settings.executor_setting().origin == "default"
        assert resolve()["threads"].origin == "default"
        assert resolve("trio")["threads"].value == 2
        assert settings.route("m") == settings.Route()
        settings.configure(executors={"trio": None})
        assert settings.snapshot() is None

    def test_none_option(self):
        """An option that is None is a value."""
        settings.configure(executors={"threading": {"threads": None}})

        assert resolve()["threads"] == Setting(None, "configure()")

    def test_own_copy(self):
        """What the caller changes later changes no setting."""
        names = ["a"]
        settings.configure(executor=names)
        names.append("b")

        assert settings.executor_setting().value == ["a"]

    def test_refused_changes_nothing(self):
        """A call that is refused leaves the settings as they were."""
        settings.configure(executor="a")

        with pytest.raises(SettingsError):
            settings.configure(executor="b", executors=3)

        assert settings.executor_setting().value == "a"


class TestUsing:
    def test_inside_only(self):
        """The settings hold inside with and nowhere else."""
        scope = settings.using("trio")
        seen = [settings.executor_setting().value]
        with scope:
            seen.append(settings.executor_setting().value)
        seen.append(settings.executor_setting().value)

        assert seen == ["threading", "trio", "threading"]

    def test_nested(self):
        """The inner scope wins, key by key, and the outer holds again after it."""
        outer = settings.using(executor="a", executors={"threading": {"threads": 1}})
        with outer, settings.using("b"):
            assert settings.executor_setting().value == "b"
            assert resolve()["threads"].value == 1
            with outer:
                assert settings.executor_setting().value == "a"
            assert settings.executor_setting().value == "b"
        assert settings.executor_setting().value == "threading"

    def test_reusable_after_error(self):
        """A scope ends with an error too, and may be entered again."""
        scope = settings.using("a")
        with pytest.raises(KeyError), scope:
            raise KeyError
        assert settings.executor_setting().value == "threading"
        with scope:
            assert settings.executor_setting().value == "a"

    def test_any_order(self):
        """Scopes that end out of order leave the right one behind."""
        first, second = settings.using("a"), settings.using("b")
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert settings.executor_setting().value == "b"
        second.__exit__(None, None, None)
        second.__exit__(None, None, None)
        assert settings.executor_setting().value == "threading"

    def test_tasks(self):
        """Child tasks see the scope that they were started in; siblings and parents never do."""

        async def look(gate):
            await gate.wait()
            return settings.executor_setting().value

        async def scoped(gate, inside):
            with settings.using("a"):
                child = asyncio.create_task(look(gate))
                inside.set()
                await gate.wait()
                return settings.executor_setting().value, await child

        async def main():
            gate, inside = asyncio.Event(), asyncio.Event()
            one = asyncio.create_task(scoped(gate, inside))
            await inside.wait()
            sibling = asyncio.create_task(look(gate))
            outside = settings.executor_setting().value
            gate.set()
            return await one, await sibling, outside

        assert asyncio.run(main()) == (("a", "a"), "threading", "threading")

    def test_one_object_in_two_tasks(self):
        """One object may be entered by two tasks at once."""
        scope = settings.using("a")

        async def enter(mine, others):
            with scope:
                mine.set()
                await others.wait()
                inside = settings.executor_setting().value
            return inside, settings.executor_setting().value

        async def main():
            one, two = asyncio.Event(), asyncio.Event()
            return await asyncio.gather(enter(one, two), enter(two, one))

        assert asyncio.run(main()) == [("a", "threading"), ("a", "threading")]

    def test_threads(self):
        """A thread sees the scope through a copy of the context, and not by itself."""
        seen = []

        def look():
            seen.append(settings.executor_setting().value)

        with settings.using("a"):
            context = contextvars.copy_context()
            for target in (look, lambda: context.run(look)):
                thread = threading.Thread(target=target)
                thread.start()
                thread.join()

        assert seen == ["threading", "a"]

    def test_none_is_no_setting(self):
        """A key that is None leaves the setting to the layers below."""
        with settings.using("a"), settings.using(executor=None, executors={"threading": None}):
            assert settings.executor_setting().value == "a"


class TestSnapshot:
    def test_nothing(self):
        """Without settings of the code there is nothing to take along."""
        assert settings.snapshot() is None

    def test_travels(self):
        """What code has set arrives in another context as plain data."""
        settings.configure(
            executors={"threading": {"threads": 2}},
            methods={"a": {"wish": Parallelization.PROCESS}},
        )
        with settings.using("a"), settings.using(disable_plugins=["x"]):
            travelling = pickle.dumps(settings.snapshot())
        settings.restore(None)
        assert settings.snapshot() is None

        settings.restore(pickle.loads(travelling))

        assert settings.executor_setting() == Setting("a", "using()")
        assert settings.blocked_names() == {"x": "using()"}
        assert resolve()["threads"] == Setting(2, "configure()")
        assert settings.route("a").wish is Parallelization.PROCESS
        assert pickle.dumps(settings.snapshot()) == travelling


class TestAllSettings:
    def test_rows(self, project, user_file, monkeypatch):
        """Every key that is set anywhere is there once, with the value and origin that count."""
        path = project / "connectors.toml"
        path.write_text(
            "[executors.threading]\nthreads = 2\nstrict = true\n"
            '[methods."camera.detect"]\nretries = 2\n'
        )
        user_file.write_text("executor = 'a'\n[executors.Threading]\nthreads = 9\n")
        monkeypatch.setenv("CONNECTORS_THREADING_THREADS", "3")
        monkeypatch.setenv("CONNECTORS_UNKNOWN_X", "4")
        settings.configure(executor="b")

        rows = settings.all_settings(known_executors=["threading"])

        assert rows == [
            ("executor", "b", "configure()"),
            (
                "executors.threading.threads",
                "3",
                "environment variable CONNECTORS_THREADING_THREADS",
            ),
            ("CONNECTORS_UNKNOWN_X", "4", "environment variable CONNECTORS_UNKNOWN_X"),
            ("executors.threading.strict", True, f"{path}: [executors.threading]"),
            ('methods."camera.detect".retries', 2, f'{path}: [methods."camera.detect"]'),
        ]

    def test_default(self):
        """The executor is always among them."""
        assert settings.all_settings() == [("executor", "threading", "default")]


def test_normalise():
    """Case, - _ . + and spaces do not matter."""
    assert settings.normalise("Threading + Multi-Pro_ces.sing") == "threadingmultiprocessing"


def test_lines_of_odd_files():
    """Lines are found for dotted, quoted and nested keys, arrays of tables and inline tables."""
    text = 'a.b = 1\n"c.d" = {e = 2}\n[x."y.z"]\n\'k\' = 3\n[[m]]\nn = 4\n'
    layer = _layer.Layer("f", {}, (), text)

    assert layer.place("a", "b") == "f, line 1: [a]"
    assert layer.place("c.d", "e") == 'f, line 2: ["c.d"]'
    assert layer.place("x", "y.z", "k") == 'f, line 4: [x."y.z"]'
    assert layer.place("m", "n") == "f, line 6: [m]"
    assert layer.place("nowhere") == "f"


class TestCpus:
    @pytest.fixture(autouse=True)
    def eight(self, monkeypatch):
        monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 8)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def machine(self, root, files):
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(root)

    def test_all(self, tmp_path):
        """Without limits all CPUs count."""
        assert settings.explain_cpus(str(tmp_path)) == (8, "all CPUs of the machine")
        assert settings.available_cpus(str(tmp_path)) == 8

    def test_unknown_machine(self, tmp_path, monkeypatch):
        """A machine that tells nothing has one CPU."""
        monkeypatch.setattr(os, "cpu_count", lambda: None)
        monkeypatch.delattr(os, "sched_getaffinity")

        assert settings.available_cpus(str(tmp_path)) == 1

    def test_affinity(self, tmp_path, monkeypatch):
        """The affinity of the process is a limit."""
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3})

        assert settings.explain_cpus(str(tmp_path)) == (2, "the affinity of the process, of 8 CPUs")

    @pytest.mark.parametrize(
        ("quota", "cpus"),
        [("150000 100000", 2), ("10000 100000", 1), ("max 100000", 8), ("900000 100000", 8)],
    )
    def test_version_2(self, tmp_path, quota, cpus):
        """The quota of version 2 is rounded up, and at least 1; it only ever lowers the count."""
        root = self.machine(
            tmp_path, {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": quota}
        )

        assert settings.available_cpus(root) == cpus

    def test_group_above(self, tmp_path):
        """The tightest quota of all groups above counts, and the reason names its file."""
        root = self.machine(
            tmp_path,
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/a/cpu.max": "250000 100000\n",
            },
        )

        cpus, reason = settings.explain_cpus(root)

        assert cpus == 3
        path = os.path.join(root, "sys", "fs", "cgroup", "a", "cpu.max")
        assert reason == f"the cgroup's quota of 2.5 CPUs in {path}, of 8 CPUs"

    @pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
    def test_version_1(self, tmp_path, mount):
        """The quota of version 1 counts, also where the group's own name is not seen inside."""
        root = self.machine(
            tmp_path,
            {
                "proc/self/cgroup": "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\nnonsense\n",
                f"sys/fs/cgroup/{mount}/cpu.cfs_quota_us": "300000\n",
                f"sys/fs/cgroup/{mount}/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/cpu.max": "100000 100000\n",
            },
        )

        assert settings.available_cpus(root) == 3

    def test_version_1_without_quota(self, tmp_path):
        """A quota of -1 is none."""
        root = self.machine(
            tmp_path,
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
        )

        assert settings.available_cpus(root) == 8

    def test_said_so(self, tmp_path, monkeypatch):
        """What the user says about the CPUs of Python is taken at its word."""
        monkeypatch.setenv("PYTHON_CPU_COUNT", "3")
        assert settings.explain_cpus(str(tmp_path)) == (3, "PYTHON_CPU_COUNT says so")
        monkeypatch.setitem(sys._xoptions, "cpu_count", "5")
        assert settings.explain_cpus(str(tmp_path)) == (5, "-X cpu_count says so")

    @pytest.mark.parametrize("text", ["default", "0", ""])
    def test_said_nothing(self, tmp_path, monkeypatch, text):
        """A word that is no number says nothing."""
        monkeypatch.setenv("PYTHON_CPU_COUNT", text)

        assert settings.available_cpus(str(tmp_path)) == 8


@pytest.mark.parametrize(
    "module",
    [_cpus, _environment, _layer, _option, _settings_files, _structure, settings],
    ids=lambda module: module.__name__,
)
def test_examples(module):
    """The examples in the docstrings are true."""
    assert doctest.testmod(module).failed == 0
