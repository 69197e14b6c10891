"""What is installed: names, without importing any of it.

The entry points are scanned once, when the first name is asked for, and once more when `sys.path`
is another. What distributions a name belongs to is known from the scan; how a distribution is
called stands in a file of its own, which is read when that distribution is spoken of.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from .settings import normalise

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

EXECUTORS = "connectors.executors"
PLUGINS = "connectors.plugins"

#: Our own distribution.
DISTRIBUTION = "connectors-executors"

#: The built-ins, for applications without distribution metadata: frozen and zipped ones. The same
#: table says which names nobody else gets.
BUILTINS: Mapping[str, str] = {
    "sequential": "connectors.executors.sequential:SequentialExecutor",
    "threading": "connectors.executors.threading:ThreadingExecutor",
    "multiprocessing": "connectors.executors.multiprocessing:MultiprocessingExecutor",
    "threading_multiprocessing": (
        "connectors.executors.threading_multiprocessing:ThreadingMultiprocessingExecutor"
    ),
    "trio": "connectors.executors.trio:TrioExecutor",
}

_NAMES = {value: name for name, value in BUILTINS.items()}

_logger = logging.getLogger("connectors")
_lock = threading.RLock()  # the collector may strike in it, and a finalizer may need it


@attrs.define(eq=False, slots=False)
class Source:
    """A distribution; its metadata is read when its name or version is asked for.

    Attributes:
        distribution: Where the metadata stands, or `None` where there is none.
        fallback: The name where there is no metadata.
    """

    distribution: Distribution | None = None
    fallback: str = "an unnamed distribution"

    @functools.cached_property
    def name(self) -> str:
        """The name of the distribution."""
        return self._read("Name") or self.fallback

    @functools.cached_property
    def version(self) -> str:
        """The version of the distribution, or nothing where it is not known."""
        return self._read("Version")

    def _read(self, key: str) -> str:
        if self.distribution is None:
            return ""
        try:
            return str(self.distribution.metadata[key] or "")
        except Exception:  # a distribution without metadata, or with metadata beyond reading
            return ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()


@attrs.frozen(eq=False)
class Offer:
    """Something that can be chosen by name: a plugin that is not loaded yet, or a class.

    Attributes:
        name: Its name as its author spells it.
        target: The address of the class or plugin, ``pkg.mod:Class``, or the class itself.
        source: The distribution that ships it.
        aliases: Further names of it.
        builtin: It is one of our own.
    """

    name: str
    target: str | type
    source: Source
    aliases: tuple[str, ...] = ()
    builtin: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All its names, its own first."""
        return (self.name, *self.aliases)

    @property
    def value(self) -> str:
        """The address of the class or plugin as text."""
        if isinstance(self.target, str):
            return self.target
        return f"{self.target.__module__}:{self.target.__qualname__}"

    @property
    def address(self) -> str:
        """The name that chooses this one and no other of the same name."""
        return f"{self.source.name}:{self.name}"

    @property
    def identity(self) -> tuple[str, str]:
        """What stays the same when it is found again by another scan."""
        return (DISTRIBUTION if self.builtin else self.source.name), self.value


@attrs.frozen(eq=False)
class Scan:
    """What one look at the installed distributions found.

    Attributes:
        executors: What the group ``connectors.executors`` offers; the built-ins come first.
        plugins: What the group ``connectors.plugins`` offers.
    """

    executors: tuple[Offer, ...]
    plugins: tuple[Offer, ...]


_scanned: tuple[tuple[str, ...], Scan] | None = None


def scan() -> Scan:
    """Return what is installed, looking only if nobody looked along this `sys.path` before."""
    global _scanned  # noqa: PLW0603 - replaced as a whole, so that reading needs no lock
    path = tuple(sys.path)
    known = _scanned
    if known is not None and known[0] == path:
        return known[1]
    with _lock:
        if _scanned is None or _scanned[0] != path:
            _scanned = path, _look()
        return _scanned[1]


def _look() -> Scan:
    found = _entry_points()
    offers = list(_offers(found.get(EXECUTORS, ())))
    ours = {offer.name: offer for offer in offers if offer.builtin}
    builtins = [ours.get(name) or _unlisted(name) for name in BUILTINS]
    # Directories are read in no particular order.
    strangers = sorted(
        (offer for offer in offers if not offer.builtin), key=lambda offer: offer.name.lower()
    )
    return Scan((*builtins, *strangers), tuple(_offers(found.get(PLUGINS, ()))))


def _unlisted(name: str) -> Offer:
    return Offer(name, BUILTINS[name], Source(None, DISTRIBUTION), builtin=True)


def _offers(entry_points: Iterable[EntryPoint]) -> Iterator[Offer]:
    """Make one offer of all the names that one distribution has for one value."""
    names: dict[tuple[int, str], list[str]] = {}
    sources: dict[int, Source] = {}
    for entry_point in entry_points:
        # A distribution has no hash of its own; it lives as long as its entry points do.
        number = id(entry_point.dist)
        if number not in sources:
            sources[number] = Source(entry_point.dist)
        names.setdefault((number, entry_point.value), []).append(entry_point.name)
    for (number, value), claimed in names.items():
        # Build tools sort entry points: the name that the class bears is the one that was meant.
        name = next((name for name in claimed if _is_named_after(value, name)), claimed[0])
        aliases = [other for other in claimed if other != name]
        yield _offer(name, aliases, value, sources[number])


def _is_named_after(value: str, name: str) -> bool:
    return normalise(value.rpartition(":")[2]) in (normalise(name), f"{normalise(name)}executor")


def _offer(name: str, aliases: list[str], value: str, source: Source) -> Offer:
    ours = _NAMES.get(value)
    if ours is None or ours not in (name, *aliases):
        return Offer(name, value, source, tuple(aliases))
    others = tuple(other for other in (name, *aliases) if other != ours)
    return Offer(ours, value, source, others, builtin=True)


def _entry_points() -> dict[str, list[EntryPoint]]:
    """Return the entry points of our groups, by group."""
    import importlib.metadata

    try:
        found: Any = importlib.metadata.entry_points()
    except Exception:
        # One file that cannot be read must not hide the plugins of everybody else.
        found = importlib.metadata.EntryPoints(_readable(importlib.metadata.distributions()))
    if isinstance(found, dict):
        # Python 3.11 has sorted them already; to select anew would look at every one again.
        return {group: list(dict.get(found, group, ())) for group in (EXECUTORS, PLUGINS)}
    return {group: list(found.select(group=group)) for group in (EXECUTORS, PLUGINS)}


def _readable(distributions: Iterable[Distribution]) -> Iterator[EntryPoint]:
    """Iterate over the entry points of all distributions but the unreadable ones."""
    seen: set[str] = set()
    for distribution in distributions:
        source = Source(distribution)
        try:
            entry_points = list(distribution.entry_points)
        except Exception as error:
            _logger.warning(
                "the entry points of %s cannot be read and are left out: %r", source, error
            )
            continue
        # What comes first on sys.path hides what comes later under the same name.
        if source.name not in seen:
            seen.add(source.name)
            yield from entry_points
