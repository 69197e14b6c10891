"""How many CPUs this process may use, and which limit says so."""

# os.path is loaded already; pathlib takes longer to import than all else here takes to run.
# ruff: noqa: PTH118, PTH123

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator


def available_cpus(root: str = "/") -> int:
    """Return the number of CPUs that this process may use, at least 1.

    Args:
        root: Where the ``proc`` and ``sys`` directories are looked for.
    """
    return explain_cpus(root)[0]


def explain_cpus(root: str = "/") -> tuple[int, str]:
    """Return what `available_cpus` returns, and the reason in words.

    An explicit ``PYTHON_CPU_COUNT`` (or ``-X cpu_count``) is taken at its word; else the smaller
    of the affinity of the process and its cgroup's quota counts, the quota rounded up.

    Args:
        root: Where the ``proc`` and ``sys`` directories are looked for.
    """
    override = _override()
    if override is not None:
        return override
    cpus, reason = _affinity()
    limits = list(_quotas(root))
    if limits:
        quota, path = min(limits)
        allowed = max(1, math.ceil(quota))
        if allowed < cpus:
            return allowed, f"the cgroup's quota of {quota:g} CPUs in {path}, of {cpus} CPUs"
    return cpus, reason


def _override() -> tuple[int, str] | None:
    # Python itself knows both from 3.13 on; they mean the same to us before.
    for text, place in (
        (sys._xoptions.get("cpu_count", ""), "-X cpu_count"),
        (os.environ.get("PYTHON_CPU_COUNT", ""), "PYTHON_CPU_COUNT"),
    ):
        if isinstance(text, str) and text.isdecimal() and int(text) > 0:
            return int(text), f"{place} says so"
    return None


def _affinity() -> tuple[int, str]:
    total = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
        if allowed < total:
            return allowed, f"the affinity of the process, of {total} CPUs"
    return total, "all CPUs of the machine"


def _quotas(root: str) -> Iterator[tuple[float, str]]:
    """Yield every CPU quota that holds for this process, with the file that says it."""
    for directory in _cgroup_directories(root):
        words = _words(directory, "cpu.max")
        if len(words) == 2:
            yield from _quota(words[0], words[1], os.path.join(directory, "cpu.max"))
        quota = _words(directory, "cpu.cfs_quota_us")
        period = _words(directory, "cpu.cfs_period_us")
        if quota and period:
            yield from _quota(quota[0], period[0], os.path.join(directory, "cpu.cfs_quota_us"))


def _quota(quota: str, period: str, path: str) -> Iterator[tuple[float, str]]:
    # "max" and -1 mean that there is none.
    if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
        yield int(quota) / int(period), path


def _cgroup_directories(root: str) -> Iterator[str]:
    """Yield the directories of this process's cgroups and of all that hold them."""
    mount = os.path.join(root, "sys", "fs", "cgroup")
    for line in _lines(os.path.join(root, "proc", "self", "cgroup")):
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers == "":
            bases = [mount]
        elif "cpu" in controllers.split(","):
            bases = [os.path.join(mount, name) for name in dict.fromkeys((controllers, "cpu"))]
        else:
            continue
        # In a container the group may be named as the machine outside sees it; what is not
        # there is passed over, and the mount itself is then the container's own group.
        parts = [part for part in group.split("/") if part]
        for base in bases:
            for length in range(len(parts), -1, -1):
                yield os.path.join(base, *parts[:length])


def _words(directory: str, name: str) -> list[str]:
    lines = _lines(os.path.join(directory, name))
    return lines[0].split() if lines else []


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError:
        return []
