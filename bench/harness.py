"""Measures ours and peers alternating in one run, and prints medians and ratios.

A row names its unit, the functions to measure and the ratio that ours may have at most. All
functions of a row are run in turn, several rounds, so that what disturbs the machine disturbs
all of them; the table gives medians over the rounds.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import attrs

Measure = Callable[[], float]


class Failed(Exception):
    """A peer could not measure that."""


def timed(function: Callable[[], object], calls: int = 1) -> Measure:
    """Return a measure of the seconds that one of *calls* takes in *function*."""

    def measure() -> float:
        begin = time.perf_counter()
        function()
        return (time.perf_counter() - begin) / calls

    return measure


@attrs.frozen
class Row:
    """One line of the table.

    Attributes:
        title: What is measured.
        ours: Our measure; gives seconds, or the unit of the row.
        peers: The measures of others, by name.
        limit: What ours may be at most: a multiple of *against*, or *absolute*.
        against: The peer that the limit counts from; the first by default.
        absolute: A limit in the unit of the row, counted over *against* if there is one.
        alone: *absolute* counts from zero although there are peers.
        unit: ``us``, ``ms``, ``MiB`` or ``ratio``.
        rounds: How often each is measured.
        spread: Each ratio is shown with its smallest and its largest value over the rounds.
        absent: Peers that cannot be measured, by name, and why.
    """

    title: str
    ours: Measure
    peers: dict[str, Measure] = attrs.field(factory=dict)
    limit: float | None = None
    against: str | None = None
    absolute: float | None = None
    alone: bool = False
    at_least: float | None = None
    unit: str = "us"
    rounds: int = 7
    spread: bool = False
    absent: dict[str, str] = attrs.field(factory=dict)


_SCALE = {"us": 1e6, "ms": 1e3, "MiB": 1.0, "ratio": 1.0}


@attrs.frozen
class Result:
    """What was measured of a row, in its unit; *ratios* are those of the rounds, by peer."""

    row: Row
    ours: float
    peers: dict[str, float]
    ratios: dict[str, list[float]]
    absent: dict[str, str]

    @property
    def against(self) -> str:
        """The name of the peer that the limit counts from, whether it was measured or not."""
        return self.row.against or next(iter([*self.row.peers, *self.row.absent]), "?")

    @property
    def base(self) -> tuple[str, float] | None:
        name = self.against
        return (name, self.peers[name]) if name in self.peers else None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.base[1] if self.base else None

    @property
    def met(self) -> bool | None:
        row = self.row
        if row.at_least is not None:
            return self.ours >= row.at_least
        if row.limit is not None and self.ratio is not None:
            return self.ratio <= row.limit
        if row.absolute is not None:
            over = self.base[1] if self.base and not row.alone else 0.0
            return self.ours - over <= row.absolute
        return None

    @property
    def target(self) -> str:
        row = self.row
        if row.at_least is not None:
            return f">= {row.at_least:g}"
        if row.limit is not None:
            return f"<= {row.limit:.3g} x {self.against}"
        if row.absolute is not None:
            over = f" over {self.base[0]}" if self.base and not row.alone else ""
            return f"<= {row.absolute:g} {row.unit}{over}"
        return ""


def measure(row: Row) -> Result:
    """Measure *row*: one round unmeasured to warm up, then all in turn.

    A peer that fails is absent from then on.
    """
    measures = {"": row.ours, **row.peers}
    absent = dict(row.absent)
    found: dict[str, list[float]] = {name: [] for name in measures}
    warming = int(row.rounds > 1)
    for _ in range(warming + row.rounds):
        for name, function in measures.items():
            if name in absent:
                continue
            try:
                found[name].append(function())
            except Failed as error:
                if not name:
                    raise
                absent[name] = f"fails: {str(error).partition(':')[0]}"
    values = {name: found[name][warming:] for name in measures if name not in absent}
    scale = _SCALE[row.unit]
    medians = {name: statistics.median(each) * scale for name, each in values.items()}
    ours, mine = medians.pop(""), values.pop("")
    ratios = {
        name: [one / other for one, other in zip(mine, theirs, strict=True)]
        for name, theirs in values.items()
    }
    return Result(row, ours, medians, ratios, absent)


def markdown(results: list[Result]) -> str:
    """Return the table of *results* in Markdown."""
    lines = [
        "| row | ours | peers | ratio | target | met |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        unit = "" if result.row.unit == "ratio" else f" {result.row.unit}"
        peers = [f"{name} {value:.3g}{unit}" for name, value in result.peers.items()]
        peers += [f"{name} {reason}" for name, reason in result.absent.items()]
        ratios = ", ".join(_ratio(result, name) for name in result.peers)
        met = {True: "yes", False: "**no**", None: ""}[result.met]
        lines.append(
            f"| {result.row.title} | {result.ours:.3g}{unit} | {', '.join(peers)} | {ratios} "
            f"| {result.target} | {met} |"
        )
    return "\n".join(lines)


def _ratio(result: Result, peer: str) -> str:
    ratio = f"{result.ours / result.peers[peer]:.2g}"
    if result.row.spread:
        ratios = result.ratios[peer]
        ratio += f" ({min(ratios):.2g} to {max(ratios):.2g})"
    return ratio


def machine() -> str:
    """Return in words what the measurements were made on."""
    return f"{os.cpu_count()} CPUs"
