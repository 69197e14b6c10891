"""`option`, by which an executor declares a setting, and the checking of values against it.

One declaration gives the keyword argument, the TOML key, the environment variable, the CLI flag
and the help text::

    annotation + option(...)  ->  Option  ->  check(value)   keyword argument, TOML
                                          ->  parse(text)    environment, command line
"""

from __future__ import annotations

import contextlib
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from ._errors import OptionError, did_you_mean, listing
from ._structure import in_words, members, readings, structure


def option(
    *,
    default: Any,
    help: str,  # noqa: A002 - the word that argparse, click and attrs' relatives use
    minimum: float | None = None,
    choices: Sequence[Any] | None = None,
) -> Any:
    """Declare an option in the body of a class; its type is the annotation.

    >>> class Sleeper:
    ...     naps: int | None = option(default=None, minimum=1, help="How many naps it takes.")
    >>> Sleeper().naps is None
    True
    >>> Sleeper.naps.parse("3", "command line")
    3

    Args:
        default: The value where none is given; choose one that cannot be changed.
        help: What the option does, in one sentence.
        minimum: The least number allowed.
        choices: The only values allowed, besides `None` where the type has it.

    Returns:
        The `Option`, declared as `Any` so that the annotation stands.
    """
    return Option(default, help, minimum, None if choices is None else tuple(choices))


@attrs.define(eq=False)
class Option:
    """One declared setting of an executor.

    As an attribute of the class it is itself, as an attribute of an instance its default until the
    instance has a value of its own.

    Attributes:
        default: The value where none is given.
        help: What it does, in one sentence.
        minimum: The least number allowed, or `None`.
        choices: The only values allowed, or `None`.
        name: The name of the attribute that declares it.
        owner: The class that declares it.
    """

    default: Any
    help: str
    minimum: float | None = None
    choices: tuple[Any, ...] | None = None
    name: str = attrs.field(default="", init=False)
    owner: type | None = attrs.field(default=None, init=False, repr=False)
    _type: Any = attrs.field(default=None, init=False, repr=False)

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else self.default

    @property
    def type(self) -> Any:
        """The annotation, resolved."""
        # Late, because most options are never given and annotations are slow to evaluate.
        if self._type is None:
            self._type = _annotation(self)
        return self._type

    @property
    def type_name(self) -> str:
        """The type in words, ``int or None`` for instance."""
        return in_words(self.type)

    @property
    def allowed(self) -> str:
        """Everything that a value must be, in words: ``int or None, at least 1``."""
        if self.choices is not None:
            none = (None,) if types.NoneType in members(self.type) else ()
            return "one of " + listing(repr(choice) for choice in (*self.choices, *none))
        return self.type_name + ("" if self.minimum is None else f", at least {self.minimum:g}")

    def environment_variable(self, executor: str) -> str:
        """Return the variable that sets it, ``CONNECTORS_THREADING_THREADS`` for instance."""
        return variable_prefix(executor) + self.name.upper()

    def check(self, value: Any, place: str, *, executor: str = "") -> Any:
        """Return *value* as it counts: an ``int`` for a ``float`` becomes one, all else stays.

        Args:
            value: The value as it is typed in Python or TOML.
            place: Where it was given, for the message.
            executor: The executor that has the option, for the message.

        Raises:
            OptionError: The value is not allowed.
        """
        try:
            return self.fit(value)
        except OptionError:
            raise
        except Exception:
            subject = f"option '{self.name}'" + (f" of executor '{executor}'" if executor else "")
            raise OptionError(self.misfit(value, subject, place)) from None

    def parse(self, text: str, place: str, *, executor: str = "") -> Any:
        """Return the value that *text* of the environment or the command line means.

        Args:
            text: ``8``, ``0.5``, ``none``, ``true``, ``off`` or ``a,b``, as the type has it.
            place: Where it was given, for the message.
            executor: The executor that has the option, for the message.

        Raises:
            OptionError: The text means no value that is allowed.
        """
        for value in readings(text.strip(), self.type):
            with contextlib.suppress(Exception):
                return self.fit(value)
        return self.check(text, place, executor=executor)

    def fit(self, value: Any) -> Any:
        """Return *value* as it counts, or raise whatever says that it is not allowed."""
        value = structure(value, self.type)
        if self.choices is not None and value is not None:
            for chosen in value if isinstance(value, list | tuple) else (value,):
                self.choices.index(chosen)
        if self.minimum is not None and isinstance(value, int | float):
            _at_least(self.minimum, value)
        return value

    def misfit(self, value: Any, subject: str, place: str) -> str:
        """Return the sentence that says that *subject* cannot be *value*, and what it can be."""
        sentence = f"{subject} cannot be {_shown(value)} ({place}); allowed: {self.allowed}."
        if not isinstance(value, str):
            return sentence
        for meant in readings(value.strip(), self.type):
            if meant != value:
                with contextlib.suppress(Exception):
                    return f"{sentence} Did you mean {self.fit(meant)!r}?"
        return sentence + did_you_mean(value, [str(choice) for choice in self.choices or ()])


def options_of(cls: type) -> dict[str, Option]:
    """Return the options of *cls* by name, those of its base classes first.

    An option that a subclass declares again replaces the inherited one; anything else of its name
    takes the option away.
    """
    options: dict[str, Option] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Option):
                options[name] = value
            else:
                options.pop(name, None)
    return options


def check_options(
    executor_name: str,
    options: Mapping[str, Option],
    given: Mapping[str, Any],
    place: str | Callable[[str], str],
) -> dict[str, Any]:
    """Return the *given* values, each checked by its option.

    Args:
        executor_name: The executor that they were given to.
        options: Its options.
        given: Values by the name of the option.
        place: Where they were given, or what says where each of them was.

    Raises:
        OptionError: The executor has no such option, or the option no such value.
    """
    checked = {}
    for name, value in given.items():
        where = place if isinstance(place, str) else place(name)
        if name not in options:
            raise OptionError(unknown_option(executor_name, name, options, where))
        checked[name] = options[name].check(value, where, executor=executor_name)
    return checked


def unknown_option(executor: str, name: str, options: Iterable[str], place: str) -> str:
    """Return the sentence that says that *executor* has no option *name*."""
    known = sorted(options)
    return (
        f"executor '{executor}' has no option '{name}' ({place}); it has: {listing(known)}."
        + did_you_mean(name, known)
    )


def variable_prefix(executor: str) -> str:
    """Return how the environment variables of an executor's options begin.

    >>> variable_prefix("threading+multiprocessing")
    'CONNECTORS_THREADING_MULTIPROCESSING_'
    """
    return f"CONNECTORS_{re.sub(r'[^0-9A-Za-z]+', '_', executor).upper()}_"


def _annotation(option: Option) -> Any:
    owner = option.owner
    annotations = getattr(owner, "__annotations__", {}) if owner is not None else {}
    if owner is None or option.name not in annotations:
        raise OptionError(
            f"option '{option.name}' of {owner!r} has no type; annotate it: "
            f"{option.name or 'name'}: int = option(...)"
        )
    # Only this one: other annotations of the class may name what is there for type checkers only.
    alone = types.SimpleNamespace(__annotations__={option.name: annotations[option.name]})
    module = sys.modules.get(owner.__module__)
    try:
        hints = typing.get_type_hints(alone, vars(module) if module else None)
    except Exception as error:
        raise OptionError(
            f"the type of option '{option.name}' of {owner.__qualname__} cannot be resolved: "
            f"{error}; import what it names at run time too"
        ) from error
    return hints[option.name]


def _at_least(minimum: float, value: float) -> None:
    # Not "value < minimum", because nan is not allowed either.
    if not value >= minimum:
        raise ValueError(value)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
