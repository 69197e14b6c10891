"""The network, beside the older library.

Both run in processes of their own, which take turns; the older one has a virtual environment of its
own, since it has the same import name. Usage: ``python bench/bench_network.py``.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator

import peers
from harness import Row

OLDER = "connectors==4.1"
_ROUNDS = 7


def rows() -> Iterator[Row]:
    """Yield the rows; both processes live while they are measured."""
    check = "import connectors; connectors.MultiInputData"
    with peers.beside("network_worker", OLDER, check) as (ours, older, absent):

        def row(title: str, name: str, size: int = 1, *, once: bool = False, **options) -> Row:
            beside = {} if older is None else {OLDER: older.measure(name, size, once=once)}
            options = {"absent": absent, "rounds": _ROUNDS, "spread": True, **options}
            return Row(title, ours.measure(name, size), beside, **options)

        for found in _all(row, ours, older):
            yield found
            ours.forget()
            if older is not None:
                older.forget()


def _all(row: Callable[..., Row], ours: peers.Worker, older: peers.Worker | None) -> Iterator[Row]:
    yield row("cached read of a connector", "cached", absolute=0.3, alone=True)
    yield row("uncached read of one block, sequential", "uncached", limit=1 / 4)
    pair = "set + read of a two-block chain"
    yield row(f"{pair}, sequential", "pair, sequential")
    yield row(f"{pair}, `threads=2`", "pair, threads")
    away = f"{pair}, PROCESS getters"
    limit = {"limit": 1 / 15, "unit": "ms"}
    yield row(f"{away}, `threads=0, processes=2`", "pair, processes", **limit)
    yield row(f"{away}, `threads=2, processes=2`", "pair, threads and processes", **limit)
    chain = "chain of 150 blocks, set + read, per block"
    yield row(f"{chain}, sequential", "chain, sequential", 150, limit=1 / 5)
    yield row(
        f"{chain}, `threads=2`, getters THREAD (the default)", "chain, threads", 150, limit=1 / 10
    )
    yield row(
        f"{chain}, `threads=2`, getters and setters THREAD",
        "chain, all threads",
        150,
        limit=1 / 10,
    )
    fan = "1,000 blocks from one output into one multi-input, set + read, per block"
    yield row(f"{fan}, default executor", "fan, default", 1000, limit=1 / 3)
    yield row(f"{fan}, `threads=4`", "fan, threads", 1000, limit=1 / 3)
    yield row(f"{fan}, sequential", "fan, sequential", 1000)
    yield row("direct call of a multi-input, connector", "multi-input")
    yield row("direct call of a multi-input, proxy", "multi-input, proxy")
    absolute = {"absolute": 1.0, "alone": True, "unit": "ms"}
    yield row("one set in front of 12 diamonds", "diamonds", 12, **absolute)
    yield row("one set in front of 18 diamonds", "diamonds", 18, once=True, **absolute)
    yield from _long(ours, older)


def _long(ours: peers.Worker, older: peers.Worker | None) -> Iterator[Row]:
    size, short = 100_000, 10_000
    title = f"chain of {size:,} blocks"
    limit = {"absolute": 2000.0, "alone": True, "unit": "ms", "rounds": 3}
    first = {} if older is None else {OLDER: older.measure("first read", size, once=True)}
    yield Row(
        f"{title}, connecting it in order", ours.measure("connecting", size), unit="ms", rounds=3
    )
    kept: dict[str, float] = {}

    def of(name: str) -> float:
        kept[name] = ours.seconds(name, size)
        return kept[name]

    def growth(name: str) -> float:
        """Return by how much a block of the chain costs more than one of a short chain."""
        return kept[name] / ours.seconds(name, short) / (size / short)

    for what, name, beside in [
        ("first set + read", "first read", first),
        ("set + read", "long chain", {}),
    ]:
        yield Row(f"{title}, {what}, sequential", functools.partial(of, name), beside, **limit)
        yield Row(
            f"the same, per block, over a chain of {short:,}",
            functools.partial(growth, name),
            absolute=2.0,
            unit="ratio",
            rounds=3,
        )
    threads = ours.measure("long chain, threads", size)
    yield Row(f"{title}, set + read, `threads=2`", threads, **limit)


if __name__ == "__main__":
    import run

    sys.exit(run.main(["network"]))
