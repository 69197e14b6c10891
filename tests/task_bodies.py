"""Bodies of tasks. Processes import this module, so it imports little."""

from __future__ import annotations

import os
import signal
import time


def wait_for(event):
    event.wait(30)
    return "stopped"


def fail(message="it broke"):
    raise ValueError(message)


async def afail(message="it broke"):
    raise ValueError(message)


def sleep(seconds=30):
    time.sleep(seconds)


def ignore_sigterm(conn):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    conn.send(os.getpid())
    time.sleep(30)


def say_pid_and_wait(conn):
    conn.send(os.getpid())
    time.sleep(30)


def leave(code):
    os._exit(code)


def exit_now():
    raise SystemExit(4)


def interrupt():
    raise KeyboardInterrupt


def put_pid(queue):
    queue.put(os.getpid())
