"""Tasks for the tests of `connectors.tasks`."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading

from connectors.tasks import (
    AbstractExecutorTask,
    AbstractMultipleRunner,
    AbstractMultiprocessExecutorTask,
    AsyncExecutor,
    ProcessExecutor,
    ThreadExecutor,
)
from task_bodies import afail, fail, wait_for

CONTEXT = multiprocessing.get_context("forkserver")


class Named:
    """A task with a name, which notes that it was told to stop, and in which thread."""

    def __init__(self, name="task", **kwargs):
        super().__init__(**kwargs)
        self.name = name
        self.told = []

    @property
    def id(self):
        return self.name

    def create_async_task(self, loop):
        raise NotImplementedError


class ThreadTask(Named, AbstractExecutorTask):
    """Runs until it is told to stop, or does what *body* does."""

    def __init__(self, name="task", body=None):
        super().__init__(name)
        self.body = body
        self.stopping = threading.Event()

    def start(self):
        if self.body is None:
            self.stopping.wait(30)
            return "stopped"
        return self.body()

    def stop(self):
        self.told.append(threading.current_thread())
        self.stopping.set()


class AsyncTask(Named, AbstractExecutorTask):
    """The same in an event loop, of asyncio or trio; *body* is an async function."""

    def __init__(self, name="task", body=None):
        super().__init__(name)
        self.body = body or self.until_stopped

    def start(self):
        raise AssertionError("start() is not called in event loops")

    async def until_stopped(self):
        if self.loop is None:
            import trio

            await trio.sleep(30)
        else:
            await asyncio.sleep(30)

    def create_async_task(self, loop):
        self.loop = loop
        return self.body() if loop is None else loop.create_task(self.body())

    def stop(self):
        self.told.append(threading.current_thread())
        self.future.cancel()


class ProcessTask(AbstractMultiprocessExecutorTask):
    """Runs until it is told to stop, or does *target* with *args* in its process."""

    def __init__(self, name="task", target=None, args=(), context=CONTEXT):
        super().__init__()
        self.name = name
        self.stopping = context.Event() if target is None else None
        self.pair = (target or wait_for, args if target else (self.stopping,))
        self.told = []

    @property
    def id(self):
        return self.name

    def start(self):
        return self.pair

    def stop(self):
        self.told.append(threading.current_thread())
        if self.stopping is not None:
            self.stopping.set()


HEALTHY = {"threaded": ThreadTask, "async": AsyncTask, "multiprocess": ProcessTask}
FAILING = {
    "threaded": lambda name, message="it broke": ThreadTask(name, lambda: fail(message)),
    "async": lambda name, message="it broke": AsyncTask(name, lambda: afail(message)),
    "multiprocess": lambda name, message="it broke": ProcessTask(name, fail, (message,)),
}
EXECUTORS = {"threaded": ThreadExecutor, "async": AsyncExecutor, "multiprocess": ProcessExecutor}
MODES = list(EXECUTORS)


class Runner(AbstractMultipleRunner):
    """Runs the tasks that it is given."""

    SUPPORTED_MODES = EXECUTORS

    def __init__(self, mode, tasks, fail_policy="propagate"):
        self.given = tasks
        super().__init__(mode, fail_policy)

    def _make_tasks(self):
        return self.given
