"""`parallelise`: numbered jobs side by side."""

import contextvars
import functools
import logging
import os
import signal
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import connectors
from background_watch import LONG, comes, nothing_is_left  # noqa: F401
from connectors import WorkerCrashError
from connectors.background import BgException, BgInvoke, OutcomeState, parallelise

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")
ROOM = "connectors.background"


def square(i):
    return i * i


def kill_or_square(i, victim, number):
    if i == victim:
        os.kill(os.getpid(), number)
    return i * i


def exit_or_square(i, victim, code):
    if i == victim:
        os._exit(code)
    return i * i


def pid(i):
    return os.getpid()


def fail_odd(i):
    if i % 2:
        raise ValueError(f"odd {i}")
    return i


def pair(i, outer):
    return (outer, i)


def nested(i, executor):
    return parallelise(pair, 2, i, num_threads=2, executor=executor)


def logger_name(i, logger):
    return logger.name


def test_b6_arguments():
    """B-6: positional and keyword arguments follow the index."""
    found = parallelise(lambda i, a, k=None: (i, a, k), 3, "A", k="K", num_threads=2)
    assert found == [(0, "A", "K"), (1, "A", "K"), (2, "A", "K")]


def test_b7_results_stand_in_the_order_of_the_jobs():
    """B-7: jobs that are made to end in reverse order."""
    ended = [threading.Event() for _ in range(5)]
    ended[4].set()
    order = []

    def job(i):
        assert ended[i].wait(LONG)
        order.append(i)
        if i:
            ended[i - 1].set()
        return i

    assert parallelise(job, 5, num_threads=5) == [0, 1, 2, 3, 4]
    assert order == [4, 3, 2, 1, 0]


def test_b8_warn(caplog):
    """B-8: under "warn" the places of failed jobs are None, and each is told with its index."""
    with caplog.at_level(logging.WARNING, ROOM):
        assert parallelise(fail_odd, 4, num_threads=2, bg_exception="warn") == [0, None, 2, None]
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert sorted(record.getMessage()[:5] for record in told) == ["job 1", "job 3"]
    assert all(isinstance(record.exc_info[1], ValueError) for record in told)


def test_b8_raise():
    """B-8: under "raise" it is a BgException from the original."""
    with pytest.raises(BgException, match="job 1 of fail_odd failed") as info:
        parallelise(fail_odd, 4, num_threads=1)
    assert info.value.__cause__.args == ("odd 1",)
    assert info.value.outcome.id == 1
    assert info.value.outcome.state is OutcomeState.failed


@pytest.mark.parametrize("number", [0, -1, 2.0, "3", None, False])
def test_b9_number_of_jobs(number):
    """B-9: what is no positive int is a ValueError."""
    with pytest.raises(ValueError, match="num_jobs="):
        parallelise(lambda i: pytest.fail("it ran"), number)


def test_true_counts_as_one():
    """One job, and one thread."""
    assert parallelise(square, True, num_threads=True) == [0]


@pytest.mark.parametrize("executor", ["threading", "sequential", "multiprocessing"])
def test_b10_nested(executor):
    """B-10: a job may itself call parallelise, on every executor."""
    found = parallelise(nested, 2, executor, num_threads=2, executor=executor)
    assert found == [[(0, 0), (0, 1)], [(1, 0), (1, 1)]]


def test_nested_in_a_given_executor_of_one_thread():
    """A job that calls parallelise on its own executor never starves."""
    with connectors.executor("threading", threads=1) as executor:
        found = parallelise(lambda i: nested(i, executor), 2, executor=executor, num_threads=2)
    assert found == [[(0, 0), (0, 1)], [(1, 0), (1, 1)]]


@pytest.mark.parametrize("threads", [0, -1, 2.0, "2", False])
def test_br2_number_of_threads(threads):
    """BR2: 0 threads, and all that is no positive int, is a ValueError before anything runs."""
    with pytest.raises(ValueError, match="num_threads="):
        parallelise(lambda i: pytest.fail("it ran"), 2, num_threads=threads)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"bg_exception": "ignore"}, ValueError, "expected 'raise' or 'warn'"),
        ({"bg_exception": None}, ValueError, "bg_exception"),
        ({"bg_exception": ["warn"]}, ValueError, "bg_exception"),
        ({"logger": "me"}, TypeError, "logger='me' is no logger"),
        ({"pass_logger": 1}, TypeError, "pass_logger=1"),
        ({"wait": None}, TypeError, "wait=None"),
        ({"executor": 3}, TypeError, "executor=3"),
        ({"executor": None}, TypeError, "executor=None"),
        ({"executor": "threadin"}, LookupError, "Did you mean 'threading'"),
    ],
)
def test_br19_everything_is_checked_before_the_first_job(options, error, match):
    """BR19: a wrong argument is told at once, and no job runs."""
    with pytest.raises(error, match=match):
        parallelise(lambda i: pytest.fail("it ran"), 2, **options)


def test_br19_the_function_and_the_executor_too():
    """BR19: what cannot be called, what has to be awaited, and a closed executor."""

    async def nap(i):
        """Do nothing."""

    with pytest.raises(TypeError, match="cannot be called"):
        parallelise(None, 2)
    with pytest.raises(TypeError, match="async def"):
        parallelise(nap, 2)
    with connectors.executor("threading") as executor:
        pass
    with pytest.raises(connectors.ExecutorClosedError):
        parallelise(square, 2, executor=executor)


def test_br19_any_logger(caplog):
    """BR19: a stdlib logger, an adapter and None."""
    mine = logging.getLogger("mine")
    with caplog.at_level(logging.INFO):
        for logger in (mine, logging.LoggerAdapter(mine, {}), None):
            parallelise(fail_odd, 2, logger=logger, bg_exception="warn")
    assert {record.name for record in caplog.records} == {"mine", ROOM}


def test_every_thousandth_job_is_logged(caplog):
    """The 1st, the 1001st and the 2001st job are told of."""
    with caplog.at_level(logging.INFO, ROOM):
        parallelise(square, 2002, num_threads=2)
    told = {record.getMessage() for record in caplog.records}
    assert {f"square: job {number} of 2002" for number in (1, 1001, 2001)} == told


def test_pass_logger():
    """The jobs get the logger, unless they have one already."""
    mine = logging.getLogger("mine")
    other = functools.partial(logger_name, logger=logging.getLogger("other"))
    assert parallelise(logger_name, 1, pass_logger=True, logger=mine) == ["mine"]
    assert parallelise(logger_name, 1, pass_logger=True) == [ROOM]
    assert parallelise(other, 1, pass_logger=True, logger=mine) == ["other"]
    assert parallelise(lambda i, **kwargs: kwargs, 1) == [{}]


def test_br5_every_keyword_reaches_the_jobs():
    """BR5: those with names of our own positional parameters directly, others by partial."""
    given = dict.fromkeys(["func", "num_jobs", "fn_args", "self", "fn", "function", "index"], 1)
    assert parallelise(lambda i, **kwargs: kwargs, 1, **given) == [given]
    own = functools.partial(lambda i, wait, executor: (wait, executor), wait=1, executor=2)
    assert parallelise(own, 1) == [(1, 2)]


@pytest.mark.parametrize("way", ["threading", "multiprocessing", "sequential", "observed", "given"])
def test_no_more_than_num_threads_at_once_and_in_order(way, tmp_path):
    """Jobs start in the order of their indices, as many at once as were asked for."""
    if way == "multiprocessing":
        pids = parallelise(pid, 12, num_threads=2, executor=way)
        assert len(set(pids)) <= 2
        assert os.getpid() not in pids
        return
    lock, state = threading.Lock(), {"now": 0, "most": 0, "starts": []}

    def job(i):
        with lock:
            state["now"] += 1
            state["most"] = max(state["most"], state["now"])
            state["starts"].append(i)
        time.sleep(0.002)
        with lock:
            state["now"] -= 1
        return i

    if way == "observed":
        with connectors.observe() as events:
            found = parallelise(job, 30, num_threads=3)
        assert sum(type(event).__name__ == "CallFinished" for event in events) >= 30
    elif way == "given":
        with connectors.executor("threading", threads=8) as executor:
            found = parallelise(job, 30, num_threads=3, executor=executor)
            assert executor.submit(square, 2).result() == 4
    else:
        found = parallelise(job, 30, num_threads=3, executor=way)
    assert found == list(range(30))
    assert state["most"] <= (1 if way == "sequential" else 3)
    assert all(abs(place - i) < 3 for place, i in enumerate(state["starts"]))


@given(jobs=st.integers(1, 40), threads=st.integers(1, 6), odd=st.booleans())
def test_any_number_of_jobs_on_any_number_of_threads(jobs, threads, odd):
    """The list has a place for each job."""
    work = fail_odd if odd else square
    found = parallelise(work, jobs, num_threads=threads, bg_exception="warn")
    assert found == [None if odd and i % 2 else (i if odd else i * i) for i in range(jobs)]


def test_num_threads_defaults_to_four_fifths_of_the_cpus(monkeypatch):
    """80 % of the CPUs, at least one."""
    most = []
    for cpus, expected in ((1, 1), (2, 1), (5, 4), (10, 8)):
        monkeypatch.setenv("PYTHON_CPU_COUNT", str(cpus))
        gate = threading.Barrier(expected)
        parallelise(lambda i, gate=gate: gate.wait(LONG), expected)
        most.append(expected)
    assert most == [1, 1, 4, 8]


def test_br1_no_delay_anywhere():
    """BR1: 16 jobs of 10 ms on 2 threads take 0.08 s and little more."""
    best = min(
        timed(lambda: parallelise(lambda i: time.sleep(0.01), 16, num_threads=2)) for _ in range(3)
    )
    assert best < 0.8


def timed(function):
    begin = time.monotonic()
    function()
    return time.monotonic() - begin


@pytest.mark.parametrize("executor", ["threading", "given"])
def test_a_failure_starts_no_further_job_and_waits_for_the_started(executor):
    """On the first failure no further job starts; it leaves when the started ones have ended."""
    with connectors.executor("threading", threads=4) as given:
        started, ended, failed, go = [], [], threading.Event(), threading.Event()

        def job(i):
            started.append(i)
            if i == 1:
                failed.set()
                raise ValueError
            assert go.wait(LONG)
            ended.append(i)

        chosen = given if executor == "given" else executor
        leaving = BgInvoke(parallelise, job, 100, num_threads=2, executor=chosen)
        assert failed.wait(LONG)
        assert leaving.is_running()
        go.set()
        leaving.thread.join(LONG)
        assert isinstance(leaving.outcome.error, BgException)
        assert set(started) <= {0, 1, 2}  # job 0 may have ended before the failure was known
        assert set(ended) == set(started) - {1}


def test_several_failures_leave_as_a_group_in_order():
    """Jobs that had failed by then are the cause together, in the order of their indices."""
    barrier, order = threading.Barrier(3), threading.Event()

    def job(i):
        barrier.wait(LONG)
        if i == 2:
            order.set()
        elif i == 0:
            assert order.wait(LONG)
        raise [ValueError, KeyError, SystemExit][i](i)

    with pytest.raises(BgException, match="jobs 0, 1, 2 of") as info:
        parallelise(job, 3, num_threads=3)
    cause = info.value.__cause__
    assert [type(error) for error in cause.exceptions] == [ValueError, KeyError, SystemExit]
    assert isinstance(cause, BaseExceptionGroup)
    assert info.value.outcome.id == 0


def new_threads(before):
    """Return the threads of this library that there were not *before*."""
    return [
        thread
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith("connectors-")
    ]


def test_without_waiting_a_failure_leaves_at_once(caplog):
    """With wait=False the started jobs are abandoned, which is told; none starts any more."""
    go, runs, started = threading.Event(), threading.Event(), []
    before = set(threading.enumerate())

    def job(i):
        started.append(i)
        if i:
            assert runs.wait(LONG)
            raise ValueError("at once")
        runs.set()
        assert go.wait(LONG)

    with caplog.at_level(logging.WARNING, ROOM), pytest.raises(BgException, match="at once"):
        parallelise(job, 50, num_threads=2, wait=False)
    assert "abandoned started jobs: 0" in caplog.text
    go.set()
    assert comes(lambda: not [new for new in new_threads(before) if "clock" not in new.name])
    assert started == [0, 1]


def test_br20_the_context_of_the_caller():
    """BR20: each job sees the context variables of the caller, and changes only its own."""

    def job(i):
        seen = VARIABLE.get()
        VARIABLE.set("changed")
        return seen

    token = VARIABLE.set("mine")
    with connectors.executor("threading") as executor:
        for chosen in ("threading", "sequential", executor):
            assert parallelise(job, 5, num_threads=2, executor=chosen) == ["mine"] * 5
    assert VARIABLE.get() == "mine"
    VARIABLE.reset(token)


def test_processes():
    """By name the jobs run in processes; lambdas travel too."""
    assert parallelise(square, 5, num_threads=2, executor="multiprocessing") == [0, 1, 4, 9, 16]
    base = 3
    assert parallelise(lambda i: base + i, 3, num_threads=2, executor="multiprocessing") == [
        3,
        4,
        5,
    ]
    assert parallelise(logger_name, 1, pass_logger=True, executor="multiprocessing") == [ROOM]


def test_what_cannot_travel_is_a_failure_and_runs_nowhere_else():
    """A job for a process never falls back to this one."""
    lock = threading.Lock()
    with pytest.raises(BgException, match="lock") as info:
        parallelise(lambda i, lock: os.getpid(), 2, lock, executor="multiprocessing")
    assert isinstance(info.value.__cause__, connectors.PicklingError)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_br21_a_killed_process(number):
    """BR21: the job is crashed, and the outcome says by which signal."""
    with pytest.raises(BgException) as info:
        parallelise(kill_or_square, 4, 1, number, num_threads=1, executor="multiprocessing")
    outcome = info.value.outcome
    assert (outcome.state, outcome.signal, outcome.exit_code) == ("crashed", number, None)
    assert outcome.id == 1
    assert isinstance(info.value.__cause__, WorkerCrashError)
    with pytest.raises(WorkerCrashError):
        outcome.result()


def test_br21_an_exited_process():
    """BR21: the outcome has the exit code."""
    with pytest.raises(BgException) as info:
        parallelise(exit_or_square, 4, 2, 3, num_threads=2, executor="multiprocessing")
    outcome = info.value.outcome
    assert (outcome.state, outcome.signal, outcome.exit_code) == (OutcomeState.crashed, None, 3)


def test_br21_the_others_go_on():
    """BR21: under "warn" the place of a crashed job is None."""
    found = parallelise(
        kill_or_square, 6, 2, signal.SIGKILL,
        num_threads=2, executor="multiprocessing", bg_exception="warn",
    )  # fmt: skip
    assert found == [0, 1, None, 9, 16, 25]


def test_br21_killed_from_outside(tmp_path):
    """BR21: kill -9 of a worker by somebody else is the crash of its job."""

    def job(i, directory):
        (directory / f"{i}").write_text(str(os.getpid()))
        os.rename(directory / f"{i}", directory / f"pid{i}")
        if i == 0:
            time.sleep(LONG)
        return i

    running = BgInvoke(
        parallelise, job, 4, tmp_path,
        num_threads=2, executor="multiprocessing", bg_exception="warn",
    )  # fmt: skip
    assert comes((tmp_path / "pid0").exists)
    os.kill(int((tmp_path / "pid0").read_text()), signal.SIGKILL)
    running.thread.join(LONG)
    assert running.result == [None, 1, 2, 3]


class Furious(logging.Logger):
    """A logger that raises whatever it is told."""

    def __init__(self, error):
        super().__init__("furious")
        self.error = error

    def info(self, *args, **kwargs):
        raise self.error

    warning = info


@pytest.mark.parametrize("executor", ["threading", "sequential", "multiprocessing"])
def test_a_logger_that_raises_harms_nobody(executor):
    """What cannot be told is not told, and the jobs go on."""
    found = parallelise(
        fail_odd, 3, num_threads=2, logger=Furious(OSError()),
        bg_exception="warn", executor=executor,
    )  # fmt: skip
    assert found == [0, None, 2]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("way", ["threading", "given", "multiprocessing", "sequential"])
def test_a_logger_that_leaves_hangs_nobody(way, kind):
    """Whatever a logger raises in another thread than the main one is no Ctrl-C: it is survived."""
    with connectors.executor("threading", threads=2) as given:
        running = BgInvoke(
            parallelise, fail_odd, 4, num_threads=1, logger=Furious(kind()),
            bg_exception="warn", executor=given if way == "given" else way,
        )  # fmt: skip
        running.thread.join(LONG)
        assert running.result == [0, None, 2, None]


def interrupt_odd(i):
    if i % 2:
        raise KeyboardInterrupt(f"odd {i}")
    return i


def interrupted_jobs(executor):
    return parallelise(interrupt_odd, 4, num_threads=1, bg_exception="warn", executor=executor)


def test_br3_an_interrupt_that_a_job_raises_is_its_failure():
    """BR3: also where jobs run in the thread that starts them, unless that is the main thread."""
    running = BgInvoke(interrupted_jobs, "sequential")
    running.thread.join(LONG)
    assert running.result == [0, None, 2, None]
    # In a worker process there are no further processes, so that its jobs run near.
    with connectors.executor("multiprocessing", processes=1) as executor:
        found = executor.submit(interrupted_jobs, "multiprocessing").result(LONG)
    assert found == [0, None, 2, None]


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("executor", ["threading", "given", "sequential"])
def test_br18_an_interrupt_starts_no_further_job(executor, wait, request):
    """BR18: after Ctrl-C in the wait, no job starts; started ones are awaited or left."""
    if executor == "sequential":
        started = []

        def job(i):
            started.append(i)
            if i == 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            parallelise(job, 5, executor="sequential", wait=wait)
        assert started == [0, 1]
        return
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread")
    with connectors.executor("threading", threads=4) as given:
        go, started, ended = threading.Event(), [], []
        both = threading.Barrier(2, lambda: os.kill(os.getpid(), signal.SIGINT))

        def job(i):
            started.append(i)
            if i < 2:
                both.wait(LONG)
            assert go.wait(LONG)
            ended.append(i)

        def interrupt(*_):
            if wait:
                threading.Timer(1, go.set).start()
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, interrupt)
        request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
        with pytest.raises(KeyboardInterrupt):
            chosen = given if executor == "given" else executor
            parallelise(job, 50, num_threads=2, executor=chosen, wait=wait)
        assert sorted(started) == [0, 1]
        assert sorted(ended) == ([0, 1] if wait else [])
        go.set()
        assert comes(lambda: sorted(ended) == [0, 1])
        assert sorted(started) == [0, 1]


def test_br18_a_second_interrupt_leaves_at_once(request):
    """BR18: the second Ctrl-C does not wait for the started jobs any more."""
    go, ended, interrupts = threading.Event(), [], []
    both = threading.Barrier(2, lambda: os.kill(os.getpid(), signal.SIGINT))

    def job(i):
        both.wait(LONG)
        assert go.wait(LONG)
        ended.append(i)

    def interrupt(*_):
        interrupts.append(None)
        if len(interrupts) == 1:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt):
        parallelise(job, 10, num_threads=2)
    assert len(interrupts) == 2
    assert ended == []
    go.set()
    assert comes(lambda: len(ended) == 2)
