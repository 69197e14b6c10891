"""The settings files: where they are looked for, and what they hold."""

# os.path is loaded already; pathlib takes longer to import than all else here takes to run.
# ruff: noqa: PTH100, PTH109, PTH111, PTH113, PTH116, PTH118, PTH119, PTH120, PTH123

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from typing import Any

from ._errors import SettingsError
from ._layer import Layer, checked

VARIABLE = "CONNECTORS_CONFIG"
NAME = "connectors.toml"
PYPROJECT = "pyproject.toml"

# A pyproject.toml is parsed only if it can hold [tool.connectors], however that is written:
# most do not, and the parser takes longer to import than everything else here.
_MENTIONS = re.compile(rb"\btool[\"'\s]*(?:\.\s*[\"']?connectors\b|\]|=)")


def file_layers() -> Iterator[Layer]:
    """Yield the settings of the project's file and then those of the user's, where there are any.

    Raises:
        SettingsError: A file cannot be read or holds what it must not, or `CONNECTORS_CONFIG`
            names a file that is not there.
    """
    asked = _asked()
    if asked == "none":
        return
    project = asked or _project_file()
    user = user_file()
    for path in dict.fromkeys((project, user)):
        if path is not None and (path == asked or os.path.isfile(path)):
            yield _read(path, *_stamp(path))


def file_reports() -> list[tuple[str, str]]:
    """Return every file that is looked for now, and what came of it in words."""
    asked = _asked()
    if asked == "none":
        return [(user_file(), f"not read: {VARIABLE} is none")]
    # What was made since the last search is found, too.
    _search.cache_clear()
    reports = []
    if asked:
        reports.append((asked, f"read: named by {VARIABLE}"))
    else:
        found = _project_file()
        for path in _candidates(_working_directory()):
            reports.append((path, _status(path, found)))
            if path == found:
                break
    user = user_file()
    return [*reports, (user, "read" if os.path.isfile(user) else "not there")]


def user_file() -> str:
    """Return the path of the user's own settings file, whether it is there or not."""
    import platformdirs

    return os.path.join(platformdirs.user_config_dir("connectors"), NAME)


def _asked() -> str | None:
    """Return the file that the environment names, ``none``, or `None` where it says nothing."""
    asked = os.environ.get(VARIABLE, "").strip()
    if asked.lower() == "none":
        return "none"
    return os.path.abspath(os.path.expanduser(asked)) if asked else None


def _project_file() -> str | None:
    directory = _working_directory()
    found = _search(directory)
    if found is not None and not os.path.isfile(found):
        _search.cache_clear()
        found = _search(directory)
    return found


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return ""


@functools.lru_cache(maxsize=64)
def _search(directory: str) -> str | None:
    for path in _candidates(directory):
        if os.path.isfile(path) and (os.path.basename(path) == NAME or _has_section(path)):
            return path
    return None


def _candidates(directory: str) -> Iterator[str]:
    above = None
    while directory and directory != above:
        yield os.path.join(directory, NAME)
        yield os.path.join(directory, PYPROJECT)
        above, directory = directory, os.path.dirname(directory)


def _status(path: str, found: str | None) -> str:
    if path == found:
        return "read"
    return "holds no [tool.connectors]" if os.path.isfile(path) else "not there"


def _has_section(path: str) -> bool:
    # Another tool's file that cannot be read or parsed is that tool's business.
    try:
        with open(path, "rb") as file:
            mentions = _MENTIONS.search(file.read())
    except OSError:
        return False
    return bool(mentions) and _section(_load(path, *_stamp(path))[1]) is not None


def _section(data: dict[str, Any]) -> Any:
    tool = data.get("tool")
    return tool.get("connectors") if isinstance(tool, dict) else None


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    return status.st_mtime_ns, status.st_size


def _unreadable(path: str, error: OSError | UnicodeDecodeError) -> SettingsError:
    reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
    cure = f"; correct {VARIABLE}, or set it to none to read no file" if path == _asked() else ""
    return SettingsError(f"the settings file {path} cannot be read: {reason}{cure}")


@functools.lru_cache(maxsize=16)
def _load(path: str, _mtime: int, _size: int) -> tuple[str, dict[str, Any]]:
    import tomllib

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        return text, tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None
    except tomllib.TOMLDecodeError as error:
        last = len(text.splitlines())
        where = str(error).replace("at end of document", f"at line {last}, the end")
        raise SettingsError(f"the settings file {path} is no valid TOML: {where}") from None


@functools.lru_cache(maxsize=16)
def _read(path: str, mtime: int, size: int) -> Layer:
    text, data = _load(path, mtime, size)
    section = _section(data)
    if section is None:
        settings, tables = (data, ()) if os.path.basename(path) != PYPROJECT else ({}, ())
        return checked(Layer(path, settings, tables, text))
    others = [key for key in data if key != "tool"]
    if others and os.path.basename(path) != PYPROJECT:
        raise SettingsError(
            f"{path} holds [tool.connectors] and '{others[0]}' beside it; keep all settings at the "
            "top or all in [tool.connectors]"
        )
    if not isinstance(section, dict):
        raise SettingsError(
            f"'connectors' cannot be {section!r} ({path}: [tool]); allowed: a table."
        )
    return checked(Layer(path, section, ("tool", "connectors"), text))
