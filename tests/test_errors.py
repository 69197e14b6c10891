"""Every error: its bases, its sentence, its journey through a pickle."""

import concurrent.futures
import copy
import pickle

import pytest

import connectors
from connectors import Parallelization

ERRORS = [
    connectors.ExecutorNotFoundError("dsk", ("dask", "trio"), "Install it."),
    connectors.PluginLoadError("dask", "connectors-dask 1.0", "no module", "Upgrade it."),
    connectors.PluginClashError("fast", ("one", "two")),
    connectors.SettingsError("a.toml: no key 'x'"),
    connectors.OptionError("no option 'x'"),
    connectors.ExecutorOpenError("'dask'", {"dask": "no scheduler"}),
    connectors.ExecutorClosedError("threading"),
    connectors.FallbackError(
        "f", "threading", Parallelization.PROCESS, Parallelization.THREAD, "no pool"
    ),
    connectors.CallTimeoutError("f", 0.5, "it goes on"),
    connectors.WorkerCrashError("f", -9, "last words"),
    connectors.WorkerCrashError("f", 3),
    connectors.WorkerCrashError("f", -200),
    connectors.WorkerCrashError("f"),
    connectors.PicklingError("the call of f", "args[0].lock", "TypeError: no"),
    connectors.RemoteError("pkg.Error", "text", "Traceback", "no class"),
    connectors.MethodNotFoundError("camera", "detct", ("camera.detect",)),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickle_and_copy(error):
    """An error that travelled has the sentence and the values that it left with."""
    for travelled in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(travelled) is type(error)
        assert str(travelled) == str(error)
        assert vars(travelled) == vars(error)


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (connectors.ExecutorNotFoundError, LookupError),
        (connectors.MethodNotFoundError, LookupError),
        (connectors.PluginClashError, LookupError),
        (connectors.PluginLoadError, ImportError),
        (connectors.SettingsError, ValueError),
        (connectors.OptionError, TypeError),
        (connectors.ExecutorOpenError, RuntimeError),
        (connectors.ExecutorClosedError, RuntimeError),
        (connectors.FallbackError, RuntimeError),
        (connectors.CallTimeoutError, TimeoutError),
        (connectors.WorkerCrashError, concurrent.futures.BrokenExecutor),
        (connectors.PicklingError, pickle.PicklingError),
        (connectors.RemoteError, Exception),
    ],
)
def test_an_error_is_what_a_caller_would_catch(kind, base):
    """Each error is ours and also the built-in that a caller would expect."""
    assert issubclass(kind, connectors.ConnectorsError)
    assert issubclass(kind, base)


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (ERRORS[0], ["'dsk'", "dask, trio", "Did you mean 'dask'?", "Install it."]),
        (ERRORS[2], ["'fast'", "'one:fast' or 'two:fast'"]),
        (ERRORS[6], ["'threading'", "closed", 'connectors.executor("threading")']),
        (ERRORS[7], ["PROCESS", "strict", "no pool", "THREAD"]),
        (ERRORS[8], ["f took longer", "0.5 s", "it goes on"]),
        (ERRORS[9], ["SIGKILL", "retries=1", "last words"]),
        (ERRORS[10], ["exited with code 3"]),
        (ERRORS[11], ["signal 200"]),
        (ERRORS[15], ["'camera'", "Did you mean 'camera.detect'?"]),
    ],
)
def test_a_message_names_value_place_and_cure(error, parts):
    """A message is enough to mend what is wrong."""
    for part in parts:
        assert part in str(error)


def test_a_list_of_nothing_is_named():
    """Where nothing is installed, the message says so."""
    assert "installed: nothing." in str(connectors.ExecutorNotFoundError("x", ()))
