"""A gallery of executors: good ones of the shapes that plugins have, and bad ones.

Each bad one breaks the contract as a plugin might, and is a good one in all else.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import multiprocessing
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from connectors import Capabilities, Executor, Parallelization, option
from connectors.testing import _jobs

SEQUENTIAL, THREAD, PROCESS = Parallelization


# Good ones


class ProcessPerCall(concurrent.futures.Executor):
    """Runs each call in a process of its own, which is killed when the call is cancelled.

    Args:
        kills: Cancelling a running call kills its process.
        runs: How often a call whose process died is run.
        notices: It notices that a process died.
    """

    def __init__(self, *, kills=True, runs=1, notices=True):
        self._kills = kills
        self._runs = runs
        self._notices = notices
        self._threads = ThreadPoolExecutor(2)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["connectors._executor", "connectors.testing._jobs"])

    def submit(self, fn, /, *args, **kwargs):
        future = KillableFuture(kills=self._kills)
        waiting = self._threads.submit(self._run, future, functools.partial(fn, *args, **kwargs))
        waiting.add_done_callback(lambda _: future.forget() if waiting.cancelled() else None)
        return future

    def _run(self, future, call):
        if not future.set_running_or_notify_cancel():
            return
        for _ in range(self._runs):
            try:
                future.set_result(self._run_once(future, call))
            except EOFError:
                continue
            return
        if not self._notices:
            threading.Event().wait()
        future.set_exception(concurrent.futures.BrokenExecutor("the process died"))

    def _run_once(self, future, call):
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=answer, args=(theirs, call))
        process.start()
        theirs.close()
        future.begin(process)
        try:
            return ours.recv()
        finally:
            ours.close()
            process.join()

    def shutdown(self, wait=True, *, cancel_futures=False):
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)


class KillableFuture(Future):
    """A future whose cancelling kills the process that works for it."""

    def __init__(self, *, kills):
        super().__init__()
        self._kills = kills
        self._process = None
        self._stopped = False

    def begin(self, process):
        self._process = process
        if self._stopped:
            process.kill()

    def cancel(self):
        if super().cancel():
            return True
        if self._kills and not self.done():
            self._stopped = True
            if self._process is not None:
                self._process.kill()
        return False

    def forget(self):
        super().cancel()
        self.set_running_or_notify_cancel()


def answer(line, call):
    line.send(call())


class GoodPools(Executor):
    """Gives pools, which is all that most plugins do."""

    capabilities = Capabilities(levels={THREAD, PROCESS}, kills=True)

    def pools(self):
        return {THREAD: lambda: ThreadPoolExecutor(2), PROCESS: ProcessPerCall}


class GoodOverride(Executor):
    """Overrides `run_method` alone, and runs each call in a thread of its own."""

    capabilities = Capabilities(levels={THREAD}, cancels=False)

    async def run_method(self, parallelization, method, instance, /, *args, **kwargs):
        if inspect.iscoroutinefunction(method):
            return await bound(method, instance, args, kwargs)()
        if parallelization is SEQUENTIAL:
            return bound(method, instance, args, kwargs)()
        context = contextvars.copy_context()
        call = functools.partial(context.run, bound(method, instance, args, kwargs))
        return await asyncio.wrap_future(in_new_thread(call))


class GoodImportable(Executor):
    """Has processes for functions that can be imported there."""

    capabilities = Capabilities(levels={PROCESS}, kills=True, importable=True)

    def pools(self):
        return {PROCESS: ProcessPerCall}


class GoodRetries(Executor):
    """Runs a call whose worker died once more by itself."""

    capabilities = Capabilities(levels={PROCESS}, kills=True, retries=True)

    def pools(self):
        return {PROCESS: lambda: ProcessPerCall(runs=2)}


def bound(method, instance, args, kwargs):
    if instance is not None:
        args = (instance, *args)
    return functools.partial(method, *args, **kwargs)


def in_new_thread(call):
    future = Future()
    threading.Thread(target=settle, args=(future, call)).start()
    return future


def settle(future, call):
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)


# Bad ones


class DropsKeywords(GoodOverride):
    """Forgets the keyword arguments."""

    async def run_method(self, parallelization, method, instance, /, *args, **kwargs):
        return await super().run_method(parallelization, method, instance, *args)


class TakesKeywords(GoodOverride):
    """Takes keyword arguments that have the names of its own parameters."""

    async def run_method(self, parallelization, method, instance, *args, **kwargs):
        return await super().run_method(parallelization, method, instance, *args, **kwargs)


class MasksExceptions(GoodOverride):
    """Wraps the exceptions of calls."""

    async def run_method(self, parallelization, method, instance, /, *args, **kwargs):
        try:
            return await super().run_method(parallelization, method, instance, *args, **kwargs)
        except Exception as error:
            raise RuntimeError("a call failed") from error


class LosesTracebacks(GoodOverride):
    """Raises the exceptions of calls without their frames."""

    async def run_method(self, parallelization, method, instance, /, *args, **kwargs):
        try:
            return await super().run_method(parallelization, method, instance, *args, **kwargs)
        except Exception as error:
            lost = error.with_traceback(None)
        raise lost


class ForgetfulPool(ThreadPoolExecutor):
    """Loses the call that was submitted after one that fails."""

    def __init__(self):
        super().__init__(1)
        self._failed = False

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        super().submit(self._run, future, functools.partial(fn, *args, **kwargs))
        return future

    def _run(self, future, call):
        if self._failed:
            self._failed = False
            return
        settle(future, call)
        self._failed = not future.cancelled() and future.exception() is not None


class LosesNeighbours(Executor):
    """Loses calls beside one that fails."""

    capabilities = Capabilities(levels={THREAD})

    def pools(self):
        return {THREAD: ForgetfulPool}


class HangsOnDeadWorker(Executor):
    """Waits for ever for what a dead worker was to send."""

    capabilities = Capabilities(levels={PROCESS}, kills=True)

    def pools(self):
        return {PROCESS: lambda: ProcessPerCall(notices=False)}


class LiesAboutKills(Executor):
    """Declares that it stops calls, and lets them run on."""

    capabilities = Capabilities(levels={PROCESS}, kills=True)

    def pools(self):
        return {PROCESS: lambda: ProcessPerCall(kills=False)}


class LiesAboutRetries(Executor):
    """Declares that it runs calls again whose worker died, and does not."""

    capabilities = Capabilities(levels={PROCESS}, kills=True, retries=True)

    def pools(self):
        return {PROCESS: ProcessPerCall}


class RunsCrashesAgain(Executor):
    """Runs calls again whose worker died, and does not declare it."""

    capabilities = Capabilities(levels={PROCESS}, kills=True)

    def pools(self):
        return {PROCESS: lambda: ProcessPerCall(runs=2)}


class LiesAboutLevels(Executor):
    """Declares processes, and has none."""

    capabilities = Capabilities(levels={THREAD, PROCESS})

    def pools(self):
        return {THREAD: ThreadPoolExecutor}


class CallsThreadsProcesses(Executor):
    """Has threads where it says that there are processes."""

    capabilities = Capabilities(levels={PROCESS})

    def pools(self):
        return {PROCESS: ThreadPoolExecutor}


class LiesAboutRemote(GoodOverride):
    """Declares remote processes, and has none."""

    capabilities = Capabilities(levels={THREAD}, remote=True)


class LiesAboutContext(GoodOverride):
    """Runs calls in threads without the context of their callers."""

    async def run_method(self, parallelization, method, instance, /, *args, **kwargs):
        if inspect.iscoroutinefunction(method) or parallelization is SEQUENTIAL:
            return await super().run_method(parallelization, method, instance, *args, **kwargs)
        call = bound(method, instance, args, kwargs)
        return await asyncio.wrap_future(in_new_thread(call))


class OwnPickler(Executor):
    """Gives calls to a standard process pool as they are, without an envelope."""

    capabilities = Capabilities(levels={PROCESS})

    def __init__(self, **options):
        super().__init__(**options)
        context = multiprocessing.get_context("forkserver")
        self._processes = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)

    async def run_method(self, parallelization, method, instance, /, *args, **kwargs):
        call = bound(method, instance, args, kwargs)
        if inspect.iscoroutinefunction(method):
            return await call()
        if parallelization is not PROCESS:
            return call()
        return await asyncio.wrap_future(self._processes.submit(call))


class LiesAboutAsync(GoodOverride):
    """Gives back the coroutine of an ``async def`` method, and does not await it."""

    async def run_method(self, parallelization, method, instance, /, *args, **kwargs):
        return await asyncio.to_thread(bound(method, instance, args, kwargs))


class StubbornPool(ThreadPoolExecutor):
    """Runs what was cancelled."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        call = functools.partial(fn, *args, **kwargs)
        super().submit(self._run, future, call)
        return future

    def _run(self, future, call):
        if future.cancelled():
            call()
        else:
            settle(future, call)


class LiesAboutCancels(Executor):
    """Declares that it cancels calls, and runs them all the same."""

    capabilities = Capabilities(levels={THREAD})

    def pools(self):
        return {THREAD: lambda: StubbornPool(1)}


class StarvesInside(Executor):
    """Has so many threads and no more, also for calls that wait for calls."""

    capabilities = Capabilities(levels={THREAD})

    def __init__(self, **options):
        super().__init__(**options)
        self._threads = ThreadPoolExecutor(2)

    async def run_method(self, parallelization, method, instance, /, *args, **kwargs):
        call = bound(method, instance, args, kwargs)
        if inspect.iscoroutinefunction(method):
            return await call()
        if parallelization is SEQUENTIAL:
            return call()
        context = contextvars.copy_context()
        return await asyncio.wrap_future(self._threads.submit(context.run, call))


class BlocksTheLoop(GoodOverride):
    """Waits for its threads where it should await them."""

    async def run_method(self, parallelization, method, instance, /, *args, **kwargs):
        if inspect.iscoroutinefunction(method) or parallelization is SEQUENTIAL:
            return await super().run_method(parallelization, method, instance, *args, **kwargs)
        call = bound(method, instance, args, kwargs)
        return in_new_thread(functools.partial(contextvars.copy_context().run, call)).result()


class EagerMap(GoodPools):
    """Takes all items before the first result."""

    def map(self, fn, *iterables, timeout=None, chunksize=1, buffersize=None, unordered=False):
        futures = [self.submit(fn, *args) for args in zip(*iterables)]
        return (future.result() for future in futures)

    def options(self, **limits):
        return self


class HastyPool(ThreadPoolExecutor):
    """Does not wait for what it runs."""

    def shutdown(self, wait=True, *, cancel_futures=False):
        super().shutdown(wait=False, cancel_futures=cancel_futures)


class DoesNotDrain(Executor):
    """Returns from closing while calls still run."""

    capabilities = Capabilities(levels={THREAD})

    def pools(self):
        return {THREAD: HastyPool}


class NeverEnds(GoodOverride):
    """Leaves a thread for which the interpreter waits."""

    def __init__(self, **options):
        super().__init__(**options)
        threading.Thread(target=threading.Event().wait).start()


class SwappingPool(ThreadPoolExecutor):
    """Gives two calls the results of each other."""

    def __init__(self):
        super().__init__(1)
        self._results = [0]

    def submit(self, fn, /, *args, **kwargs):
        return super().submit(self._run, functools.partial(fn, *args, **kwargs))

    def _run(self, call):
        self._results.append(call())
        return self._results[-2]


class SwapsResults(Executor):
    """Gives calls the results of other calls."""

    capabilities = Capabilities(levels={THREAD})

    def pools(self):
        return {THREAD: SwappingPool}


# Not for the gallery: they show what happens to the process of a check.


class NotMade(Executor):
    """Cannot be made."""

    def __init__(self, **options):
        super().__init__(**options)
        raise ZeroDivisionError


class Reporting(Executor):
    """Tells a gate that it was made, and hangs when it is to run a coroutine."""

    port: int = option(default=0, help="where the gate is")

    def __init__(self, **options):
        super().__init__(**options)
        _jobs.stay_connected(("127.0.0.1", self.port))

    def run_coroutine(self, coro):
        coro.close()
        threading.Event().wait()


class EndsTheProcess(Executor):
    """Ends the process when it is to run something."""

    def submit(self, fn, /, *args, **kwargs):
        os._exit(9)

    def options(self, **limits):
        return self
