"""Rules N-42 to N-48 of the network: robust execution."""

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import signal
import subprocess
import threading

import pytest
import trio

import connectors
from connectors import (
    ConnectorsError,
    ExecutorNotFoundError,
    Input,
    MultiInput,
    MultiInputData,
    MultiOutput,
    Output,
    WorkerCrashError,
    events,
)
from rule_blocks import (
    BOUND,
    PROCESS,
    SEQUENTIAL,
    THREAD,
    Collector,
    CrashesOnArrival,
    Crashing,
    Holder,
    NewArguments,
    Node,
    Pair,
    ProcessReplacer,
    ProcessWriter,
    WithNewArguments,
    WithReduce,
    ends,
    environment,
    here,
    nothing,
    place_of,
    raiser,
    real,
    run_script,
    script,
    spawn,
    until,
    wait,
)

# N-42: interrupting and cancelling


@contextlib.contextmanager
def program(tmp_path, source):
    """Run *source* as a program in a process group of its own; nobody survives the block."""
    process = subprocess.Popen(
        script(tmp_path, source),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


HEAR = """
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
"""
THREADED = (
    HEAR
    + """
    import threading
    import connectors
    from rule_blocks import Node

    release = threading.Event()
    source, sink = Node(1), Node()
    source.on_get = lambda: (print("ready", flush=True), release.wait())
    sink.set_value.connect(source.get_value)
    try:
        sink.get_value()
    except KeyboardInterrupt:
        print("interrupted", release.is_set(), flush=True)
    release.set()
    print(sink.get_value(), flush=True)
    source.on_get = lambda: None
    source.set_value(2)
    print(sink.get_value(), flush=True)
"""
)
IN_PROCESS = (
    HEAR
    + """
    import os, time
    import connectors
    from connectors import Output, Input, Parallelization

    class Slow:
        value = 1

        @Output(parallelization=Parallelization.PROCESS)
        def get(self):
            open({path!r} + ".begun", "w").close()
            while not os.path.exists({path!r}):
                time.sleep(0.005)
            return self.value, os.getpid()

        @Input("get")
        def set(self, value):
            self.value = value

    slow = Slow()
    with connectors.executor(threads={threads}, processes=1) as executor:
        slow.get.set_executor(executor)
        try:
            slow.get()
        except KeyboardInterrupt:
            print("interrupted", os.path.exists({path!r}), flush=True)
        open({path!r}, "w").close()
        value, pid = slow.get()
        print(value, pid != os.getpid(), flush=True)
        slow.set(2)
        value, pid = slow.get()
        print(value, pid != os.getpid(), flush=True)
"""
)


def test_n_42_an_interrupt_leaves_a_thread_behind(tmp_path):
    """Ctrl-C ends a blocking read while its thread method still runs; the next read is right."""
    with program(tmp_path, THREADED) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)

    lines = [line for line in out.splitlines() if line != "ready"]
    assert (lines, err, process.returncode) == (["interrupted False", "1", "2"], "", 0)


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("threads", [0, 2])
def test_n_42_an_interrupt_of_a_process_method(tmp_path, threads, group):
    """The same for a PROCESS method, also if its worker hears Ctrl-C as well."""
    path = str(tmp_path / "go")
    with program(tmp_path, IN_PROCESS.format(path=path, threads=threads)) as process:
        until(lambda: os.path.exists(path + ".begun"))
        (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert (out.splitlines(), err) == (["interrupted False", "1 True", "2 True"], "")
    assert process.returncode == 0


class Blocked:
    """A chain whose source's THREAD getter blocks until it is released."""

    def __init__(self):
        self.started, self.release = threading.Event(), threading.Event()
        self.source, self.sink = Node(1), Node()
        self.source.on_get = lambda: (self.started.set(), wait(self.release))
        self.sink.set_value.connect(self.source.get_value)

    def check(self):
        assert not self.release.is_set()
        self.release.set()
        assert ends(self.sink.get_value) == 1
        self.source.set_value(2)
        assert ends(self.sink.get_value) == 2


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_n_42_cancelling_under_asyncio(how):
    """A cancelled `aio` ends while its thread method still runs; the next read is right."""
    blocked = Blocked()

    async def body():
        if how == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await blocked.sink.get_value.aio()
            return
        task = asyncio.create_task(blocked.sink.get_value.aio())
        while not blocked.started.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(body())
    blocked.check()


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_n_42_cancelling_under_trio(how):
    """The same under trio."""
    blocked = Blocked()

    async def body():
        if how == "timeout":
            with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
                await blocked.sink.get_value.aio()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(blocked.sink.get_value.aio)
            while not blocked.started.is_set():
                await trio.sleep(0)
            nursery.cancel_scope.cancel()

    trio.run(body)
    blocked.check()


def test_n_42_a_cancelled_reader_takes_nobody_along():
    """A second reader that joined the run of a cancelled one gets its value."""
    blocked = Blocked()
    begun = threading.Event()

    async def body():
        task = asyncio.create_task(blocked.sink.get_value.aio())
        while not blocked.started.is_set():
            await asyncio.sleep(0)
        joined = spawn(lambda: (begun.set(), blocked.sink.get_value())[1])
        await asyncio.to_thread(wait, begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return joined

    joined = asyncio.run(body())
    blocked.release.set()
    assert joined.result(BOUND) == 1


@pytest.mark.parametrize("world", ["plain", "asyncio", "trio"])
def test_n_42_a_failure_does_not_wait_for_slower_siblings(world):
    """A failing branch is reported while its slower sibling still runs."""
    bad, pair, blocked = Node(), Pair(), Blocked()
    bad.on_get = lambda: (wait(blocked.started), raiser(ValueError("broken"))())
    pair.set_a.connect(blocked.source.get_value)
    pair.set_b.connect(bad.get_value)
    with connectors.executor(threads=4) as executor:
        pair.get.set_executor(executor)

        with pytest.raises(ValueError, match="broken"):
            if world == "plain":
                ends(pair.get)
            elif world == "asyncio":
                asyncio.run(pair.get.aio())
            else:
                trio.run(pair.get.aio)

        assert not blocked.release.is_set()
        blocked.release.set()
        bad.on_get = nothing
        assert ends(pair.get) == (1, None)
    assert blocked.source.log == ["node.get"]


# N-43: crashed workers


@pytest.mark.parametrize("threads", [0, 2])
def test_n_43_a_crash_fails_its_call_only(tmp_path, threads):
    """The caller is told class and method, and the next read works, on the same executor."""
    crashing, healthy = Crashing(tmp_path / "fine"), Holder()
    with connectors.executor(threads=threads, processes=2) as executor:
        for block in (crashing, healthy):
            block.get.set_executor(executor)
        for _ in range(2):
            with pytest.raises(WorkerCrashError) as caught:
                ends(crashing.get)
            assert isinstance(caught.value, ConnectorsError)
            assert isinstance(caught.value, concurrent.futures.BrokenExecutor)
            assert "Crashing" in str(caught.value)
            assert "get" in str(caught.value)
            healthy.set(1)
            assert ends(healthy.get) != os.getpid()

        (tmp_path / "fine").touch()

        assert ends(crashing.get) == 0
        crashing.set(5)
        assert ends(crashing.get) == 5


def test_n_43_siblings_of_a_crash(tmp_path):
    """After a crash in one branch the other branch and the next read are fine."""
    crashing, healthy, pair = Crashing(tmp_path / "fine"), Holder(), Pair()
    pair.set_a.connect(crashing.get)
    pair.set_b.connect(healthy.get)
    with connectors.executor(threads=2, processes=2) as executor:
        pair.get.set_executor(executor)
        with pytest.raises(WorkerCrashError):
            ends(pair.get)

        (tmp_path / "fine").touch()

        value, pid = ends(pair.get)
    assert value == 0
    assert pid != os.getpid()


def test_n_43_a_class_that_kills_whoever_receives_it():
    """A class that crashes each worker that unpickles it does not break the pool for others."""
    bad, healthy = CrashesOnArrival(), Holder()
    with connectors.executor(threads=0, processes=1) as executor:
        for block in (bad, healthy):
            block.get.set_executor(executor)
        for number in range(3):
            with pytest.raises(WorkerCrashError, match="CrashesOnArrival"):
                ends(bad.get)
            healthy.set(number)
            assert ends(healthy.get) != os.getpid()


# N-44: what cannot travel


@pytest.fixture(scope="module", params=[0, 2])
def workers(request):
    """An executor with processes, without and with threads."""
    with connectors.executor(threads=request.param, processes=1) as executor:
        executor.threads_given = request.param
        yield executor


def fallen_back(observed):
    return [(event.wish, event.level, event.reason) for event in observed.of(events.CallFellBack)]


@pytest.mark.parametrize("kind", ["lock", "file"])
def test_n_44_state_that_cannot_travel_falls_back(workers, kind, tmp_path, caplog):
    """A lock or an open file keeps the getter here, and the report names it and the method."""
    with open(tmp_path / "file", "w") as file, caplog.at_level(logging.INFO, "connectors"):

        class Kept(Holder):
            """Each case has a class of its own, because a report comes once per method."""

            @Output(parallelization=PROCESS)
            def look(self):
                return here()

        block = Kept(culprit=threading.Lock() if kind == "lock" else file, name="kept")
        block.look.set_executor(workers)
        with connectors.observe() as observed:
            assert place_of(block.look()) is (THREAD if workers.threads_given else SEQUENTIAL)

    ((wish, level, reason),) = fallen_back(observed)
    assert (wish, level) == (PROCESS, THREAD if workers.threads_given else SEQUENTIAL)
    assert "culprit" in reason
    (text,) = [record.getMessage() for record in caplog.records if record.name == "connectors"]
    for part in ("Kept", "look", "PROCESS", level.name, "culprit"):
        assert part in text


def test_n_44_functions_and_local_classes_travel_by_value(workers):
    """Lambdas in attributes, and blocks of local classes, go to the worker."""
    factor = 3

    class Local(Holder):
        @Output(parallelization=PROCESS)
        def local(self):
            return os.getpid(), factor

    block, local = Holder(function=lambda x: factor * x), Local()
    block.call.set_executor(workers)
    local.local.set_executor(workers)

    (pid, value), (local_pid, local_value) = block.call(), local.local()

    assert (value, local_value) == (60, 3)
    assert os.getpid() not in (pid, local_pid)


def test_n_44_connected_blocks_and_connectors_in_attributes(workers):
    """A block that refers to connected blocks, or keeps connectors, still goes to the worker."""
    source, sink, other = Node(1), Node(), Node()
    sink.set_value.connect(source.get_value)
    other.set_value.connect(sink.get_value)
    block = Holder(
        neighbour=sink,
        kept=[source.get_value, sink.set_value],
        named={"output": sink.get_value, "proxy": other.get_value},
        nested=({"deep": [other.set_value]},),
    )
    block.get.set_executor(workers)
    block.set.connect(other.get_value)

    assert block.get() != os.getpid()
    source.set_value(2)
    assert block.get() != os.getpid()
    assert (block.value, sink.value) == (2, 2)
    assert block.kept[0] is source.get_value


@pytest.mark.parametrize("kind", [WithNewArguments, WithReduce])
def test_n_44_a_new_with_arguments_that_are_told(workers, kind):
    """A class whose ``__new__`` needs arguments goes to the worker if it says which."""
    block = kind("first")
    block.get.set_executor(workers)

    pid, first = block.get()

    assert first == "first"
    assert pid != os.getpid()


def test_n_44_a_new_with_arguments_that_are_not_told(workers):
    """If it does not say which, it falls back, and says so."""
    block = NewArguments("first")
    block.get.set_executor(workers)

    with connectors.observe() as observed:
        assert block.get() == (os.getpid(), "first")

    assert [(wish, level) for wish, level, _ in fallen_back(observed)] == [
        (PROCESS, THREAD if workers.threads_given else SEQUENTIAL)
    ]


# N-45 and N-46: where workers come from


def test_n_45_classes_of_main_made_after_the_pool_opened(tmp_path):
    """Classes that are defined in ``__main__`` when workers run already go there by value."""
    printed = run_script(
        tmp_path,
        """
        import os
        import connectors
        from connectors import Input, Output, Parallelization

        executor = connectors.executor(threads=2, processes=1)

        class Early:
            @Output(parallelization=Parallelization.PROCESS)
            def get(self):
                return os.getpid()

        early = Early()
        early.get.set_executor(executor)
        worker = early.get()

        def helper(x):
            return 2 * x

        class Late:
            number = 0

            @Output(parallelization=Parallelization.PROCESS)
            def get(self):
                return os.getpid(), helper(self.number)

            @Input("get")
            def set(self, number):
                self.number = number

        late = Late()
        late.get.set_executor(executor)
        late.set(21)
        print(late.get() == (worker, 42), worker != os.getpid())

        class Late:  # again, by the same name
            @Output(parallelization=Parallelization.PROCESS)
            def get(self):
                return os.getpid(), "new"

        late = Late()
        late.get.set_executor(executor)
        print(late.get() == (worker, "new"))
        early.get.set_caching(False)
        print(early.get() == worker)
        executor.close()
        """,
    )

    assert printed == "True True\nTrue\nTrue\n"


def test_n_46_no_worker_is_forked_while_threads_run(tmp_path):
    """Starting and restarting workers never forks this process while its threads run."""
    printed = run_script(
        tmp_path,
        """
        import os, threading
        import connectors
        from rule_blocks import Crashing, Holder, Node

        forks = []
        os.register_at_fork(before=lambda: forks.append(threading.active_count()))
        executor = connectors.executor(threads=2, processes=2)
        node, crashing, holder = Node(1), Crashing("/nonexistent"), Holder()
        for output in (node.get_value, crashing.get, holder.get):
            output.set_executor(executor)
        node.get_value()
        print(threading.active_count() > 1)
        print(holder.get() != os.getpid())
        for number in range(3):
            try:
                crashing.get()
            except connectors.WorkerCrashError:
                print("crashed")
            holder.set(number)
            print(holder.get() != os.getpid())
        print([count for count in forks if count > 1])
        executor.close()
        """,
    )

    assert printed == "True\nTrue\n" + 3 * "crashed\nTrue\n" + "[]\n"


# N-47: PROCESS hints on setters


@pytest.mark.parametrize("kind", [ProcessWriter, ProcessReplacer])
def test_n_47_no_write_is_lost(workers, kind, caplog):
    """What a PROCESS setter writes is there after the read; the fallback is reported."""
    source, fresh = Node(1), type(kind.__name__, (kind,), {})
    block = fresh()
    block.set.connect(source.get_value)
    block.add.connect(source.get_value)
    block.get.set_executor(workers)
    with caplog.at_level(logging.INFO, "connectors"), connectors.observe() as observed:
        assert block.get() == (1, (1,))
        source.set_value(2)
        assert block.get() == (2, (2,))

    level = THREAD if workers.threads_given else SEQUENTIAL
    assert {place_of(where) for where in block.places} == {level}
    assert {used for wish, used, _ in fallen_back(observed) if wish is PROCESS} == {level}
    for method in ("set", "add"):
        assert f"{kind.__name__}.{method}" in caplog.text
    block.add.disconnect(source.get_value)
    assert block.get() == (2, ())


@pytest.mark.parametrize("kind", [ProcessWriter, ProcessReplacer])
def test_n_47_direct_calls_write_here(kind):
    """Direct calls of such setters run in the calling thread."""
    block = kind()
    real(block.set)
    real(block.add)

    block.set(1)
    data_id = block.add(2)
    block.remove(data_id)

    assert {place_of(where) for where in block.places} == {SEQUENTIAL}
    assert block.get() == (1, ())


# N-48: names of executors


class Named:
    """Names executors in every decorator."""

    def __init__(self):
        self.datas = MultiInputData()
        self.places = {}

    @Input(["get", "serve"], executor="sequential")
    def set(self, value):
        self.places["set"] = here()

    @MultiInput("get", executor="threading")
    def add(self, value):
        return self.datas.add(value)

    @add.remove
    def remove(self, data_id):
        del self.datas[data_id]

    @Output(executor="sequential")
    def get(self):
        return here()

    @Output(executor="threading")
    def get_in_thread(self):
        return here()

    @MultiOutput(executor="sequential")
    def serve(self, key):
        return here()


def test_n_48_names_in_every_decorator():
    """An executor can be named in each decorator, and is the one that is used."""
    block = Named()
    for output in (block.get, block.get_in_thread, block.serve):
        real(output)
    assert place_of(block.get()) is SEQUENTIAL
    assert place_of(block.get_in_thread()) is THREAD
    assert place_of(block.serve(1)) is SEQUENTIAL
    assert place_of(block.serve[2]()) is SEQUENTIAL

    source = Node(1)
    block.set.connect(source.get_value)
    block.add.connect(source.get_value)
    block.get()
    block.add(2)
    assert block.datas == {0: 1, 1: 2}


def test_n_48_names_in_set_executor():
    """So it can in `set_executor`, where an executor object can be given as well."""
    block = Named()
    block.get.set_executor("threading")
    block.get.set_caching(False)
    assert place_of(block.get()) is THREAD
    block.get.set_executor("sequential")
    assert place_of(block.get()) is SEQUENTIAL
    with connectors.executor(threads=1) as executor:
        block.get.set_executor(executor)
        assert place_of(block.get()) is THREAD


class Misnamed(Node):
    """Names an executor that does not exist; its class can be made."""

    @Output(executor="threadin")
    def get_value(self):
        return self.value

    @Input("get_value", executor="sequentia")
    def set_value(self, value):
        self.value = value


def test_n_48_an_unknown_name_raises_at_the_first_read():
    """The error lists what is known and suggests the nearest; connecting before that works."""
    source, block = Node(1), Misnamed()
    block.set_value.connect(source.get_value)

    for _ in range(2):
        with pytest.raises(ExecutorNotFoundError) as caught:
            ends(block.get_value)
        assert "Did you mean 'threading'" in str(caught.value)
        assert "threading_multiprocessing" in str(caught.value)
    block.get_value.set_executor("sequential")
    assert block.get_value() == 1


def test_n_48_an_unknown_name_in_set_executor():
    """An unknown name that is set raises at the first read at the latest, and can be corrected."""
    source, collector = Node(1), Collector()
    collector.add.connect(source.get_value)

    with pytest.raises(ExecutorNotFoundError, match="Did you mean 'sequential'"):
        collector.get.set_executor("sequental")
        ends(collector.get)

    collector.get.set_executor("sequential")
    assert collector.get() == (1,)


pytestmark = pytest.mark.slow
