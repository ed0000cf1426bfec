"""Run an application as a process of its own, and be its client."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2

import session_aware
from tests.servers._process import HOST, Child, Home, free_port

__all__ = ["Served", "environment", "served", "started"]

ROOT: Final = Path(__file__).parents[2]
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 30.0  # Celery alone takes five


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Add where the applications and the library are found to the variables."""
    path = os.pathsep.join((str(ROOT), str(Path(session_aware.__file__).parents[1])))
    return {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **variables}


@contextmanager
def started(folder: Path, variables: Mapping[str, str], *argv: str) -> Iterator[Child]:
    """Run ``python -m *argv`` until the block ends, and then end it in order; it cannot outlive the tests.

    Raises:
        ServerError: It does not end within 30 seconds of SIGTERM.
    """
    words = [f"{name}={value}" for name, value in environment(variables).items()]
    child = Home(folder, None).spawn(["env", *words, sys.executable, "-m", *argv], log=f"{argv[0]}.log")
    try:
        yield child
    finally:
        child.signal(signal.SIGTERM)
        if not child.wait(_STOP_SECONDS):
            child.stop((signal.SIGKILL, _STOP_SECONDS))
            child.fail("did not end on SIGTERM")


@dataclass(frozen=True)
class Served:
    """A web server that answers, with a client."""

    child: Child
    port: int
    client: httpx2.Client

    def post(self, path: str, **parameters: str | int) -> httpx2.Response:
        return self.client.post(path, params=parameters)

    def checked_out(self) -> int:
        """Ask how many connections the server's pools have lent out."""
        return sum(self.client.get("/pool").raise_for_status().json().values())

    def wait_for_pool(self, count: int) -> None:
        """Wait until that many connections are lent out."""
        self.child.wait_until(lambda: self.checked_out() == count, seconds=30, what=f"using {count} connections")

    @contextmanager
    def connected(self, request: str, *, buffer: int = 4096) -> Iterator[socket.socket]:
        """Send a request on a connection with a small buffer, which is cut off when the block ends."""
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            connection.settimeout(20)
            connection.connect((HOST, self.port))
            connection.sendall(f"{request} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n".encode())
            yield connection


@contextmanager
def served(folder: Path, variables: Mapping[str, str], *argv: str) -> Iterator[Served]:
    """Run a web server, with ``PORT`` in its arguments replaced by a free one, and wait until it listens.

    Raises:
        ServerError: It does not listen after 60 seconds, or does not end.
    """
    port = free_port()
    with (
        started(folder, variables, *(word.replace("PORT", str(port)) for word in argv)) as child,
        # No connection is used again: uvicorn cuts one over which it has sent an error that the application raised.
        httpx2.Client(
            base_url=f"http://{HOST}:{port}",
            timeout=30,
            trust_env=False,
            limits=httpx2.Limits(max_keepalive_connections=0),
        ) as client,
    ):
        child.wait_until(lambda: _listens(port), seconds=_START_SECONDS, what="listening")
        yield Served(child, port, client)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
