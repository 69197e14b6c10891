"""Migrate the rows of an old API to a new one, over HTTP, as fast as the server allows.

    python examples/migration.py --rows 40 --per-second 30

The server is part of the example: it listens on the loopback only, holds a few rows, and refuses
requests (429) that come more often than it allows. The client reads page after page from the old
address, and writes each row, in its new form, to the new one. It stays below the limit of the
server with `rate_limited`, waits for blocking HTTP requests with `in_thread`, streams the pages
with `resolve` and writes the rows with `collect`. With ``--impatient`` it does not limit itself,
which shows what the limit is good for.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import http.server
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from connectors import aio

PAGE = 10
MOST_ROWS = 1000
PERIOD = 0.5  # the server looks at windows of so many seconds
MARGIN = 0.8  # of what the server allows: requests may be under way for different times


# The server


class Shop(http.server.ThreadingHTTPServer):
    """A server with customers of an old and of a new form, which limits its rate."""

    daemon_threads = True

    def __init__(self, rows: int, per_second: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.old: list[dict[str, Any]] = [
            {"id": row, "name": f"Ada{row} Lovelace{row}"} for row in range(rows)
        ]
        self.new: dict[int, dict[str, Any]] = {}
        self.refused = 0
        self._recent: deque[float] = deque()
        self._most = int(per_second * PERIOD)
        self._lock = threading.Lock()

    def admits(self) -> bool:
        """Tell whether one more request is allowed now."""
        with self._lock:
            now = time.monotonic()
            while self._recent and now - self._recent[0] >= PERIOD:
                self._recent.popleft()
            if len(self._recent) >= self._most:
                self.refused += 1
                return False
            self._recent.append(now)
            return True


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers ``GET /v1/customers/PAGE`` and ``PUT /v2/customers/ID``."""

    server: Shop
    timeout = 10

    def do_GET(self) -> None:
        page = int(self.path.rpartition("/")[2])
        self.answer(self.server.old[page * PAGE : (page + 1) * PAGE])

    def do_PUT(self) -> None:
        length = min(int(self.headers["Content-Length"]), 10_000)
        row = json.loads(self.rfile.read(length))
        self.answer("stored", lambda: self.server.new.update({row["id"]: row}))

    def answer(self, body: object, store: Callable[[], object] | None = None) -> None:
        admitted = self.server.admits()
        if admitted and store is not None:
            store()
        data = json.dumps(body if admitted else "too many requests").encode()
        self.send_response(200 if admitted else 429)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(rows: int, per_second: int) -> Iterator[Shop]:
    """Run a server as long as the block."""
    with Shop(rows, per_second) as shop:
        thread = threading.Thread(target=shop.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield shop
        finally:
            shop.shutdown()
            thread.join()


# The client


class TooManyRequestsError(Exception):
    """The server refused a request."""


def request(port: int, method: str, path: str, body: object = None) -> Any:
    """Make one HTTP request, blocking, and return what the answer holds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, json.dumps(body))
        response = connection.getresponse()
        data = json.loads(response.read())
    if response.status == 429:
        raise TooManyRequestsError(path)
    return data


Request = Callable[..., Awaitable[Any]]


def politely(per_second: float) -> Callable[[Request], Request]:
    """Return the decorator that stays below so many requests per second."""
    allowed = max(1, int(per_second * PERIOD * MARGIN))
    return aio.rate_limited(
        max_calls=allowed,
        max_calls_period=PERIOD,
        min_seconds_between_calls=PERIOD / allowed / 2,
    )


def renewed(row: dict[str, Any]) -> dict[str, Any]:
    """Return *row* in its new form."""
    first, _, last = row["name"].partition(" ")
    return {"id": row["id"], "first": first, "last": last}


async def migrate(port: int, rows: int, per_second: float | None) -> int:
    """Move all rows, and return how many there were."""

    async def impatiently(method: str, path: str, body: object = None) -> Any:
        return await aio.in_thread(request, port, method, path, body)

    ask: Request = impatiently if per_second is None else politely(per_second)(impatiently)

    async def move(row: dict[str, Any]) -> None:
        await ask("PUT", f"/v2/customers/{row['id']}", renewed(row))

    moved = 0
    pages = (ask("GET", f"/v1/customers/{page}") for page in range(-(-rows // PAGE)))
    # While the rows of one page are written, the next ones are read, and not more.
    async with aio.resolve(pages, workers=2, worker_greediness=1) as stream:
        async for page in stream:
            moved += len(await aio.collect(map(move, page), workers=8))
    return moved


def main(arguments: list[str] | None = None) -> int:
    """Run server and client, and tell what came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=40, choices=range(1, MOST_ROWS), metavar="N")
    parser.add_argument("--per-second", type=int, default=40, metavar="N")
    parser.add_argument("--impatient", action="store_true", help="do not limit the rate")
    given = parser.parse_args(arguments)
    aio.THREAD_POOL.initialize(max_workers=8)
    begin = time.monotonic()
    moved = 0
    with serving(given.rows, given.per_second) as shop:
        limit = None if given.impatient else float(given.per_second)
        try:
            moved = aio.run(migrate(shop.server_port, given.rows, limit))
        except* TooManyRequestsError:
            print(f"given up: the server refuses more; {len(shop.new)} rows are stored")
        finally:
            aio.THREAD_POOL.shutdown(wait=True)
    seconds = time.monotonic() - begin
    if not moved:
        return 1
    right = all(shop.new[row["id"]] == renewed(row) for row in shop.old)
    print(f"moved {moved} rows in {seconds:.1f} s, {shop.refused} requests refused")
    return 0 if right and moved == len(shop.old) == len(shop.new) else 1


if __name__ == "__main__":
    sys.exit(main())
