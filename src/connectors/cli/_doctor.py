"""``connectors doctor``: is what is installed in order, and what does the machine give."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import attrs

from connectors import ExecutorInfo, available_executors, settings
from connectors._discovery import DISTRIBUTION
from connectors._registry import plugins
from connectors._table import PluginInfo

from ._arguments import add_command
from ._list import clash_of
from ._output import print_json, print_table
from ._probe import BOOTSTRAP

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@attrs.frozen
class Finding:
    """What came of one plugin.

    Attributes:
        kind: ``executor`` or ``plugin``.
        info: What is known of it without importing it.
        seconds: How long its import took, or `None`.
        problem: What is wrong with it, or nothing.
    """

    kind: str
    info: PluginInfo
    seconds: float | None
    problem: str

    @property
    def state(self) -> str:
        """``good``, ``blocked``, ``broken`` or ``clashing``."""
        if self.info.state == "blocked":
            return "blocked"
        if not self.problem:
            return "good"
        return "clashing" if self.problem == _clash(self.info) else "broken"

    @property
    def address(self) -> str:
        """The name that chooses it and no other."""
        return self.info.address if isinstance(self.info, ExecutorInfo) else self.info.name


def add_to(subparsers: Any) -> None:
    """Add the command to the program."""
    about = "load every plugin in a process of its own and look at Python and the machine"
    parser = add_command(subparsers, "doctor", run, about)
    parser.add_argument(
        "--patience",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long an import may take (default 60)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the findings; the exit code is 1 if a plugin is broken or names clash."""
    findings = list(_examine(args.patience))
    machine = _machine(args.patience)
    bad = [finding for finding in findings if finding.state in ("broken", "clashing")]
    if args.json:
        print_json({"machine": machine, "plugins": list(map(_as_json, findings))})
        return 1 if bad else 0
    print_table(["", ""], [(key, _words(value)) for key, value in machine.items()])
    print()
    columns = ["name", "kind", "distribution", "version", "state", "import", "problem"]
    print_table(columns, map(_row, findings))
    told = f"{len(bad)} of {len(findings)} have a problem" if bad else "all in order"
    print(f"\n{len(findings)} executors and plugins: {told}")
    return 1 if bad else 0


def _examine(patience: float) -> Iterator[Finding]:
    for info in available_executors():
        yield _finding("executor", info, info.address, patience)
    for plugin in plugins():
        yield _finding("plugin", plugin, f"{plugin.distribution}:{plugin.name}", patience)


def _finding(kind: str, info: PluginInfo, address: str, patience: float) -> Finding:
    if info.state == "blocked":
        return Finding(kind, info, None, info.error or "")
    found = probe(kind, address, patience)
    return Finding(kind, info, found.get("seconds"), found["error"] or _clash(info))


def _clash(info: PluginInfo) -> str:
    return clash_of(info) if isinstance(info, ExecutorInfo) else ""


def probe(kind: str, name: str, patience: float) -> dict[str, Any]:
    """Return what came of importing *name* in a process of its own."""
    path = json.dumps([entry or os.getcwd() for entry in sys.path])  # noqa: PTH109
    command = [sys.executable, "-c", BOOTSTRAP, path, kind, name]
    try:
        done = subprocess.run(  # noqa: S603 - this Python, running our own probe
            command, capture_output=True, text=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"its import took longer than {patience:g} s; see --patience"}
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {"error": f"its import ended the process with code {done.returncode}: {last}"}
    return found


def _machine(patience: float) -> dict[str, Any]:
    cpus, reason = settings.explain_cpus()
    methods = multiprocessing.get_all_start_methods()
    blas = probe("blas", "", patience)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {
        "Python": f"{python}, {sys.executable}",
        "connectors": f"{DISTRIBUTION} {version_of(DISTRIBUTION)}",
        "platform": platform.platform(),
        "CPUs": {"count": cpus, "reason": reason},
        "start methods": {
            "available": methods,
            "Python's default": multiprocessing.get_context().get_start_method(),
            "ours": "forkserver" if "forkserver" in methods else "spawn",
        },
        "BLAS threads": blas["error"] or blas["libraries"],
        "thread variables": {
            name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ
        },
    }


def version_of(distribution: str) -> str:
    """Return the version of an installed distribution, or ``unknown``."""
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_words(each)}" for key, each in value.items()) or "none set"
    if isinstance(value, list):
        return "; ".join(map(_words, value)) or "no library is loaded"
    return str(value)


def _row(finding: Finding) -> list[str]:
    info = finding.info
    seconds = "" if finding.seconds is None else f"{finding.seconds * 1000:.0f} ms"
    known = [info.distribution, info.version]
    return [finding.address, finding.kind, *known, finding.state, seconds, finding.problem]


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "address": finding.address,
        "state": finding.state,
        "seconds": finding.seconds,
        "problem": finding.problem or None,
        "distribution": finding.info.distribution,
        "version": finding.info.version,
        "value": finding.info.value,
    }
