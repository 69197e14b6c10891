"""The names of one moment: what claims each, and which of the claims counts."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from . import settings
from ._discovery import Offer
from ._errors import ExecutorNotFoundError, PluginClashError, listing
from ._loading import is_address
from .settings import normalise

State = Literal["not loaded", "loaded", "broken", "blocked"]

#: Where an executor comes from that is asked for now and then, and not installed.
WELL_KNOWN: Mapping[str, str] = {
    "dask": "connectors-dask",
    "distributed": "connectors-dask",
    "ray": "connectors-ray",
}


@attrs.frozen(kw_only=True)
class PluginInfo:
    """What is known of a plugin without importing it.

    Attributes:
        name: Its name.
        distribution: The distribution that ships it.
        version: The version of that, or nothing where it is not known.
        value: The address of the class or plugin, ``pkg.mod:Class``.
        state: What became of it: ``not loaded``, ``loaded``, ``broken`` or ``blocked``.
        error: Why it is broken, or where it was blocked.
    """

    name: str
    distribution: str
    version: str
    value: str
    state: State
    error: str | None = None


@attrs.frozen(kw_only=True)
class ExecutorInfo(PluginInfo):
    """What is known of an executor without importing it.

    Attributes:
        aliases: Further names of it.
        builtin: It is one of our own.
        clashes: Other distributions that claim one of its names. With `address` it can be chosen
            all the same.
        address: What chooses it and no other: its name, or ``distribution:name`` where the name
            alone would give another one or an error.
    """

    aliases: tuple[str, ...] = ()
    builtin: bool = False
    clashes: tuple[str, ...] = ()
    address: str


class Table:
    """The executors of one moment, by name.

    Args:
        offers: What there is; the built-ins come first.
    """

    def __init__(self, offers: Sequence[Offer]) -> None:
        self.offers = tuple(offers)
        self._claims: dict[str, list[Offer]] = {}
        for offer in offers:
            for key in dict.fromkeys(map(normalise, offer.names)):
                self._claims.setdefault(key, []).append(offer)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """All names: first those of the executors, then the aliases."""
        own = [offer.name for offer in self.offers]
        aliases = [alias for offer in self.offers for alias in offer.aliases]
        return tuple(dict.fromkeys([*own, *aliases]))

    def claims(self, name: str) -> list[Offer]:
        """Return the offers of *name*; one of the built-ins comes first."""
        return self._claims.get(normalise(name), [])

    def is_builtin(self, name: str) -> bool:
        """Tell whether *name* belongs to a built-in, whoever else claims it."""
        return any(claim.builtin for claim in self.claims(name))

    def rivals(self, offer: Offer) -> list[Offer]:
        """Return the offers of other things under a name of *offer*."""
        claims = dict.fromkeys(claim for name in offer.names for claim in self.claims(name))
        return [claim for claim in claims if claim.value != offer.value]

    def address(self, offer: Offer) -> str:
        """Return what chooses *offer* and no other: its name, if that is enough."""
        claims = self.claims(offer.name)
        others = any(claim.value != offer.value for claim in claims)
        return offer.address if others and not offer.builtin else offer.name

    def find(self, name: str) -> Offer | None:
        """Return what *name* or ``distribution:name`` chooses, or `None`.

        Raises:
            ExecutorNotFoundError: It is blocked.
            PluginClashError: Two distributions claim it.
        """
        distribution, colon, own = name.rpartition(":")
        claims = self.claims(own)
        if colon:
            wanted = normalise(distribution)
            claims = [claim for claim in claims if normalise(claim.source.name) == wanted]
        if not claims:
            return None
        if claims[0].builtin:
            # Nobody takes the place of a built-in, not even of one that is blocked.
            claims = claims[:1]
        blocked = settings.blocked_names()
        free = [claim for claim in claims if blocking(claim, blocked) is None]
        if not free:
            cure = f"It is installed, and blocked by {blocking(claims[0], blocked)}."
            raise ExecutorNotFoundError(name, self.allowed(), cure)
        if len({claim.value for claim in free}) > 1:
            raise PluginClashError(own, [claim.source.name for claim in free])
        return free[0]

    def allowed(self) -> tuple[str, ...]:
        """Return the names that are not blocked."""
        blocked = settings.blocked_names()
        if not blocked:
            return self.names
        return Table([offer for offer in self.offers if blocking(offer, blocked) is None]).names

    def missing(self, name: str, origin: str) -> ExecutorNotFoundError:
        """Return the error for a *name* that nothing has; *origin* is where it stands."""
        own = name.rpartition(":")[2]
        cures = []
        if self.claims(own):
            ways = listing(f"'{claim.address}'" for claim in self.claims(own))
            cures.append(f"'{own}' is offered as {ways}.")
        elif is_address(name):
            cures.append(
                "Settings choose among what is installed and import no addresses; let the program "
                f"register it: connectors.register('a_name', '{name}')."
            )
        elif normalise(name) in WELL_KNOWN:
            cures.append(f"Install it: pip install {WELL_KNOWN[normalise(name)]}.")
        if origin:
            cures.append(f"The name stands in {origin}.")
        return ExecutorNotFoundError(name, self.allowed(), " ".join(cures))


def blocking(offer: Offer, blocked: Mapping[str, str]) -> str | None:
    """Return where one of the names of *offer* is blocked, or `None`.

    Args:
        offer: What may be blocked.
        blocked: What `settings.blocked_names` returns.
    """
    for key, origin in blocked.items():
        if any(key == normalise(name) for name in offer.names):
            return origin
        if ":" in key and key == normalise(offer.address):
            return origin
    return None
