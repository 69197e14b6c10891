"""Functions that worker processes import."""

import contextvars
import os
import signal
import time

variable = contextvars.ContextVar("variable", default="unset")


def nothing():
    pass


def pid():
    return os.getpid()


def keywords(**kwargs):
    return kwargs


def stop():
    raise StopIteration("stray")


def crash(how):
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def mark_and_sleep(path, seconds):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(seconds)


def mark(path):
    with open(path, "a") as file:
        file.write("x")


class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.lock = __import__("threading").Lock()


def raise_unpicklable():
    raise Unpicklable("the message", 2)


async def coroutine():
    return 1


def nested():
    import asyncio

    from connectors import aio

    return asyncio.run(aio.in_process(pid))
