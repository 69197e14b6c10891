"""The two drivers of a run: one blocks its thread, one awaits.

```text
            ┌─ inline: in the thread that conducts ─┐
run ─ jobs ─┼─ threaded: by crews ──────────────────┼─▶ run.complete
            └─ away: through the executor's door ───┘
```

A crew is one call in the executor's thread pool that takes one job after the other, as long as
there are any. So a job costs no hand-off of its own, and a thread that has finished a method goes
on with the next one that became ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from connectors import _worlds
from connectors._calls import Call, is_async
from connectors._errors import ExecutorClosedError
from connectors._executor import Executor
from connectors._flags import Parallelization
from connectors._flight import annotate
from connectors._levels import PROCESS, SEQUENTIAL, THREAD
from connectors._portal import Portal

from ._nodes import acquire_again, lock, release_all
from ._run import Run
from ._shipping import begin_writing, end_writing, ship
from ._tasks import Job, current_job

_BRIEF = 50e-6  # seconds; handing a method that takes less to a thread costs more than the method
_PATIENCE = 8  # how often a run waits for a thread before it minds
_MOST_PLACED = 64
_TURN = 0.02  # seconds after which a crew lets others have its thread
_BREATH = 0.05  # seconds after which an event loop gets its turn


def _dispatch(run: Run, job: Job) -> None:
    """Find a place for *job*; called by the thread that conducts, without the lock."""
    executor = run.executor
    call = _call(executor, job)
    try:
        level, reason = executor._place(call)
        if level is PROCESS:
            call = _call(executor, job, _packer(job))
        if is_async(job.function) or level is PROCESS or not executor.uneventful:
            _send(run, job, call, level)
            return
        if reason is not None:
            executor._report(call, level, reason)
        if level is THREAD and not executor.has_own_threads():
            _send(run, job, call, level)
            return
    except Exception as error:
        with lock:
            run.running += 1
            run.complete(job, None, error)
        return
    if level is executor.level_for(job.wish) or job.writes:
        placed = job.node._placed
        if len(placed) > _MOST_PLACED:
            placed.clear()  # of executors that are long gone
        placed[executor._identity, job.function, job.wish] = level
    with lock:
        (run.inline if level is SEQUENTIAL else run.threaded).append(job)


def _call(executor: Executor, job: Job, packer: Callable[[Call, Any], Call] | None = None) -> Call:
    return Call(
        job.function,
        job.args,
        job.kwargs,
        job.block,
        job.wish,
        executor.label,
        executor.timeout,
        executor.retries,
        writes=job.writes,
        packer=packer,
    )


def _packer(job: Job) -> Callable[[Call, Any], Call]:
    """Return what packs the call of *job* so that only what changed of its block is sent."""
    always = not getattr(job.node, "_caching", True)
    return functools.partial(ship, name=job.node._name, always=always)


def _send(run: Run, job: Job, call: Call, level: Parallelization) -> None:
    if level is SEQUENTIAL and not is_async(job.function):
        job.call = call
        with lock:
            run.inline.append(job)
        return
    with lock:
        run.running += 1
    if job.writes:
        begin_writing(job, job.block)
    token = current_job.set(job)
    try:
        job.future = future = run.executor.submit_call(call)
    except Exception as error:
        if job.writes:
            end_writing(job, job.block)
        with lock:
            run.complete(job, None, error)
        return
    finally:
        current_job.reset(token)
    future.add_done_callback(functools.partial(_landed, run, job))


def _landed(run: Run, job: Job, future: Future[Any]) -> None:
    job.future = None
    if job.writes:
        end_writing(job, job.block)
    if future.cancelled() and run.broken:
        with lock:
            run.give_back(job)
        return
    if future.cancelled():
        error: BaseException | None = asyncio.CancelledError(f"{job.node.label()} was cancelled")
        value = None
    else:
        error = future.exception()
        value = None if error is not None else future.result()
    if error is None:
        try:
            job.conclude()
        except BaseException as failure:
            error = failure
    _finish(run, job, value, error)


def _finish(run: Run, job: Job, value: Any, error: BaseException | None) -> None:
    """Tell *run*, from a thread that does not conduct it, that *job* has run."""
    with lock:
        run.complete(job, value, error)
        run.advance()
        run.ring()


def _perform(run: Run, job: Job, level: Parallelization) -> tuple[Any, BaseException | None]:
    """Run *job* in this thread."""
    token = current_job.set(job)
    writer = job if job.writes else None
    if writer is not None:
        begin_writing(writer, writer.block)
    try:
        if job.call is not None:
            value = run.executor.submit_call(job.call).result()
        else:
            value = job.function(job.block, *job.args, **job.kwargs)
        if job.check is not None:
            job.conclude()
    except BaseException as error:
        if job.call is None:
            annotate(error, job.node.label(), run.executor.name, level)
        del run, job  # the traceback leads to this frame
        return None, error
    else:
        return value, None
    finally:
        current_job.reset(token)
        if writer is not None:
            end_writing(writer, writer.block)
        del writer


# Crews


def _muster(run: Run) -> None:
    """Have the jobs for threads done, by as many crews as the pool has threads for."""
    executor = run.executor
    size = executor.thread_count
    if not size:
        with lock:
            run.crews += 1
        _disband(run, ExecutorClosedError(executor.name))
        return
    while True:
        with lock:
            if not run.lacks_crew(size):
                return
            run.crews += 1
        call = Call(_crew, (run,), wish=THREAD)
        try:
            # Its context is that of the caller, and it counts as called from there.
            crew = run.context.copy().run(executor.submit_call, call)
        except Exception as error:
            _disband(run, error)
            return
        crew.add_done_callback(functools.partial(_left, run))


def _crew(run: Run) -> None:
    """Do jobs of *run* until there are none left for a thread."""
    begin = time.perf_counter()
    while True:
        with lock:
            if not run.threaded or time.perf_counter() - begin > _TURN:
                return
            job = run.threaded.pop()
            run.running += 1
            run.busy += 1
        started = time.perf_counter()
        value, error = contextvars.copy_context().run(_perform, run, job, THREAD)
        job.node._seconds = time.perf_counter() - started
        with lock:
            run.busy -= 1
            run.complete(job, value, error)
            del job, value, error
            run.advance()
            if run.inline or run.away or run.finished or run.stalled:
                run.ring()
        if run.threaded:
            _muster(run)


def _left(run: Run, crew: Future[Any]) -> None:
    """Take note that a crew is gone."""
    if crew.cancelled():
        _disband(run, ExecutorClosedError(run.executor.name))
    elif crew.exception() is not None:
        _disband(run, crew.exception())
    else:
        with lock:
            run.crews -= 1
        _muster(run)


def _disband(run: Run, error: BaseException | None) -> None:
    """Take note that a crew did not come; without any, what they were to do fails."""
    with lock:
        run.crews -= 1
        if run.crews:
            return
        while run.threaded:
            job = run.threaded.pop()
            run.running += 1
            run.complete(job, None, error)
        run.advance()
        run.ring()


# Conducting


def drive(run: Run) -> None:  # noqa: C901, PLR0912, PLR0915 - the loop of all reads, in one piece for speed
    """Do what *run* was begun for, and block until it is done.

    Raises:
        BaseException: Something came from outside, Ctrl-C for instance; failures of the run
            itself are told by its `result`.
    """
    bell = None
    job: Job | None = None
    value = error = None
    goal, inline = run.goal, run.inline
    going_on, handed = False, 0
    # What is dropped under the lock may have a destructor that reads a network.
    held = release_all() if lock._is_owned() else None
    # An async method reads without awaiting: what is scheduled now must not wait for its loop.
    portal = Portal.of_this_thread()
    if portal is not None:
        portal.blocked += 1
    outer = current_job.set(None)
    try:
        while True:
            with lock:
                if job is not None:
                    run.complete(job, value, error)
                    value = error = None  # an error's traceback leads from its frame to this one
                run.advance()
                if goal.done and run.finished:
                    return
                job, level = None, SEQUENTIAL
                if inline and not (run.away or run.threaded):
                    job = _taken(run, inline)
                elif inline:
                    job = _next(run)
                elif going_on and handed >= _PATIENCE and _alone(run):
                    job, level = _taken(run, run.threaded), THREAD
                if job is None:
                    bell = bell or _bell()
                    asleep = _sleeps(run, bell.release)
            if job is not None:
                going_on = True
                if job.call is not None:
                    value, error = _perform(run, job, level)
                    continue
                current_job.set(job)
                if job.writes:
                    begin_writing(job, job.block)
                try:
                    value = job.function(job.block, *job.args, **job.kwargs)
                    if job.check is not None:
                        job.conclude()
                except Exception as failure:
                    annotate(failure, job.node.label(), run.executor.name, level)
                    error = failure
                finally:
                    if job.writes:
                        end_writing(job, job.block)
            elif not asleep:
                _set_off(run)
            elif bell is not None:
                bell.acquire()
                going_on = False
                handed += 1
    except BaseException:
        _break_off(run)
        raise
    finally:
        current_job.reset(outer)
        with lock:
            run.close()
        if portal is not None:
            portal.blocked -= 1
        if held is not None:
            acquire_again(held)
        del job, goal


def _alone(run: Run) -> bool:
    """Tell whether the only thing to do now is one brief THREAD method.

    In a long line of brief methods the thread that conducts, which has just run the method before
    and would do nothing but wait, goes on with the next one: to hand each to another thread and to
    wait for it takes several times as long as to do it.
    """
    return (
        len(run.threaded) == 1
        and not (run.running or run.crews or run.outside or run.away)
        and run.threaded[0].node._seconds < _BRIEF
    )


def _bell() -> threading.Lock:
    bell = threading.Lock()
    bell.acquire()
    return bell


async def drive_async(run: Run) -> None:
    """Do what *run* was begun for without blocking the running event loop.

    Methods that are SEQUENTIAL run in the thread of the loop all the same.
    """
    wait, wake = _waker()
    job: Job | None = None
    value = error = None
    begin = time.perf_counter()
    try:
        while True:
            with lock:
                run.advance()
                if run.finished:
                    return
                job = _next(run)
                asleep = job is None and _sleeps(run, wake)
            if job is not None:
                value, error = _perform(run, job, SEQUENTIAL)
                if error is not None and not isinstance(error, Exception):
                    raise error  # noqa: TRY301 - it is not for the tasks but for the caller
                with lock:
                    run.complete(job, value, error)
                job = value = error = None
            elif asleep:
                await wait()
                begin = time.perf_counter()
            else:
                _set_off(run)
            if time.perf_counter() - begin > _BREATH:
                await _worlds.breath()
                begin = time.perf_counter()
    except BaseException:
        _break_off(run)
        raise
    finally:
        with lock:
            run.close()
        del job


def _next(run: Run) -> Job | None:
    """Return the SEQUENTIAL job that the thread that conducts does next, if others are started."""
    if not run.inline or run.away:
        return None
    if run.threaded and run.lacks_crew(run.executor.thread_count):
        return None
    return _taken(run, run.inline)


def _taken(run: Run, queue: list[Job]) -> Job:
    """Take a job from *queue*, for the thread that conducts."""
    run.present = job = queue[-1]
    run.settled = False
    run.running += 1
    queue.pop()
    return job


def _set_off(run: Run) -> None:
    """Start what does not run in this thread, and do what another one cannot do."""
    if run.help is not None:
        helped, run.help = run.help, None
        _help(*helped)
    while run.away:
        with lock:
            job = run.away.pop()
        _dispatch(run, job)
    if run.threaded:
        _muster(run)


def _help(run: Run, job: Job, level: Parallelization) -> None:
    """Do *job* of *run*, whose own threads wait for the thread that calls this."""
    if level is PROCESS:
        _dispatch(run, job)
        with lock:
            run.ring()
    else:
        value, error = run.context.copy().run(_perform, run, job, level)
        _finish(run, job, value, error)


def _sleeps(run: Run, bell: Callable[[], object]) -> bool:
    """Tell whether the one that conducts has to wait, and have it woken by *bell* then."""
    if run.away or (run.threaded and run.lacks_crew(run.executor.thread_count)):
        return False
    if run.stalled:
        run.help = run.look_round()
        if run.finished or run.help is not None:
            return False
        if not run.outside:
            raise AssertionError("a run waits for nothing")
    run.bell = bell
    return True


def _break_off(run: Run) -> None:
    """Stop what runs elsewhere and can be stopped."""
    with lock:
        run.broken = True
        futures = [
            job.future for task in run.tasks for job in task.jobs() if job.future is not None
        ]
    for future in futures:
        _worlds.abandon(future)


def _waker() -> tuple[Callable[[], Any], Callable[[], object]]:
    """Return what awaits a signal in the running async library, and what gives it from anywhere."""
    if _worlds.current_world() == "trio":
        import trio

        token = trio.lowlevel.current_trio_token()
        bell: list[Any] = [trio.Event()]

        async def wait() -> None:
            await bell[0].wait()
            bell[0] = trio.Event()

        def ring() -> None:
            bell[0].set()

        def wake() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(ring)

        return wait, wake
    import asyncio

    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    async def wait_here() -> None:
        await event.wait()
        event.clear()

    def wake_here() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(event.set)

    return wait_here, wake_here
