"""One connection through the proxy, and what may happen to its bytes."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import TypeAlias


class Verdict(Enum):
    """What happens to a piece of the stream, and to its connection."""

    PASS = auto()
    """It is forwarded."""
    DROP = auto()
    """It never arrives; the connection goes on."""
    CUT = auto()
    """It never arrives; both sides see the connection end."""
    HANG = auto()
    """It is held, and so is everything after it in both directions."""
    CUT_ON_ANSWER = auto()
    """It is forwarded; the next piece in the other direction gets `CUT`: done, but the answer is lost."""
    HANG_ON_ANSWER = auto()
    """It is forwarded; the next piece in the other direction gets `HANG`."""


Hook: TypeAlias = Callable[[bytes], Verdict]
"""Decides on a piece as it was received: whole messages, unless they are large."""

_ON_ANSWER = {Verdict.CUT_ON_ANSWER: Verdict.CUT, Verdict.HANG_ON_ANSWER: Verdict.HANG}


class Link:
    """A client's connection, and the one to the server that stands for it.

    Two threads carry it, one for each direction; the second to end closes the sockets.

    Args:
        client: The accepted connection.
        server: The connection to the server.
        reset: Whether `cut` sends RST instead of FIN.
        on_turn: Called when the client sends something for the first time since the server's last answer; gives the
            seconds to hold it.
    """

    def __init__(self, client: socket.socket, server: socket.socket, *, reset: bool, on_turn: Callable[[], float]) -> None:
        """Take over both sockets."""
        self.closed = threading.Event()
        self._flowing = threading.Event()
        self._flowing.set()
        self._sockets = (client, server)
        self._reset = reset
        self._on_turn = on_turn
        self._is_clients_turn = False
        self._is_cut = False
        self._due: dict[socket.socket, Verdict] = {}  # On the next piece from a socket, before any hook is asked.
        self._resumed = 0  # How often; a verdict of before says nothing of what came after it.
        self._lock = threading.Lock()
        self._directions = 2

    def carry(self, judge: Hook, *, from_client: bool) -> None:
        """Carry one direction until its end or the connection's."""
        client, server = self._sockets
        source, sink = (client, server) if from_client else (server, client)
        is_half_closed = False
        try:
            while data := source.recv(65536):
                with self._lock:
                    resumed, due = self._resumed, self._due.pop(source, None)
                verdict = due or judge(data)
                if verdict is Verdict.CUT:
                    return
                with self._lock:
                    answers = _ON_ANSWER.get(verdict)
                    if verdict is Verdict.HANG and resumed == self._resumed:
                        self._flowing.clear()
                    elif answers is Verdict.CUT or (answers is Verdict.HANG and resumed == self._resumed):
                        self._due[sink] = answers
                if not self._flows():
                    return
                if verdict is not Verdict.DROP:
                    self._take_turn(from_client=from_client)
                    sink.sendall(data)
            if self._flows():
                # The other direction may have more to say, as a server that reports why it ends the connection.
                sink.shutdown(socket.SHUT_WR)
                is_half_closed = True
        except OSError:
            pass  # A side is gone, and so is the connection.
        finally:
            if not is_half_closed:
                self.cut()
            self._end_direction()

    def resume(self) -> None:
        """Forward what is held, and go on; nothing hangs any more that was to hang by now."""
        with self._lock:
            self._resumed += 1
            self._due = {end: verdict for end, verdict in self._due.items() if verdict is not Verdict.HANG}
            self._flowing.set()

    def cut(self, *, gently: bool = True) -> None:
        """End the connection on both sides; both threads end soon after.

        Args:
            gently: Shut down for reading only if an RST is wanted: otherwise a FIN would go out before it. It does not
                wake a thread that is blocked sending to a side that does not read.
        """
        self._is_cut = True
        self._flowing.set()
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RD if self._reset and gently else socket.SHUT_RDWR)

    def _take_turn(self, *, from_client: bool) -> None:
        """Note who speaks. The first piece of a client's turn is held for as long as `on_turn` says.

        Only the first: what follows it is on its way at the same time.
        """
        with self._lock:
            is_first = from_client and not self._is_clients_turn
            self._is_clients_turn = from_client
        if is_first and (seconds := self._on_turn()):
            time.sleep(seconds)

    def _flows(self) -> bool:
        """Wait while the connection hangs; False if it was cut."""
        self._flowing.wait()
        return not self._is_cut

    def _end_direction(self) -> None:
        with self._lock:
            self._directions -= 1
            if self._directions:
                return
        for end in self._sockets:
            if self._is_cut and self._reset:
                # Lingering for 0 seconds makes close() send RST.
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()
        self.closed.set()
