"""inventory: hash every file below a directory, and keep a journal of it, in the background.

    python examples/inventory.py --path /usr/share/doc --journal doc.jsonl.gz
    python examples/inventory.py --journal doc.jsonl.gz --check

Many threads read and hash; one thread compresses the journal, and who is faster than that waits for
it; the summary is saved while the program goes on; and copies of older journals are removed by the
way. Without a path it takes the standard library of the running Python. With ``--check`` it
tells which files are not any more what the journal says, and hashes them in processes.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import hashlib
import json
import logging
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from connectors.background import (
    BgException,
    BgInvoke,
    BgThread,
    bg_proc_manager,
    bg_run_proc,
    parallelise,
)

KEPT = 3

logger = logging.getLogger("inventory")


def describe(tree: Path, path: Path) -> dict[str, Any]:
    """Return what the journal says of a file."""
    data = path.read_bytes()
    name = path.relative_to(tree).as_posix()
    return {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def take(tree: Path, journal: Path, threads: int | None) -> int:
    """Write the journal of *tree*; return how many files could not be read."""
    paths = sorted(path for path in tree.rglob("*") if path.is_file())
    if not paths:
        print(f"inventory: no files below {tree}; choose with --path", file=sys.stderr)
        return 1
    if journal.exists():
        keep_a_copy(journal)
    with gzip.open(journal, "wt", encoding="utf-8") as file, BgThread(file.write) as writer:
        written = [writer.invoke(json.dumps({"tree": str(tree)}) + "\n")]

        def job(index: int) -> dict[str, Any]:
            entry = describe(tree, paths[index])
            # This waits while the writer has enough to do.
            written.append(writer.invoke(json.dumps(entry) + "\n"))
            return entry

        found = parallelise(
            job, len(paths), num_threads=threads, bg_exception="warn", logger=logger
        )
        for line in written:
            line.result()  # a full disk is told here
    entries = [entry for entry in found if entry is not None]
    saving = BgInvoke(save_summary, journal, entries)
    unread = len(found) - len(entries)
    print(f"{len(entries)} files, {sum(entry['size'] for entry in entries):,} bytes")
    saving.thread.join()
    print(f"summary in {saving.result}")
    return unread


def keep_a_copy(journal: Path) -> None:
    """Keep the journal that is there under another name, and only the newest of such copies."""
    copies = sorted(journal.parent.glob(f"{journal.name}.*"), key=lambda copy: copy.stat().st_mtime)
    numbers = [int(copy.suffix[1:]) for copy in copies if copy.suffix[1:].isdecimal()]
    journal.rename(journal.with_name(f"{journal.name}.{max(numbers, default=0) + 1}"))
    for copy in copies[: max(0, len(copies) + 1 - KEPT)]:
        bg_run_proc(copy.unlink)


def save_summary(journal: Path, entries: list[dict[str, Any]]) -> str:
    """Save how many files and bytes there are of each kind; return where."""
    kinds: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for entry in entries:
        kinds[Path(entry["path"]).suffix or "none"].update(files=1, bytes=entry["size"])
    summary = journal.with_suffix(".summary.json")
    summary.write_text(json.dumps(kinds, indent=2, sort_keys=True), encoding="utf-8")
    return str(summary)


def verify(index: int, tree: Path, entries: list[dict[str, Any]]) -> str | None:
    """Return the path of an entry if its file is not what it says."""
    entry = entries[index]
    try:
        now = describe(tree, tree / entry["path"])
    except OSError:
        now = None
    return None if now == entry else str(entry["path"])


def check(journal: Path, processes: int | None) -> int:
    """Print what is not any more as the journal says; return how many files that are."""
    with gzip.open(journal, "rt", encoding="utf-8") as file:
        head, *entries = map(json.loads, file)
    tree = Path(head["tree"])
    found = parallelise(
        verify, len(entries), tree, entries, num_threads=processes, executor="multiprocessing"
    )
    changed = sorted(path for path in found if path is not None)
    for path in changed:
        print(f"changed: {path}")
    print(f"{len(entries) - len(changed)} of {len(entries)} files are as they were")
    return len(changed)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="inventory", description=__doc__.partition("\n")[0])
    parser.add_argument("--path", type=Path, help="the tree (default: the standard library)")
    parser.add_argument("--journal", type=Path, default=Path("inventory.jsonl.gz"))
    parser.add_argument("--jobs", type=int, help="how many files at once (default: 80 %% of CPUs)")
    parser.add_argument("--check", action="store_true", help="compare the tree with the journal")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run inventory and return its exit code."""
    logging.basicConfig(format="inventory: %(message)s", level=logging.WARNING)
    given = arguments(argv)
    try:
        if given.check:
            return 1 if check(given.journal, given.jobs) else 0
        tree = given.path or Path(sysconfig.get_path("stdlib"))
        unread = take(tree.resolve(), given.journal, given.jobs)
        bg_proc_manager.wait_until_empty()
    except (BgException, OSError, ValueError) as error:
        print(f"inventory: {error}", file=sys.stderr)
        return 2
    return 1 if unread else 0


if __name__ == "__main__":
    sys.exit(main())
