"""Hundreds of clients at once: what ``test_load`` checks, and a comparison with the same application written by hand.

``python -m tests.integrations.load`` prints it: requests a second and the server's CPU time for a request, the best of
interleaved rounds, and their ratio. It starts a PostgreSQL of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.integrations.serving import Served, served
from tests.integrations.store import Store, postgresql_store
from tests.servers._process import HOST
from tests.servers.postgresql import PostgreSQL

__all__ = ["ACCOUNTS", "requests", "run"]

ACCOUNTS: Final = {f"owner{number}": 1000 for number in range(50)}
_WAYS: Final = {
    "auto call, def": "transfers",
    "auto call, async def": "async/transfers",
    "session by Depends, def": "welcomes",
    "session by Depends, async def": "async/welcomes",
}


def requests(kind: str, count: int, *, seed: int) -> Iterator[str]:
    """Make paths: transfers between random accounts, or their gifts for guests who are new."""
    chance = random.Random(seed)  # noqa: S311 - not a secret
    for number in range(count):
        source, target = chance.sample(list(ACCOUNTS), 2)
        if kind.endswith("transfers"):
            yield f"/{kind}?source={source}&target={target}&amount=1"
        else:
            yield f"/{kind}/guest{seed}-{number}?gift=1&source={source}"


async def _client(port: int, paths: Iterator[str], statuses: Counter[int], method: str) -> None:
    """Send one request after the other on one connection, as long as there are any."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        for path in paths:
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(head.partition("content-length:")[2].split()[0]))
            statuses[int(head.split()[1])] += 1
    except (ConnectionError, asyncio.IncompleteReadError):
        statuses[0] += 1  # uvicorn cuts a connection after an error
    finally:
        writer.close()


async def run(port: int, paths: Iterator[str], *, clients: int, method: str = "POST") -> Counter[int]:
    """Let that many clients share the requests; return how often each status was answered, 0 for none."""
    statuses: Counter[int] = Counter()
    await asyncio.gather(*(_client(port, paths, statuses, method) for _ in range(clients)))
    return statuses


class _Round(NamedTuple):
    """What a round of requests gave.

    Attributes:
        throughput: Requests a second.
        cpu: CPU seconds of the server for a request.
    """

    throughput: float
    cpu: float


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(server: Served, kind: str, *, count: int, clients: int, seed: int) -> _Round:
    cpu, began = _cpu_seconds(server.child.pid), time.perf_counter()
    statuses = asyncio.run(run(server.port, requests(kind, count, seed=seed), clients=clients))
    seconds = time.perf_counter() - began
    assert statuses == {200: count}, statuses
    return _Round(count / seconds, (_cpu_seconds(server.child.pid) - cpu) / count)


def _compare(store: Store, folder: Path, *, rounds: int, count: int, clients: int) -> None:
    options = ("--port", "PORT", "--log-level", "warning", "--no-access-log")
    with (
        served(folder, store.variables, "uvicorn", "tests.integrations.fastapi_app:app", *options) as library,
        served(folder, store.variables, "uvicorn", "tests.integrations.by_hand:app", *options) as by_hand,
    ):
        print(
            f"best of {rounds} interleaved rounds of {count} requests by {clients} clients, PostgreSQL, one uvicorn process"
        )
        print(f"{'':31}  requests/s  by hand  ratio   CPU ms  by hand  ratio")
        for way, kind in _WAYS.items():
            best = {server.port: _Round(0, float("inf")) for server in (library, by_hand)}
            for number in range(rounds + 1):
                for server in (library, by_hand) if number % 2 else (by_hand, library):
                    store.reset(**ACCOUNTS)
                    one = _measure(server, kind, count=count, clients=clients, seed=number)
                    if number:  # the first round warms up
                        old = best[server.port]
                        best[server.port] = _Round(max(old.throughput, one.throughput), min(old.cpu, one.cpu))
            ours, theirs = best[library.port], best[by_hand.port]
            print(
                f"{way:31}  {ours.throughput:10.0f}  {theirs.throughput:7.0f}  {ours.throughput / theirs.throughput:5.2f}"
                f"  {ours.cpu * 1e3:7.2f}  {theirs.cpu * 1e3:7.2f}  {ours.cpu / theirs.cpu:5.2f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.integrations.load", description="Compare with by_hand.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1000, help="of a round")
    parser.add_argument("--clients", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, PostgreSQL() as server, postgresql_store(server) as store:
        _compare(store, Path(folder), rounds=given.rounds, count=given.requests, clients=given.clients)


if __name__ == "__main__":
    main()
