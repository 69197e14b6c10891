"""A host application for the tests; worker processes import it by name."""

from __future__ import annotations

import asyncio
import os
import threading

import trio

from connectors import Host, Parallelization
from connectors._worlds import current_world

host = Host("studio", executor="sequential")


@host.connector(parallelization=Parallelization.PROCESS)
def detect(frame, factor=1):
    """Detect."""
    return frame * factor


@host.connector(executor="threading")
def scale(frame):
    return frame


@host.connector(parallelization=Parallelization.PROCESS)
def level():
    return os.getpid(), threading.get_ident()


@host.connector(parallelization=Parallelization.PROCESS)
def apply(method, argument):
    with host.use(executor="threading"):
        return method(argument)


@host.connector(timeout=0.01)
async def wait_in_loop():
    await (trio.sleep_forever() if current_world() == "trio" else asyncio.Event().wait())


class Camera:
    def __init__(self, value):
        self.value = value

    @host.connector
    def read(self, x):
        return self.value + x

    @host.connector(parallelization=Parallelization.PROCESS)
    @classmethod
    def kind(cls, x):
        return cls.__name__, x

    @host.connector(parallelization=Parallelization.PROCESS)
    @staticmethod
    def double(x):
        return 2 * x

    @host.connector
    async def grab(self, x):
        await (trio.sleep(0) if current_world() == "trio" else asyncio.sleep(0))
        return self.value + x
