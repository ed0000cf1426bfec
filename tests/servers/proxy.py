"""A TCP proxy on 127.0.0.1 that loses bytes and connections on demand, counts round trips, and delays them."""

import re
import socket
import threading
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Self

from ._link import Hook, Link, Verdict
from ._process import HOST, free_port

__all__ = ["Hook", "TcpProxy", "Verdict", "on_commit", "pass_all"]

_CONNECT_SECONDS = 5.0
_CUT_SECONDS = 2.0
_JOIN_SECONDS = 10.0
_COMMIT = re.compile(rb"\bCOMMIT\b", re.IGNORECASE)


def pass_all(_: bytes) -> Verdict:
    """Forward everything."""
    return Verdict.PASS


def on_commit(verdict: Verdict, *, times: int = 1) -> Hook:
    """Make a hook for the client's side that gives the verdict on the next COMMITs and passes the rest.

    Args:
        verdict: For a piece with the word COMMIT in it. The AUTOCOMMIT of MySQL's drivers is another word.
        times: How many COMMITs, of all connections together, get it.
    """
    seen = count(1)
    return lambda data: verdict if _COMMIT.search(data) and next(seen) <= times else Verdict.PASS


class TcpProxy:
    """Forwards connections to a port of 127.0.0.1, and breaks them as its two hooks say.

    Set `on_client` and `on_server` at any time: they judge what is received from then on, one piece at a time. The
    methods may be called from any thread. Leaving the ``with`` block cuts every connection and ends every thread.

    Args:
        target_port: Where to forward to.
        reset: Cut with RST, as a crashed machine does once it is back, instead of FIN, as a stopped process does.
        delay: How many seconds each round trip takes longer. It may be set at any time.

    Example:
        with TcpProxy(server.port) as proxy:
            engine = create_engine(server.url("psycopg", port=proxy.port))
            proxy.on_client = on_commit(Verdict.CUT_ON_ANSWER)
    """

    def __init__(self, target_port: int, *, reset: bool = False, delay: float = 0.0) -> None:
        """Remember the target; the ``with`` statement starts to listen."""
        self.delay = delay
        self.on_client: Hook = pass_all
        self.on_server: Hook = pass_all
        self.port = 0
        self.connections = 0
        """How many connections were accepted so far."""
        self.round_trips = 0
        """How often a client sent something for the first time since the server's last answer on its connection.

        Several pieces before an answer are one round trip, and so is an answer in several pieces. A driver that sends its
        next message without waiting may be counted for that, if the answer to the one before it comes first.
        """
        self._target_port = target_port
        self._reset = reset
        self._lock = threading.Lock()
        self._hook_lock = threading.Lock()
        self._links: set[Link] = set()
        self._threads: set[threading.Thread] = set()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Listen on a free port."""
        self.port = free_port()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        """Refuse, cut, and wait for the threads.

        Raises:
            RuntimeError: A thread is still there after 10 seconds.
        """
        self.refuse()
        self.cut()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(_JOIN_SECONDS)
        if left := [thread.name for thread in threads if thread.is_alive()]:
            message = f"{', '.join(left)} did not end. Does a hook block?"
            raise RuntimeError(message)

    @property
    def open_connections(self) -> int:
        """How many connections are open now, hanging ones included."""
        return len(self._open())

    def accept(self) -> None:
        """Accept new connections, on the same port as ever; nothing changes if they are."""
        if self._listener is None:
            # create_server sets SO_REUSEADDR: connections from before may linger in TIME_WAIT.
            self._listener = socket.create_server((HOST, self.port), backlog=256)
            self._acceptor = self._run("accepting", partial(self._accept, self._listener))

    def refuse(self) -> None:
        """Refuse new connections; the open ones stay."""
        if self._listener is not None and self._acceptor is not None:
            listener, self._listener = self._listener, None
            # Closing alone would not wake the thread in accept(), and the kernel would go on accepting for it.
            listener.shutdown(socket.SHUT_RDWR)
            # What it has accepted is an open connection once this returns, so that a cut() now misses none.
            self._acceptor.join(_JOIN_SECONDS)
            listener.close()

    def cut(self) -> int:
        """Cut all open connections now, and return how many there were."""
        links = self._open()
        for link in links:
            link.cut()
        with self._lock:
            is_hook = threading.current_thread() in self._threads
        if not is_hook:  # Which could not wait for the thread it runs in.
            for link in links:
                if not link.closed.wait(_CUT_SECONDS):
                    link.cut(gently=False)
        return len(links)

    def hang(self) -> None:
        """Hold everything in both directions from now on, on new connections too."""
        self.on_client = self.on_server = lambda _: Verdict.HANG

    def resume(self) -> None:
        """Pass everything again, starting with what is held."""
        self.on_client = self.on_server = pass_all
        for link in self._open():
            link.resume()

    def _open(self) -> list[Link]:
        with self._lock:
            self._links = {link for link in self._links if not link.closed.is_set()}
            return list(self._links)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # Closed by refuse().
            self.connections += 1
            try:
                server = socket.create_connection((HOST, self._target_port), timeout=_CONNECT_SECONDS)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(client, server, reset=self._reset, on_turn=self._count_round_trip)
            with self._lock:
                self._links.add(link)
            self._run("to server", partial(link.carry, self._judge_client, from_client=True))
            self._run("to client", partial(link.carry, self._judge_server, from_client=False))

    def _count_round_trip(self) -> float:
        with self._lock:
            self.round_trips += 1
        return self.delay

    def _judge_client(self, data: bytes) -> Verdict:
        with self._hook_lock:
            return self.on_client(data)

    def _judge_server(self, data: bytes) -> Verdict:
        with self._hook_lock:
            return self.on_server(data)

    def _run(self, what: str, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, name=f"TcpProxy {self.port} {what}", daemon=True)
        with self._lock:
            self._threads = {old for old in self._threads if old.is_alive()} | {thread}
            thread.start()
        return thread
