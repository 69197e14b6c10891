"""What is installed is found by one look, and nothing of it is imported."""

from __future__ import annotations

import importlib.metadata
import logging
import subprocess
import sys

import pytest

import connectors
from connectors import _discovery
from connectors._discovery import BUILTINS, Source, scan


def offer(name):
    return next(offer for offer in scan().executors if name in offer.names)


def test_builtins_come_first_and_are_ours(registry):
    """The five built-ins are found through their entry points, as our own."""
    offers = scan().executors[: len(BUILTINS)]

    assert [(offer.name, offer.target) for offer in offers] == list(BUILTINS.items())
    assert all(offer.builtin for offer in offers)
    assert {str(offer.source).split()[0] for offer in offers} == {"connectors-executors"}


def test_builtins_are_there_without_metadata(registry, monkeypatch):
    """A frozen application, which has no distribution metadata, has the built-ins all the same."""
    monkeypatch.setattr(importlib.metadata, "entry_points", importlib.metadata.EntryPoints)
    monkeypatch.setattr(_discovery, "_scanned", None)

    assert [offer.name for offer in scan().executors] == list(BUILTINS)
    assert str(scan().executors[0].source) == "connectors-executors"


def test_one_look_per_path(registry, monkeypatch):
    """The entry points are scanned once, until sys.path is another."""
    looks = []
    entry_points = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda: looks.append(1) or entry_points()
    )
    monkeypatch.setattr(_discovery, "_scanned", None)

    assert scan() is scan()
    monkeypatch.syspath_prepend("/nowhere/at/all")
    scan()

    assert len(looks) == 2


def test_distribution_that_is_added_to_the_path_is_seen(install):
    """A distribution on a path that is added later is found by the next look."""
    scan()
    install("late-one", executors={"late": "late_one:Late"})

    assert offer("late").address == "late-one:late"


def test_second_name_of_a_value_is_an_alias(install):
    """Of several names with one value in one distribution, the first is the name of it."""
    install("many", executors={"first": "many:One", "other": "many:Two", "second": "many:One"})

    assert offer("second").names == ("first", "second")
    assert offer("other").names == ("other",)


def test_unreadable_distribution_hides_no_other(install, caplog):
    """A distribution whose entry points cannot be read is logged, and the others are found."""
    broken = install("unreadable")
    (broken / "entry_points.txt").write_text("[connectors.executors]\nthis is no entry point\n")
    install("readable", executors={"fine": "readable:Fine"})

    with caplog.at_level(logging.WARNING, "connectors"):
        assert offer("fine").source.name == "readable"

    assert "unreadable 1.0" in caplog.text


def test_distribution_without_metadata_has_a_stand_in_for_its_name(install):
    """A distribution without a METADATA file is still listed, with what can be said of it."""
    info = install("bare", executors={"bare": "bare:Bare"})
    (info / "METADATA").unlink()

    assert str(offer("bare").source) == "an unnamed distribution"


def test_metadata_beyond_reading_is_no_error():
    """A distribution whose metadata raises has the stand-in for its name and no version."""

    class Locked:
        @property
        def metadata(self):
            raise PermissionError

    assert str(Source(Locked())) == "an unnamed distribution"


def test_first_on_the_path_hides_the_others_when_read_one_by_one(install, monkeypatch, tmp_path):
    """The first copy of a distribution on the path counts, whatever its neighbours are."""
    install("twin", "1.0", executors={"twin": "twin:Old"})
    (tmp_path / "site-twin").rename(tmp_path / "older")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "older")])
    install("twin", "2.0", executors={"twin": "twin:New"})
    broken = install("unreadable")
    (broken / "entry_points.txt").write_text("[connectors.executors]\nthis is no entry point\n")

    assert [each.value for each in scan().executors if each.name == "twin"] == ["twin:New"]


def test_importing_the_registry_loads_no_metadata():
    """The registry can be imported without importlib.metadata and without pluggy."""
    code = (
        "import sys, connectors._factory; "
        "print([name for name in ('importlib.metadata', 'pluggy', 'trio') if name in sys.modules])"
    )

    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert output.stdout.strip() == "[]"


@pytest.mark.parametrize("name", list(BUILTINS))
def test_static_table_is_what_is_installed(registry, name):
    """The table for frozen applications says the same as the distribution's entry points."""
    installed = importlib.metadata.distribution("connectors-executors").entry_points

    assert [each.value for each in installed if each.name == name] == [BUILTINS[name]]


def test_the_name_of_a_stranger_is_the_one_that_its_class_bears(install):
    """Build tools sort entry points; an alias that comes first in the alphabet stays an alias."""
    install(
        "nice-dist",
        executors={"background": "nice_mod:NiceExecutor", "nice": "nice_mod:NiceExecutor"},
    )

    (info,) = (info for info in connectors.available_executors() if not info.builtin)

    assert (info.name, info.aliases) == ("nice", ("background",))
