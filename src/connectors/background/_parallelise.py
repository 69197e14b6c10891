"""`parallelise`, numbered jobs side by side."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from connectors._cpus import available_cpus
from connectors._envelope import inside_worker
from connectors._errors import ExecutorClosedError, ExecutorNotFoundError
from connectors._executor import Executor
from connectors._factory import executor as make_executor
from connectors._registry import executor_class
from connectors.settings import options_of

from ._checks import check_plain, checked_logger
from ._jobs import Jobs


def parallelise(
    func: Callable[..., Any],
    num_jobs: int,
    /,
    *fn_args: Any,
    num_threads: int | None = None,
    bg_exception: str = "raise",
    logger: Any = None,
    pass_logger: bool = False,
    wait: bool = True,
    executor: str | Sequence[str] | Executor = "threading",
    **fn_kwargs: Any,
) -> list[Any]:
    """Call ``func(i, *fn_args, **fn_kwargs)`` for i = 0 ... num_jobs - 1, several at once.

    Jobs start in the order of their indices. When one fails, or at Ctrl-C, no further one starts.

    Args:
        func: The function.
        num_jobs: How often it is called.
        *fn_args: What it is given after the index.
        num_threads: How many jobs run at once, at most; `None`: 80 % of the CPUs that this process
            may use.
        bg_exception: ``"raise"``: a failure is raised. ``"warn"``: it is logged as a warning, the
            job's place in the list is `None`, and the other jobs go on.
        logger: Where to log; `None`: ``connectors.background``.
        pass_logger: Call *func* with ``logger=`` unless it is a `functools.partial` that has one.
        wait: After a failure or Ctrl-C, wait for the jobs that have started; a second Ctrl-C leaves
            at once. Else they are abandoned.
        executor: Where the jobs run: a name, or an executor, which is left open. By
            ``"multiprocessing"`` they run in processes.
        **fn_kwargs: The keyword arguments of *func*. One that has a name of the above goes into a
            `functools.partial`.

    Returns:
        What the calls returned, in the order of the indices.

    Raises:
        BgException: A job failed; its cause is the original, or a group of them in order.
        ValueError: *num_jobs*, *num_threads* or *bg_exception* is not allowed.
        TypeError: *func*, *logger*, *pass_logger*, *wait* or *executor* is not what it has to be.
        ExecutorNotFoundError: There is no executor of that name.
        ExecutorClosedError: The executor is closed.

    Example:
        >>> parallelise(lambda i, base: base**i, 4, 10)
        [1, 10, 100, 1000]
    """
    check_plain("parallelise", func)
    number = _checked_count("num_jobs", num_jobs)
    threads = max(1, available_cpus() * 4 // 5) if num_threads is None else num_threads
    width = min(number, _checked_count("num_threads", threads))
    _check_choices(bg_exception, pass_logger=pass_logger, wait=wait)
    logger = checked_logger("parallelise", logger)
    if pass_logger and not (isinstance(func, functools.partial) and "logger" in func.keywords):
        fn_kwargs["logger"] = logger
    jobs = Jobs(
        (func, fn_args, fn_kwargs),
        number,
        width,
        logger,
        _opened(executor, width),
        own=not isinstance(executor, Executor),
        warns=bg_exception == "warn",
    )
    del func, fn_args, fn_kwargs  # lest an error that leaves from here keeps them alive
    return jobs.perform(wait=wait)


def _checked_count(name: str, count: object) -> int:
    if isinstance(count, int) and count >= 1:
        return int(count)
    raise ValueError(f"parallelise: {name}={count!r}; expected a whole number of at least 1")


def _check_choices(bg_exception: object, **flags: object) -> None:
    if not isinstance(bg_exception, str) or bg_exception not in {"raise", "warn"}:
        raise ValueError(f"parallelise: bg_exception={bg_exception!r}; expected 'raise' or 'warn'")
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(f"parallelise: {name}={flag!r}; expected True or False")


def _opened(given: object, width: int) -> Executor:
    if isinstance(given, Executor):
        if given.closed:
            raise ExecutorClosedError(given.name)
        return given
    if isinstance(given, str):
        return make_executor(given, **_size_of(given, width))
    if isinstance(given, Sequence):
        return make_executor(given)
    raise TypeError(
        f"parallelise: executor={given!r}; expected the name of an executor, such as 'threading' "
        "or 'multiprocessing', a list of names, or an executor of connectors"
    )


def _size_of(name: str, width: int) -> dict[str, Any]:
    """Return the options with which the executor *name* is as wide as the jobs need it."""
    try:
        declared = options_of(executor_class(name))
    except ExecutorNotFoundError:
        return {}  # a profile of the settings, which says how wide it is
    # Processes that an executor has only when they are asked for are not asked for here.
    sizes = ("threads", "processes")
    options: dict[str, Any] = {
        size: width for size in sizes if size in declared and declared[size].default != 0
    }
    if "daemon" in declared:
        options["daemon"] = True  # what is abandoned does not hold up the interpreter's exit
    if "processes" in options and not inside_worker():
        options["strict"] = True  # a job that cannot travel fails, and does not run in this process
    return options
