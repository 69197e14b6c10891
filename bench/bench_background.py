"""Work in the background, beside the standard library and the older library.

Ours, with the standard library, and the older one run in processes of their own, which take turns;
the older one has a virtual environment of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import peers
from harness import Row

OLDER = "mtbase==4.34.2"
_SLOW = {"rounds": 3}  # one round of the older library takes 8 to 10 seconds


def rows() -> Iterator[Row]:
    """Yield the rows; both processes live while they are measured."""
    check = "import mt.base.bg_invoke"
    with peers.beside("background_worker", OLDER, check) as (ours, older, absent):

        def row(title: str, name: str, size: int, theirs: dict[str, str], **options) -> Row:
            """Return the row of *name*, beside *theirs* and beside the same of the older one."""
            beside = {title: ours.measure(peer, size) for title, peer in theirs.items()}
            if older is not None:
                beside[OLDER] = older.measure(name, size)
            options = {"absent": absent, "spread": True, **options}
            return Row(title, ours.measure(name, size), beside, **options)

        for found in _all(row):
            yield found
            ours.forget()
            if older is not None:
                older.forget()
        yield Row(
            "`parallelise`, 1000 trivial jobs, 2 processes, with their start",
            ours.measure("parallelise, processes", 1000),
            {
                "`ProcessPoolExecutor.map`": ours.measure("map, processes", 1000),
                "the same in chunks of 50": ours.measure("map, processes, chunks", 1000),
            },
            unit="ms",
            rounds=3,
        )


def _all(row: Callable[..., Row]) -> Iterator[Row]:
    """Yield the rows that the older library has as well."""
    budget = {"alone": True, "unit": "ms"}
    mapped = "`ThreadPoolExecutor.map`"
    yield row(
        "`parallelise`, 1000 trivial jobs, 2 threads",
        "parallelise",
        1000,
        {mapped: "map"},
        absolute=40.0,
        **budget,
    )
    yield row(
        "`parallelise`, 16 jobs of 10 ms, 2 threads",
        "parallelise, naps of 10 ms",
        16,
        {mapped: "map, naps of 10 ms"},
        absolute=120.0,
        **budget,
        **_SLOW,
    )
    yield row(
        "`bg_run_proc`, from the call to the start of the proc",
        "bg_run_proc",
        50,
        {"`ThreadPoolExecutor.submit`": "submit"},
        absolute=5.0,
        **budget,
    )
    yield row("`BgInvoke`: start and join", "BgInvoke", 200, {"`Thread`": "Thread"})
    yield row(
        "`BgThread`: `invoke` and `result`",
        "BgThread",
        500,
        {"`ThreadPoolExecutor.submit`, `result`": "submit and result"},
    )
    yield row(
        "`parallelise`, 40 jobs of 100 ms, 4 threads",
        "parallelise, naps of 100 ms",
        40,
        {mapped: "map, naps of 100 ms"},
        unit="ms",
        **_SLOW,
    )
