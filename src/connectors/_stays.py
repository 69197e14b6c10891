"""What must not travel says so itself: a marked attribute stays when its instance is copied."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_HOOK = "__reduce_ex__"


class Stays:
    """What does not go along when the instance whose attribute it is is copied or pickled."""


def without_what_stays(reduced: Any) -> Any:
    """Return *reduced*, which is what ``__reduce_ex__`` gives, without marked attributes."""
    if not isinstance(reduced, tuple) or len(reduced) < 2:
        return reduced
    function, args, *rest = reduced
    if rest:
        rest[0] = _cleaned(rest[0])
    return (function, _cleaned(args), *rest)


def _cleaned(state: Any) -> Any:
    if isinstance(state, dict):
        return _without(state)
    if type(state) in (tuple, list) and any(isinstance(part, dict) for part in state):
        return type(state)(_without(part) if isinstance(part, dict) else part for part in state)
    return state


def _without(state: dict[Any, Any]) -> dict[Any, Any]:
    if not any(isinstance(value, Stays) for value in state.values()):
        return state
    return {name: value for name, value in state.items() if not isinstance(value, Stays)}


def leave_behind(owner: type) -> None:
    """Have instances of *owner* leave marked attributes behind when they are copied or pickled.

    What the class defines itself for that, or its subclasses, is honoured.
    """
    own = owner.__dict__.get(_HOOK)
    if own is None:
        setattr(owner, _HOOK, _hook())
    elif not getattr(own, "_leaves_behind", False):
        setattr(owner, _HOOK, _wrapped(own))


def _hook() -> Callable[[Any, Any], Any]:
    def __reduce_ex__(self: Any, protocol: Any) -> Any:  # noqa: N807 - it is one
        classes = iter(type(self).__mro__)
        for cls in classes:
            if cls.__dict__.get(_HOOK) is __reduce_ex__:
                break
        # Not super(): a decorator of the class may have made another class of it.
        above = next(cls.__dict__[_HOOK] for cls in classes if _HOOK in cls.__dict__)
        return without_what_stays(above.__get__(self)(protocol))

    __reduce_ex__._leaves_behind = True  # type: ignore[attr-defined]
    return __reduce_ex__


def _wrapped(own: Any) -> Callable[[Any, Any], Any]:
    @functools.wraps(own)
    def __reduce_ex__(self: Any, protocol: Any) -> Any:  # noqa: N807
        return without_what_stays(own.__get__(self)(protocol))

    __reduce_ex__._leaves_behind = True  # type: ignore[attr-defined]
    return __reduce_ex__
