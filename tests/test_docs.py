"""Every example of README.md and of the guides in docs/ does what its page says.

The blocks of a page are run in order, in one directory and one namespace::

    ```python     run in the namespace; with the first line "# name.py" written to that file
    ```pycon      run in the namespace with doctest (ELLIPSIS)
    ```toml       with the first line "# name.toml" written to that file; else only parsed
    ```console    each line "$ command" run with the shell; output that stands below it is compared

Blocks of other languages are for reading. What a page's blocks write can be imported by them.
"""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import connectors
import connectors._factory
import connectors._registry
from connectors import Executor, settings
from connectors._discovery import BUILTINS
from connectors.settings import options_of

PROJECT = Path(__file__).parents[1]
PAGES = (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")))
FILE_NAME = re.compile(r"# ([\w.-]+\.(?:py|toml))\n")
OUTPUT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
DEADLINE = 60


@attrs.frozen
class Block:
    """An example: what stands between two fences of a page."""

    page: Path
    line: int  # the first of the source
    language: str
    source: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(PROJECT)}:{self.line}"

    @property
    def name(self) -> str | None:
        """The file that it is to be written to, if it is one."""
        named = FILE_NAME.match(self.source)
        return named and named[1]


def blocks_of(page: Path) -> Iterator[Block]:
    language, begin, lines = None, 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif language is None:
            language, begin, lines = line[3:].strip(), number + 1, []
        else:
            yield Block(page, begin, language, "".join(lines))
            language = None


RUNNERS = {}
BLOCKS = [block for page in PAGES for block in blocks_of(page)]


class Reading:
    """The reading of one page: its directory, its namespace, and what was run so far."""

    def __init__(self, page: Path, directory: Path) -> None:
        self.page = page
        self.directory = directory
        self.main = types.ModuleType("__main__")
        self.run_so_far: list[Block] = []
        self._patch = pytest.MonkeyPatch()
        self._before = settings.snapshot()
        self._modules = set(sys.modules)
        self._set_up()

    def _set_up(self) -> None:
        patch = self._patch
        for variable in [name for name in os.environ if name.startswith("CONNECTORS_")]:
            patch.delenv(variable)
        patch.setenv("HOME", str(self.directory / "home"))
        patch.setenv("XDG_CONFIG_HOME", str(self.directory / "home"))
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        patch.setenv("COLUMNS", "100")
        # A file that a page writes twice has to be read twice, whatever its time stamp is.
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setitem(sys.modules, "__main__", self.main)
        patch.syspath_prepend(self.directory)
        patch.chdir(self.directory)
        patch.setattr(Executor, "lifecycle_observers", [])
        registry = connectors._registry.Registry()
        patch.setattr(connectors._registry, "registry", registry)
        patch.setattr(connectors._factory, "registry", registry)

    def run(self, block: Block) -> None:
        """Run *block* after those that stand before it."""
        before = [each for each in BLOCKS if each.page == self.page and each.line < block.line]
        for each in [*before, block]:
            if each not in self.run_so_far:
                self.run_so_far.append(each)
                RUNNERS.get(each.language, lambda *_: None)(self, each)

    def python(self, block: Block) -> None:
        if block.name is not None:
            self._write(block)
            # A module of a test may have this name; it comes back when the page is closed.
            self._patch.delitem(sys.modules, Path(block.name).stem, raising=False)
            importlib.invalidate_caches()
            return
        # Tracebacks name the page and the line.
        source = "\n" * (block.line - 1) + block.source
        exec(compile(source, block.page, "exec", dont_inherit=True), vars(self.main))

    def pycon(self, block: Block) -> None:
        name, path = block.place, str(block.page)
        parsed = doctest.DocTestParser().get_doctest(
            block.source, vars(self.main), name, path, block.line - 1
        )
        parsed.globs = vars(self.main)  # and no copy, so that the page's next blocks see them
        report: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
        if runner.run(parsed, out=report.append, clear_globs=False).failed:
            pytest.fail("".join(report), pytrace=False)

    def toml(self, block: Block) -> None:
        tomllib.loads(block.source)
        if block.name is not None:
            self._write(block)
            settings.files()  # lets the search see what is new

    def console(self, block: Block) -> None:
        for command, expected in commands_of(block.source):
            done = subprocess.run(
                command,
                check=False,
                shell=True,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=DEADLINE,
            )
            if not expected and done.returncode:
                fail(block, command, f"exit code {done.returncode}:\n{done.stdout}")
            checker = doctest.OutputChecker()
            if expected and not checker.check_output(expected, done.stdout, OUTPUT):
                example = doctest.Example(command, expected)
                fail(block, command, checker.output_difference(example, done.stdout, OUTPUT))

    def _write(self, block: Block) -> None:
        (self.directory / str(block.name)).write_text(block.source, encoding="utf-8")

    def close(self) -> None:
        plugins = connectors._registry.registry.plugins
        for name in plugins.names():
            plugins.unregister(name)
        settings.restore(self._before)
        for name in set(sys.modules) - self._modules:
            if str(self.directory) in (getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]
        self._patch.undo()


RUNNERS.update(
    python=Reading.python, pycon=Reading.pycon, toml=Reading.toml, console=Reading.console
)


def commands_of(source: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a session with the shell, and the output that is shown below it."""
    for part in re.split(r"^\$ ", source, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output.strip("\n") and f"{output.strip()}\n"


def fail(block: Block, command: str, reason: str) -> None:
    pytest.fail(f"{block.place}: $ {command}\n{reason}", pytrace=False)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """A function that runs a block; it keeps a page open until a block of another one comes."""
    open_now: list[Reading] = []

    def read(block: Block) -> None:
        if not open_now or open_now[0].page != block.page:
            while open_now:
                open_now.pop().close()
            open_now.append(Reading(block.page, tmp_path_factory.mktemp(block.page.stem)))
        open_now[0].run(block)

    yield read
    for reading in open_now:
        reading.close()


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language in RUNNERS], ids=lambda block: block.place
)
def test_example(block, read):
    """The example runs, and what it shows is what comes."""
    read(block)


def options_table() -> str:
    """The options of the built-ins, as docs/configuration.md has them."""
    having: dict[tuple[str, ...], list[str]] = {}
    for name in BUILTINS:
        for option in options_of(connectors.executor_class(name)).values():
            default = option.default or () if option.type == list[str] else option.default
            row = (f"`{option.name}`", option.allowed, f"`{default!r}`", option.help)
            having.setdefault(row, []).append(name)
    lines = ["| option | allowed | default | meaning | of |", "|---|---|---|---|---|"]
    for row, names in having.items():
        of = "all" if len(names) == len(BUILTINS) else ", ".join(f"`{name}`" for name in names)
        lines.append(f"| {' | '.join((*row, of))} |")
    return "\n".join(lines)


def test_the_options_of_the_docs_are_right():
    """The table in the reference has every option of every built-in, as it is declared."""
    table = options_table()
    print(table)

    assert table in (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
