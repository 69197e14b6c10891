"""Process pools side by side: ours and the others, alternating in one run.

Usage: python bench/bench_process.py [row ...]
"""

import asyncio
import concurrent.futures
import importlib.util
import multiprocessing
import os
import resource
import statistics
import sys
import time

import numpy as np

import process_calls as calls
from connectors._calls import Call
from connectors.pools import ProcessPool

WORKERS = 2
NONE = float("nan")


def has(name):
    return importlib.util.find_spec(name) is not None


class Ours:
    name = "ours"

    def open(self):
        self.pool = ProcessPool(WORKERS)

    def call(self, f, *args):
        return self.pool.submit(f, *args).result()

    def burst(self, f, items):
        for future in [self.pool.submit(f, item) for item in items]:
            future.result()

    def map(self, f, items):
        for _ in self.pool.map(f, items):
            pass

    def close(self):
        self.pool.shutdown()


class Ppe(Ours):
    name = "ProcessPoolExecutor"

    def open(self):
        self.pool = concurrent.futures.ProcessPoolExecutor(
            WORKERS, mp_context=multiprocessing.get_context("forkserver")
        )

    def map(self, f, items):
        for _ in self.pool.map(f, items, chunksize=100):
            pass


class PpeSpawn(Ppe):
    name = "PPE (spawn)"

    def open(self):
        self.pool = concurrent.futures.ProcessPoolExecutor(
            WORKERS, mp_context=multiprocessing.get_context("spawn")
        )


class Pool:
    name = "multiprocessing.Pool"

    def open(self):
        self.pool = multiprocessing.get_context("forkserver").Pool(WORKERS)

    def call(self, f, *args):
        return self.pool.apply(f, args)

    def burst(self, f, items):
        for _ in self.pool.imap(f, items):
            pass

    def map(self, f, items):
        self.pool.map(f, items)

    def close(self):
        self.pool.close()
        self.pool.join()


class PoolSpawn(Pool):
    name = "Pool (spawn)"

    def open(self):
        self.pool = multiprocessing.get_context("spawn").Pool(WORKERS)


class Loky(Ours):
    name = "loky"

    def open(self):
        import loky

        self.pool = loky.ProcessPoolExecutor(WORKERS)

    def map(self, f, items):
        for _ in self.pool.map(f, items, chunksize=100):
            pass


class Pebble(Ours):
    name = "pebble"

    def open(self):
        import pebble

        self.pool = pebble.ProcessPool(WORKERS)

    def call(self, f, *args):
        return self.pool.schedule(f, args).result()

    def burst(self, f, items):
        for future in [self.pool.schedule(f, (item,)) for item in items]:
            future.result()

    map = None

    def close(self):
        self.pool.close()
        self.pool.join()


class Joblib:
    name = "joblib"

    def open(self):
        import joblib

        self.pool = joblib.Parallel(n_jobs=WORKERS)
        self.pool.__enter__()

    call = None

    def burst(self, f, items):
        import joblib

        self.pool(joblib.delayed(f)(item) for item in items)

    map = burst

    def close(self):
        self.pool.__exit__(None, None, None)


class Mpire:
    name = "mpire"

    def open(self):
        import mpire

        self.pool = mpire.WorkerPool(WORKERS, start_method="forkserver", keep_alive=True)

    call = None

    def burst(self, f, items):
        self.pool.map(f, items, chunk_size=1)

    def map(self, f, items):
        self.pool.map(f, items)

    def close(self):
        self.pool.stop_and_join()
        self.pool.terminate()


PEERS = [Ours, Ppe, Pool]
PEERS += [
    peer
    for peer, name in [(Loky, "loky"), (Pebble, "pebble"), (Joblib, "joblib"), (Mpire, "mpire")]
    if has(name)
]


def timed(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def alternate(peers, method, measure, rounds=7, warm=None):
    """Return the median of *measure* by the peers' names; they take turns."""
    engines = [peer() for peer in peers if getattr(peer, method) is not None]
    for engine in engines:
        engine.open()
        (warm or measure)(engine)
    found = {engine.name: [] for engine in engines}
    for _ in range(rounds):
        for engine in engines:
            found[engine.name].append(measure(engine))
    for engine in engines:
        engine.close()
    return {name: statistics.median(values) for name, values in found.items()}


def show(title, found, unit, goal):
    print(f"{title}  [{goal}]")
    ours = found["ours"]
    for name, value in found.items():
        ratio = "" if name == "ours" else f"   ours / this = {ours / value:.2f}"
        print(f"    {name:24}{value:12.3f} {unit}{ratio}")
    sys.stdout.flush()


def latency():
    def measure(engine, n=1000):
        return timed(lambda: [engine.call(calls.increment, 1) for _ in range(n)]) / n * 1e6

    show(
        "submit().result(), warm", alternate(PEERS, "call", measure), "us", "0.65 x PPE, Pool.apply"
    )


def burst():
    def measure(engine, n=10_000):
        return timed(lambda: engine.burst(calls.increment, range(n))) / n * 1e6

    show(
        "10,000 calls at once, per call", alternate(PEERS, "burst", measure, 5), "us", "0.35 x PPE"
    )


def map_():
    def measure(engine, n=100_000):
        return timed(lambda: engine.map(calls.increment, range(n))) / n * 1e6

    show("map of 100,000, per item", alternate(PEERS, "map", measure), "us", "1.5 x Pool.map")


def efficiency():
    for seconds, n, goal in [(0.001, 2000, "0.97"), (0.01, 300, "0.985")]:

        def measure(engine):
            wall = timed(lambda: engine.burst(calls.spin, [seconds] * n))
            return n * seconds / WORKERS / wall

        found = alternate(
            PEERS, "burst", measure, 5, lambda e: e.burst(calls.increment, range(100))
        )
        show(f"efficiency of {n} calls of {seconds * 1e3:g} ms", found, "", goal)


def arrays():
    array = np.ones(100_000_000 // 8)
    peers = [Ours, Ppe]
    for name, f in [("argument", calls.total), ("there and back", calls.echo)]:

        def measure(engine):
            return timed(lambda: engine.call(f, array)) * 1e3

        found = alternate(peers, "call", measure, 7)
        show(f"100 MB array, {name}", found, "ms", "0.25 x PPE")


def instances():
    camera = calls.Camera(np.ones(25_000_000), np.ones(25_000_000))

    class Scattered(Ours):
        name = "ours, scattered"

        def open(self):
            super().open()
            self.handle = self.pool.scatter(camera)
            for _ in range(8):
                self.pool.submit(calls.read, self.handle, 1).result()

        def call(self, f, *args):
            return self.pool.submit_call(
                Call(calls.Camera.read, (1,), instance=self.handle)
            ).result()

    def measure(engine):
        return timed(lambda: engine.call(calls.read, camera, 1)) * 1e3

    found = alternate([Ours, Scattered, Ppe], "call", measure, 5)
    show("method of an instance of 400 MB", found, "ms", "10 ms scattered, else 0.1 x PPE")


def first():
    found = {"ours": [], "PPE (spawn)": [], "Pool (spawn)": [], "PPE (forkserver)": []}
    for _ in range(9):
        for name, peer in zip(found, [Ours, PpeSpawn, PoolSpawn, Ppe]):
            engine = peer()
            begin = time.perf_counter()
            engine.open()
            engine.call(calls.increment, 1)
            found[name].append((time.perf_counter() - begin) * 1e3)
            engine.close()
    medians = {name: statistics.median(values) for name, values in found.items()}
    show("first call of a fresh pool", medians, "ms", "1.2 x spawn pool")


def asyncio_():
    def measure(engine, n=1000):
        async def run():
            loop = asyncio.get_running_loop()
            for _ in range(n):
                await loop.run_in_executor(engine.pool, calls.increment, 1)

        return timed(lambda: asyncio.run(run())) / n * 1e6

    show("await run_in_executor, warm", alternate([Ours, Ppe], "call", measure), "us", "0.7 x PPE")


def memory():
    pool = ProcessPool(WORKERS)
    for _ in pool.map(calls.increment, range(100_000)):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in pool.map(calls.increment, range(1_000_000)):
        pass
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pool.shutdown()
    show("map of 1,000,000: growth of the parent", {"ours": (after - before) / 1024}, "MiB", "50")


ROWS = {
    "latency": latency,
    "burst": burst,
    "map": map_,
    "efficiency": efficiency,
    "first": first,
    "asyncio": asyncio_,
    "memory": memory,
    "arrays": arrays,
    "instances": instances,
}

if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    for row in sys.argv[1:] or ROWS:
        ROWS[row]()
