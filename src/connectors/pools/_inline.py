"""`InlinePool`, which runs a call where it is submitted."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class InlinePool(concurrent.futures.Executor):
    """Runs each call in the thread that submits it, before ``submit`` returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run *fn* now and return its finished future.

        Raises:
            KeyboardInterrupt: It came while *fn* ran; it is meant for the caller, who is here.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            future.set_exception(error)
            try:
                return future
            finally:
                # The error's traceback holds this frame: without this it would be a cycle.
                del future
        return future
