"""`executor`, which makes an executor of what the caller has: a name, a list, counts, nothing."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import attrs

from . import settings
from ._calls import Decision
from ._errors import (
    ExecutorNotFoundError,
    ExecutorOpenError,
    OptionError,
    SettingsError,
    listing,
)
from ._executor import Executor
from ._registry import Selection, registry
from .settings import Option, Profile, Setting, normalise


class _NotGiven(enum.Enum):
    """Stands for a count that was not given, which `None` does not: that is a count."""

    NOT_GIVEN = 0


_NOT_GIVEN: Final = _NotGiven.NOT_GIVEN
_Count = int | None | _NotGiven

#: What uses threads, and what uses processes.
_BY_COUNTS: Mapping[tuple[bool, bool], str] = {
    (False, False): "sequential",
    (True, False): "threading",
    (False, True): "multiprocessing",
    (True, True): "threading_multiprocessing",
}


@attrs.frozen
class _Request:
    """What is known on the way from a name to an executor.

    Attributes:
        given: The options that the caller gave.
        origin: Where the name stands, or nothing if it was given in code.
        profile: The profiles that were followed, merged into one.
        followed: Their names, normalised.
        decisions: What was decided on the way.
    """

    given: Mapping[str, Any]
    origin: str = ""
    profile: Profile | None = None
    followed: frozenset[str] = frozenset()
    decisions: tuple[Decision, ...] = ()


def executor(
    name: str | int | Sequence[str] | Executor | None = None,
    processes_positional: _Count = _NOT_GIVEN,
    /,
    *,
    threads: _Count = _NOT_GIVEN,
    processes: _Count = _NOT_GIVEN,
    **options: Any,
) -> Executor:
    """Return a new executor.

    Args:
        name: The name of an executor or of a profile of the settings, ``distribution:name``, or the
            address of a class, ``pkg.mod:Class``. Of a list, the first that is installed and opens
            is taken. Without a name it follows from the counts, and without counts from the
            settings; without settings it is ``threading``. An executor is returned as it is. A
            number is a number of threads.
        processes_positional: After a number of threads, the number of processes.
        threads: The number of threads. Without a name, 0 means none, and `None`, which holds where
            only *processes* is given, as many as suit the machine.
        processes: The number of processes, likewise; 0 holds where only *threads* is given.
        **options: Further options of the executor.

    Returns:
        The executor. It opens its pools when it is used for the first time, or is open already if
        it was chosen from a list. Its ``settings`` tell where each option came from, its
        ``decisions`` how it was chosen.

    Raises:
        ExecutorNotFoundError: Nothing has this name.
        PluginClashError: Two distributions claim it.
        PluginLoadError: What has this name cannot be loaded.
        ExecutorOpenError: None of the executors of a list opens.
        OptionError: An option is unknown or has a value that it cannot have.
        SettingsError: There is a mistake in the settings.

    Example:
        >>> import connectors
        >>> with connectors.executor("threading", threads=2) as executor:
        ...     list(executor.map(abs, [-1, -2]))
        [1, 2]
        >>> connectors.executor(threads=0).name
        'sequential'
    """
    counts = _given(threads=threads, processes=processes)
    if isinstance(name, Executor):
        return _as_it_is(name, processes_positional, {**counts, **options})
    positional = _positional(name, processes_positional, counts)
    if positional is not None:
        counts = positional
    elif name is not None:
        return _choose(_checked_name(name), _Request({**counts, **options}))
    registry.activate()
    if counts:
        return _by_counts(counts, options)
    setting = settings.executor_setting()
    # The default is ours and needs no other place than its name.
    return _choose(setting.value, _Request(options, origin=setting.origin))


def chosen(
    wanted: str | Sequence[str], options: Mapping[str, Any] | None = None, origin: str = ""
) -> Executor:
    """Return a new executor of a name, or the first of several that opens.

    Args:
        wanted: The name or the names; never counts.
        options: Its options.
        origin: Where the name stands, if it was not given in code. Settings name what is
            installed and never import an address.

    Raises:
        ConnectorsError: As `executor` does.
    """
    return _choose(wanted, _Request(options or {}, origin=origin))


def _given(**counts: _Count) -> dict[str, int | None]:
    return {name: count for name, count in counts.items() if not isinstance(count, _NotGiven)}


def _as_it_is(given: Executor, second: object, options: Mapping[str, Any]) -> Executor:
    if options or second is not _NOT_GIVEN:
        raise OptionError(
            f"executor({given!r}, ...): an executor that is made already takes no options, and got "
            f"{listing(options) if options else second}; make one by name, "
            f'executor("{given.name}", ...), or use its options() method'
        )
    return given


def _positional(
    name: object, second: _Count, counts: Mapping[str, int | None]
) -> dict[str, int | None] | None:
    """Return the counts of ``executor(threads, processes)``, or `None` for any other form."""
    first_is_count = isinstance(name, int) and not isinstance(name, bool)
    if second is _NOT_GIVEN and not first_is_count:
        return None
    if not first_is_count and name is not None:
        raise OptionError(
            f"executor({name!r}, {second!r}): a number after a name has no meaning; name the "
            f"option: executor({name!r}, threads={second!r}) or processes={second!r}"
        )
    positional = _given(threads=name, processes=second)  # type: ignore[arg-type]
    twice = positional.keys() & counts.keys()
    if twice:
        raise OptionError(f"executor(): {listing(sorted(twice))} is given by position and by name")
    return {**positional, **counts}


def _checked_name(name: object) -> str | list[str]:
    if isinstance(name, str):
        return name
    if isinstance(name, Sequence) and name and all(isinstance(each, str) for each in name):
        return list(name)
    raise OptionError(
        f"executor({name!r}): expected the name of an executor, a list of names, a number of "
        f"threads, an executor of ours or nothing; known names: "
        f"{listing(registry.table().allowed())}"
    )


def _by_counts(counts: Mapping[str, int | None], options: Mapping[str, Any]) -> Executor:
    for option, count in counts.items():
        _check_count(option, count)
    # The signature of the older factory: threads=None, processes=0.
    counts = {"threads": None, "processes": 0, **counts}
    used = {option: count for option, count in counts.items() if count != 0}
    name = _BY_COUNTS["threads" in used, "processes" in used]
    asked = ", ".join(f"{option}={count}" for option, count in counts.items())
    decision = Decision("executor", asked, tuple(_BY_COUNTS.values()), name, reason="the counts")
    request = _Request({**used, **options}, decisions=(decision,))
    return _make(registry.select(name), request)


def _check_count(option: str, count: object) -> None:
    if count is None or (isinstance(count, int) and not isinstance(count, bool) and count >= 0):
        return
    raise OptionError(
        f"executor({option}={count!r}): expected 0 for none, a number above 0, or None for as "
        "many as suit the machine"
    )


def _choose(wanted: str | Sequence[str], request: _Request) -> Executor:
    registry.activate()
    if isinstance(wanted, str):
        return _by_name(wanted, request)
    return _first_that_opens(wanted, request)


def _by_name(name: str, request: _Request) -> Executor:
    key = normalise(name)
    # A profile may have the name of the executor that it is for.
    profile = None if key in request.followed else settings.profile(name)
    if profile is not None:
        return _choose(profile.executor, _following(profile, request))
    selection = registry.select(name, from_code=not request.origin, origin=request.origin)
    reason = request.origin or "the name was given"
    if not selection.builtin:  # the metadata of a stranger has been read to load it
        reason += f"; of {selection.source}"
    possible = registry.table().allowed()
    decision = Decision("executor", name, possible, selection.name, reason=reason)
    return _make(selection, attrs.evolve(request, decisions=(*request.decisions, decision)))


def _following(profile: Profile, request: _Request) -> _Request:
    """Return *request* on the far side of *profile*."""
    chosen = profile.executor if isinstance(profile.executor, str) else listing(profile.executor)
    decision = Decision("profile", profile.name, (), chosen, reason=profile.origin)
    return attrs.evolve(
        request,
        origin=profile.origin,
        profile=_merged(request.profile, profile),
        followed=request.followed | {normalise(profile.name)},
        decisions=(*request.decisions, decision),
    )


def _merged(outer: Profile | None, inner: Profile) -> Profile:
    """Return *inner*, to which *outer* leads, with the options of both."""
    if outer is None:
        return inner
    options = {**inner.options, **outer.options}
    return Profile(inner.name, inner.executor, options, f"{outer.origin}, {inner.origin}")


def _first_that_opens(names: Sequence[str], request: _Request) -> Executor:
    rejected: dict[str, str] = {}
    found = False
    for name in names:
        try:
            made = _by_name(name, request)
            found = True
            _open(made)
        except SettingsError:
            raise  # a typing error in an option is no reason to take another executor
        except Exception as error:
            found = found or not isinstance(error, ExecutorNotFoundError)
            rejected[name] = str(error) or type(error).__name__
        else:
            asked = listing(names)
            decision = Decision("first that opens", asked, tuple(names), name, rejected)
            made.decisions = (decision, *made.decisions)
            return made
    if found:
        raise ExecutorOpenError(listing(names), rejected)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in rejected.items())
    raise ExecutorNotFoundError(
        listing(names), registry.table().allowed(), f"Each of them: {reasons}"
    )


def _open(made: Executor) -> None:
    try:
        made.open()
    except BaseException:
        made.shutdown(wait=False)
        raise


def _make(selection: Selection, request: _Request) -> Executor:
    declared = settings.options_of(selection.executor_class)
    resolved = settings.resolve_options(
        selection.name,
        declared,
        request.given,
        aliases=selection.aliases,
        profile=request.profile,
        known_executors=registry.table().allowed(),
    )
    resolved = _adjusted(selection.name, declared, resolved)
    # A class may have a default of its own for what nobody set.
    options = {name: each.value for name, each in resolved.items() if each.origin != "default"}
    made = selection.executor_class(**options)
    made.name = selection.name
    made.settings = MappingProxyType(
        {
            name: each if name in options else Setting(getattr(made, name), each.origin)
            for name, each in resolved.items()
        }
    )
    made.decisions = (*request.decisions, *_option_decisions(resolved))
    return made


def _option_decisions(resolved: Mapping[str, Setting]) -> tuple[Decision, ...]:
    return tuple(
        Decision(f"option {name}", repr(each.value), (), repr(each.value), reason=each.origin)
        for name, each in resolved.items()
        if each.origin != "default"
    )


def _adjusted(
    name: str, declared: Mapping[str, Option], resolved: dict[str, Setting]
) -> dict[str, Setting]:
    """Return *resolved* after every plugin had its say."""
    hook = "connectors_adjust_settings"
    for plugin, function in registry.plugins.implementations(hook):
        values = {option: each.value for option, each in resolved.items()}
        try:
            function({"name": name, "options": values})
            place = f"plugin '{plugin}'"
            values = settings.check_options(name, declared, values, place)
        except Exception:
            registry.plugins.complain(plugin, hook)
            continue
        for option, value in values.items():
            if value != resolved[option].value:
                resolved = {**resolved, option: Setting(value, place)}
    return resolved
