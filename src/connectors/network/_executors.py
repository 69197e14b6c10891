"""Which executor a connector has: its own, one by name, or the one that all others share."""

from __future__ import annotations

import threading

from connectors._errors import OptionError
from connectors._executor import Executor
from connectors._factory import executor

Choice = Executor | str | None

_shared: dict[str | None, Executor] = {}
_lock = threading.Lock()


def checked(choice: object) -> Choice:
    """Return *choice*.

    Raises:
        OptionError: It is neither an executor nor a name.
    """
    if choice is None or isinstance(choice, (str, Executor)):
        return choice
    raise OptionError(
        f"executor={choice!r} is neither an executor nor the name of one; "
        'write executor="threading" for instance, or executor=connectors.executor(...)'
    )


def resolved(choice: Choice) -> Executor:
    """Return the executor of a connector.

    Args:
        choice: An executor, the name of one, which all connectors that give this name share, or
            `None` for the one that all connectors without a choice share.

    Raises:
        ExecutorNotFoundError: There is none of that name.
    """
    if isinstance(choice, Executor):
        return choice
    found = _shared.get(choice)
    if found is None or found.closed:
        with _lock:
            found = _shared.get(choice)
            if found is None or found.closed:
                found = executor() if choice is None else executor(choice)
                _shared[choice] = found
    return found
