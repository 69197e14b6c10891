"""Functions that the tests of the process pool run in workers; cheap to import there."""

import contextvars
import ctypes
import logging
import os
import signal
import sys
import threading
import time
import warnings

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")
STATE = []


def add(a, b=0):
    return a + b


def pid(_=None):
    return os.getpid()


def echo(value):
    return value


def size_of(value):
    return len(value)


def alive(pid):
    """Tell whether process *pid* exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(path, value=None):
    """Return *value* when the file at *path* is there."""
    while not os.path.exists(path):
        time.sleep(0.002)
    return value


def touch_and_wait(begun, path, value=None):
    """Tell by the file *begun* that the call has begun, then `wait_for`."""
    with open(begun, "w") as file:
        file.write(str(os.getpid()))
    return wait_for(path, value)


def note(path, value):
    """Append a line to *path*, atomically, and return *value*."""
    with open(path, "a") as file:
        file.write(f"{value}\n")
    return value


def sleep(seconds, value=None):
    time.sleep(seconds)
    return value


def spin(seconds):
    """Keep a CPU busy, without ever waiting."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def die(how):
    """End this process: by a signal, or with an exit code if *how* is negative."""
    if how < 0:
        os._exit(-how)
    os.kill(os.getpid(), how)
    time.sleep(60)


def segfault():
    ctypes.string_at(0)


def die_once(path):
    """Kill this process the first time; afterwards return how it went."""
    if os.path.exists(path):
        return "second run"
    with open(path, "w"):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def shout_and_die():
    sys.stderr.write("the last words\n")
    sys.stderr.flush()
    os._exit(3)


def shout_much(count):
    sys.stderr.write(("x" * 99 + "\n") * (count // 100))
    return "done"


def close_standard_files():
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    return "closed"


def write_standard_files():
    os.write(1, b"")
    os.write(2, b"")
    sys.stdout = None
    return "written"


def close_everything():
    os.closerange(3, 256)
    return "closed"


def change_signals():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)


def ignore_sigterm_and_sleep(begun):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    touch_and_wait(begun, "/nonexistent")


def fork_and_leave_both():
    """Return in two processes."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return "returned"


def fork_a_survivor():
    """Return the pid of a fork that lives on for a minute."""
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    return child


def start_endless_thread():
    threading.Thread(target=threading.Event().wait).start()


def nested(count):
    from connectors.pools import ProcessPool

    with ProcessPool(1) as pool:
        return [pool.submit(add, number, 1).result() for number in range(count)]


def exit_call(kind):
    raise kind("stop")


class TwoArguments(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class ExplodesOnLoad:
    def __reduce__(self):
        return explode, ()


def explode():
    raise ValueError("boom at load")


class ExplodingError(Exception):
    def __reduce__(self):
        return explode, ()


def raise_error(kind, *args):
    raise kind(*args)


def raise_locked():
    raise ValueError(threading.Lock())


def bring(kind):
    """Return an instance of *kind*."""
    return kind()


def lock():
    return threading.Lock()


def ring():
    value = []
    value.append(value)
    return value


def is_ring(value):
    return value[0] is value


def grab(size):
    return len(bytearray(size))


def log(message):
    logging.getLogger("process.calls").warning(message)
    warnings.warn("warned " + message, stacklevel=1)


def variable():
    return VARIABLE.get()


def environment(name):
    return os.environ.get(name)


def remember(value):
    STATE.append(value)
    return len(STATE)


def add_one_in_place(array):
    was = array.copy()
    array += 1
    return bool((array == was + 1).all()), array


class Camera:
    def __init__(self, value):
        self.value = value

    def read(self, more=0):
        return self.value + more


def whereabouts():
    return os.getcwd(), list(sys.path), list(sys.argv)


def fail_to_start():
    raise RuntimeError("no licence")


def crash_at_start():
    os._exit(9)


def set_state():
    STATE.append("initialized")


def state():
    return list(STATE)
