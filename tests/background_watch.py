"""What the tests of `connectors.background` share: limits, and the watch for what is left over."""

import contextlib
import gc
import os
import threading
import time

import pytest

from connectors.background import bg_proc_manager

#: Seconds after which something that has to come has not come.
LONG = 30


def threads():
    """The threads that there are, without those that are kept on purpose."""
    kept = ("BgProcManager", "connectors-clock", "pytest_timeout")
    return {t for t in threading.enumerate() if not t.name.startswith(kept)}


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def comes(condition, seconds=LONG):
    """Tell whether *condition* holds soon; only for what nothing tells of when it comes."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left():
    """A module of tests leaves no thread and no descriptor behind."""
    before, opened = threads(), descriptors()
    yield
    bg_proc_manager.wait_until_empty(LONG)
    gc.collect()
    assert comes(lambda: not threads() - before), threads() - before
    # The template of worker processes is kept, and what leads to it.
    assert comes(lambda: descriptors() <= opened + 12), os.listdir("/proc/self/fd")


@contextlib.contextmanager
def no_collector():
    """Only the counting of references lets things go."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Landmark:
    """Something that a weak reference can lead to."""
