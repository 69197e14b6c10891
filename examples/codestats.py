"""codestats: measure Python sources, in the processes and threads that you name.

A small host application. Without arguments it reads the standard library of the Python that runs
it, about 1,700 files::

    paths ──► read (THREAD) ──► measure (PROCESS) ──► summarise ──► tables or JSON

`read` and `measure` say how far away they may run; ``--executor`` says what runs them. Both maps
are lazy and hold a bounded number of files in flight, so that a file is measured while the next
ones are being read.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import sys
import sysconfig
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

import connectors
from connectors import Parallelization

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
LOOPS = (ast.For, ast.AsyncFor, ast.While)
BRANCHES = (*LOOPS, ast.If, ast.IfExp, ast.ExceptHandler, ast.match_case)

host = connectors.Host("codestats")

# What is measured


@attrs.frozen
class Source:
    """A file as it was read.

    Attributes:
        path: Its path below the tree, with slashes.
        code: Its bytes, nothing if it cannot be read.
        problem: Why it cannot be read, or nothing.
    """

    path: str
    code: bytes = b""
    problem: str = ""


@attrs.frozen
class Function:
    """A function or method.

    Attributes:
        path: The file in which it stands.
        name: Its qualified name, ``JSONDecoder.decode`` for instance.
        line: The line of its ``def``.
        lines: How many lines it has, from ``def`` to its last statement.
        complexity: Its cyclomatic complexity: 1, and 1 more for each ``if``, ``elif``, ``for``,
            ``while``, ``except``, ``case``, ``and``, ``or``, conditional expression, and ``for``
            and ``if`` of a comprehension. Functions inside it count by themselves, lambdas do not.
    """

    path: str
    name: str
    line: int
    lines: int
    complexity: int


@attrs.frozen
class FileStats:
    """The measurements of one file.

    Attributes:
        path: Its path below the tree, with slashes.
        lines: How many lines it has.
        functions: Its functions in the order of their lines.
        imports: The top-level packages that it imports, sorted.
        problem: Why it was not parsed, or nothing.
    """

    path: str
    lines: int
    functions: tuple[Function, ...] = ()
    imports: tuple[str, ...] = ()
    problem: str = ""


@host.connector(parallelization=Parallelization.THREAD)
def read(tree: Path, path: str) -> Source:
    """Return the file at *path* below *tree*."""
    try:
        return Source(path, (tree / path).read_bytes())
    except OSError as error:
        return Source(path, problem=f"{type(error).__name__}: {error.strerror}")


@host.connector(parallelization=Parallelization.PROCESS)
def measure(source: Source) -> FileStats:
    """Return the measurements of *source*; what does not parse has lines only."""
    lines = len(source.code.splitlines())
    if source.problem:
        return FileStats(source.path, lines, problem=source.problem)
    try:
        tree = ast.parse(source.code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problem = error.msg if isinstance(error, SyntaxError) else str(error)
        return FileStats(source.path, lines, problem=f"{type(error).__name__}: {problem}")
    names: dict[FunctionNode, str] = {}
    complexity: Counter[FunctionNode | None] = Counter()
    imports: set[str] = set()
    for node, name, function in walk(tree):
        complexity[function] += decisions(node)
        imports.update(imported(node))
        if function is node:
            names[function] = name
    functions = [
        Function(source.path, name, node.lineno, length(node), 1 + complexity[node])
        for node, name in names.items()
    ]
    functions.sort(key=lambda function: (function.line, function.name))
    return FileStats(source.path, lines, tuple(functions), tuple(sorted(imports)))


def walk(tree: ast.AST) -> Iterator[tuple[ast.AST, str, FunctionNode | None]]:
    """Iterate over the nodes of *tree*, each with its qualified name and innermost function."""
    # A list and not recursion: generated sources nest deeper than a stack is high.
    waiting: list[tuple[ast.AST, str, FunctionNode | None]] = [(tree, "", None)]
    while waiting:
        node, name, function = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{name}.{node.name}".lstrip(".")
            function = function if isinstance(node, ast.ClassDef) else node
        yield node, name, function
        waiting.extend((child, name, function) for child in ast.iter_child_nodes(node))


def decisions(node: ast.AST) -> int:
    """Return how many decisions *node* takes: what it adds to the complexity of its function."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return int(isinstance(node, BRANCHES))


def length(node: FunctionNode) -> int:
    """Return how many lines *node* has."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def imported(node: ast.AST) -> list[str]:
    """Return the top-level packages that *node* imports; a relative import names none."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module.partition(".")[0]]
    return []


# What is reported


@attrs.frozen
class Totals:
    """The sums of one top-level package, or of the whole tree.

    Attributes:
        package: Its name; ``(modules)`` stands for the files at the top of the tree.
        files: How many files it has.
        lines: How many lines.
        functions: How many functions.
        complexity: The mean complexity of its functions, 0 if it has none.
        longest: The lines of its longest function.
        imports: How many top-level packages it imports.
    """

    package: str
    files: int
    lines: int
    functions: int
    complexity: float
    longest: int
    imports: int


@attrs.frozen
class Report:
    """What is printed.

    Attributes:
        total: The sums of the tree.
        packages: The sums of each top-level package, the one with the most lines first.
        most_complex: The ten most complex functions, the worst first.
        longest: The function with the most lines, if there is a function.
        unparsed: Why files were not parsed, by path.
    """

    total: Totals
    packages: tuple[Totals, ...]
    most_complex: tuple[Function, ...]
    longest: Function | None
    unparsed: dict[str, str]


def summarise(files: Sequence[FileStats]) -> Report:
    """Return the report on *files*."""
    by_package: defaultdict[str, list[FileStats]] = defaultdict(list)
    for file in files:
        package, slash, _ = file.path.partition("/")
        by_package[package if slash else "(modules)"].append(file)
    packages = [totals(package, group) for package, group in by_package.items()]
    functions = [function for file in files for function in file.functions]
    functions.sort(key=lambda one: (-one.complexity, one.path, one.line))
    return Report(
        total=totals("total", files),
        packages=tuple(sorted(packages, key=lambda one: (-one.lines, one.package))),
        most_complex=tuple(functions[:10]),
        longest=max(functions, key=lambda one: one.lines, default=None),
        unparsed={file.path: file.problem for file in files if file.problem},
    )


def totals(package: str, files: Iterable[FileStats]) -> Totals:
    """Return the sums of *files*."""
    files = list(files)
    functions = [function for file in files for function in file.functions]
    return Totals(
        package=package,
        files=len(files),
        lines=sum(file.lines for file in files),
        functions=len(functions),
        complexity=sum(one.complexity for one in functions) / max(len(functions), 1),
        longest=max((one.lines for one in functions), default=0),
        imports=len({name for file in files for name in file.imports}),
    )


# How it runs


@attrs.frozen
class Run:
    """What one executor made of the tree.

    Attributes:
        executor: Its name.
        seconds: The time from the first file to the last, the start of workers included.
        files: The measurements, in the order of the paths.
    """

    executor: str
    seconds: float
    files: list[FileStats]


def find(tree: Path, limit: int | None) -> list[str]:
    """Return the Python files below *tree*, sorted, without installed packages."""
    foreign = {"site-packages", "dist-packages"}
    below = (path.relative_to(tree) for path in tree.rglob("*.py") if path.is_file())
    return sorted(path.as_posix() for path in below if not foreign.intersection(path.parts))[:limit]


def survey(tree: Path, paths: Sequence[str], executor: str, *, progress: bool) -> Run:
    """Measure *paths* below *tree* on the executor of that name."""
    start = time.perf_counter()
    with host.use(executor=executor):
        sources = read.map(itertools.repeat(tree), paths)
        measured = measure.map(sources)
        files = list(watched(measured, len(paths), executor) if progress else measured)
    return Run(executor, time.perf_counter() - start, files)


def watched(files: Iterable[FileStats], number: int, description: str) -> Iterator[FileStats]:
    """Iterate over *files* with a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import track

    return iter(track(files, description, number, console=Console(stderr=True)))


# What is printed


def show(run: Run) -> None:
    """Print the report on *run* as tables."""
    from rich.console import Console

    report = summarise(run.files)
    console = Console()
    console.print(function_table(report.most_complex))
    console.print(package_table(report))
    if report.longest:
        longest = report.longest
        console.print(
            f"longest function: {place(longest)}, {longest.lines:,} lines", soft_wrap=True
        )
    if report.unparsed:
        console.print(f"not parsed: {len(report.unparsed)} files", highlight=False)
    console.print(f"{run.seconds:.2f} s on {run.executor}")


def place(function: Function) -> str:
    """Return the name of *function* and where it stands."""
    return f"{function.name} ({function.path}:{function.line})"


def function_table(functions: Iterable[Function]) -> Any:
    """Return the table of the most complex functions."""
    from rich.table import Table

    table = Table("complexity", "lines", title="the most complex functions")
    table.add_column("function", overflow="fold")
    table.add_column("where", overflow="fold")
    for one in functions:
        table.add_row(str(one.complexity), str(one.lines), one.name, f"{one.path}:{one.line}")
    return table


def package_table(report: Report) -> Any:
    """Return the table of the packages and their total."""
    from rich.table import Table

    table = Table(title="packages")
    for number, title in enumerate(field.name for field in attrs.fields(Totals)):
        table.add_column(title, justify="right" if number else "left")
    for one in (*report.packages, report.total):
        name, *numbers = attrs.astuple(one)
        table.add_row(name, *(f"{n:,.1f}" if isinstance(n, float) else f"{n:,}" for n in numbers))
    table.rows[-1].style = "bold"
    return table


def show_comparison(runs: Sequence[Run]) -> None:
    """Print the wall time of each of *runs*, and how often it is faster than the first."""
    from rich.console import Console
    from rich.table import Table

    table = Table("executor", title="one tree, every executor")
    table.add_column("seconds", justify="right")
    table.add_column(f"{runs[0].executor} = 1", justify="right")
    table.add_column("same result", justify="right")
    for run in runs:
        ratio = runs[0].seconds / run.seconds
        same = "yes" if run.files == runs[0].files else "NO"
        table.add_row(run.executor, f"{run.seconds:.2f}", f"{ratio:.2f} x", same)
    Console().print(table)


# The command line


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="codestats", description="Measure Python sources.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--executor",
        default="threading_multiprocessing",
        metavar="NAME",
        help="what runs it (default: %(default)s); 'connectors list' prints the names",
    )
    choice.add_argument(
        "--compare",
        action="store_true",
        help="run it on every built-in executor; exit code 1 if the results differ",
    )
    parser.add_argument("--path", type=directory, metavar="DIR", help="another tree")
    parser.add_argument("--limit", type=positive, metavar="N", help="the first N files only")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=sys.stderr.isatty(),
        help="show a progress bar (default: on a terminal)",
    )
    return parser.parse_args(argv)


def directory(text: str) -> Path:
    """Return *text* as the path of a directory."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"'{text}' is not a directory")
    return path


def positive(text: str) -> int:
    """Return *text* as a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def compare(run_on: Callable[[str], Run], *, as_json: bool) -> int:
    """Run on every built-in executor, print the times and return 1 if the results differ."""
    runs = [run_on(info.name) for info in connectors.available_executors() if info.builtin]
    identical = all(run.files == runs[0].files for run in runs)
    if as_json:
        seconds = {run.executor: run.seconds for run in runs}
        print(json.dumps({"identical": identical, "seconds": seconds}))
    else:
        show_comparison(runs)
    return 0 if identical else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run codestats and return its exit code."""
    given = arguments(argv)
    tree: Path = given.path or Path(sysconfig.get_path("stdlib"))
    paths = find(tree, given.limit)
    if not paths:
        print(f"codestats: no Python files below {tree}; choose with --path", file=sys.stderr)
        return 2

    def run_on(executor: str) -> Run:
        return survey(tree, paths, executor, progress=given.progress)

    # What the compiler thinks of other people's escape sequences is not what we measure.
    warnings.simplefilter("ignore", SyntaxWarning)
    try:
        with host:
            if given.compare:
                return compare(run_on, as_json=given.json)
            run = run_on(given.executor)
    except connectors.ConnectorsError as error:
        print(f"codestats: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("codestats: interrupted", file=sys.stderr)
        return 130
    if given.json:
        print(json.dumps(attrs.asdict(summarise(run.files))))
    else:
        show(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
