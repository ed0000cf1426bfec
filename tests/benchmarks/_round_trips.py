"""What a unit sends to its server, and what that is worth where the server is 1 ms away.

``python -m tests.benchmarks._round_trips`` prints both tables as Markdown.
"""

import argparse
import asyncio
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import product, repeat
from pathlib import Path
from typing import Any, Final

from tests.benchmarks._meter import version
from tests.benchmarks._table import markdown
from tests.integrations.load import run
from tests.integrations.serving import Served, served
from tests.round_trips import SERVERS, WAYS, counts, one_row
from tests.servers import mariadb, postgresql
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL
from tests.servers.proxy import TcpProxy

__all__ = ["main", "requests", "round_trips"]

_DISTRIBUTIONS: Final = ("sqlalchemy", "psycopg", "psycopg2-binary", "asyncpg", "pymysql", "asyncmy", "fastapi", "uvicorn")
_DELAY: Final = 0.001
_ROUTES: Final = {"def": "def", "async def": "async"}
_CLIENTS: Final = (1, 4)  # a pool keeps five connections
_ROUNDS: Final = 3
_SECONDS: Final = 1.0  # of a round, about
_FIRST: Final = 50  # requests of the first round

Counts = dict[str, dict[str, list[int]]]
"""Driver -> way -> the round trips of some units."""


def round_trips() -> Counts:
    """Count for every driver whose server can be started here."""
    makers: dict[str, tuple[Any, str | None, str]] = {
        "postgresql": (PostgreSQL, postgresql.missing(), "SHOW server_version"),
        "mariadb": (MariaDB, mariadb.missing(), "SELECT version()"),
    }
    found: Counts = {}
    for name, (maker, problem, ask) in makers.items():
        if problem is not None:
            print(f"{', '.join(SERVERS[name])} are left out: {problem}\n")
            continue
        with maker() as server, one_row(server), TcpProxy(server.port) as proxy:
            print(maker.name, *server.execute(ask)[0], flush=True)
            for driver in SERVERS[name]:
                url = server.url(driver, port=proxy.port)
                found[driver] = {way: counts(url, proxy, how) for way, how in WAYS.items()}
    return found


def table(found: Counts) -> str:
    """Return the round trips as Markdown, a range where not all units took the same number."""
    lines = ([way, *(_range(of_driver[way]) for of_driver in found.values())] for way in WAYS)
    return markdown([["", *found], *lines])


def _range(numbers: list[int]) -> str:
    return "-".join(map(str, sorted({min(numbers), max(numbers)})))


def _throughput(server: Served, path: str, *, clients: int, count: int) -> float:
    """Send requests, and return how many were answered in a second."""
    began = time.perf_counter()
    statuses = asyncio.run(run(server.port, repeat(path, count), clients=clients, method="GET"))
    seconds = time.perf_counter() - began
    assert statuses == {200: count}, statuses
    return count / seconds


def _best(server: Served, paths: Sequence[str], clients: int) -> list[float]:
    """Return the best throughput of each path in interleaved rounds."""
    found, counts = [0.0] * len(paths), [_FIRST] * len(paths)
    for number in range(_ROUNDS + 1):
        for index in range(len(paths)) if number % 2 else reversed(range(len(paths))):
            one = _throughput(server, paths[index], clients=clients, count=counts[index])
            counts[index] = max(_FIRST, int(one * _SECONDS))
            if number:  # the first round fills the pool and the drivers' caches
                found[index] = max(found[index], one)
    return found


@contextmanager
def _application() -> Iterator[Served]:
    """Serve the application until the block ends."""
    with (
        tempfile.TemporaryDirectory() as folder,
        PostgreSQL() as server,
        one_row(server),
        TcpProxy(server.port, delay=_DELAY) as proxy,
    ):
        drivers = {"DATABASE_URL": "psycopg", "ASYNC_DATABASE_URL": "asyncpg"}
        urls = {name: server.url(driver, port=proxy.port) for name, driver in drivers.items()}
        options = ("--port", "PORT", "--log-level", "warning", "--no-access-log")
        with served(Path(folder), urls, "uvicorn", "tests.benchmarks._read_routes:app", *options) as web:
            yield web


def requests() -> str:
    """Return the requests a second as Markdown."""
    lines = [[""], *([name] for name in WAYS)]
    with _application() as web:
        for route, clients in product(_ROUTES, _CLIENTS):
            found = _best(web, [f"/{_ROUTES[route]}/{number}" for number in range(len(WAYS))], clients)
            cells = [f"`{route}`, {clients} client{'s' if clients > 1 else ''}", *(f"{each:.0f}" for each in found)]
            lines = [[*line, cell] for line, cell in zip(lines, cells, strict=True)]
    return markdown(lines)


def heading() -> str:
    """Say where and when this was measured, and with which versions."""
    machine = f"CPython {platform.python_version()} on {platform.machine()}, {platform.system()}"
    versions = ", ".join(f"{name} {version(name)}" for name in _DISTRIBUTIONS if version(name) is not None)
    return f"{machine}; {datetime.now(UTC):%Y-%m-%d}\n{versions}"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks._round_trips", description=__doc__)
    parser.parse_args()
    print(heading(), flush=True)
    found = round_trips()
    print(f"\nRound trips of a unit with one SELECT, connections and the drivers' caches warm\n\n{table(found)}", flush=True)
    if postgresql.missing() is None:
        print(
            f"Requests a second that a FastAPI application answers with a row of PostgreSQL; {_DELAY * 1e3:g} ms of delay "
            f"for each round trip, one uvicorn process, psycopg for def and asyncpg for async def, the best of {_ROUNDS} "
            f"interleaved rounds\n\n{requests()}"
        )


if __name__ == "__main__":
    main()
