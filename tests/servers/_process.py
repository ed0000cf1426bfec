"""What the servers share: a port, an account, a folder, and a child process with bounded waits."""

import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from ._guard import Job

HOST = "127.0.0.1"

_GUARD = Path(__file__).with_name("_guard.py")
_FIRST_PAUSE, _LAST_PAUSE = 0.01, 0.08

_chosen: set[int] = set()


class ServerError(RuntimeError):
    """A server did not start, stop or answer in time; the message ends with its log."""


def free_port() -> int:
    """Choose a port on 127.0.0.1 that nothing is bound to, and that was not chosen before in this session.

    It lies below the kernel's ephemeral range. A port inside it can be taken by any outgoing connection while the
    server is down for a restart, and a client that keeps trying such a port of its own machine can connect to itself.
    """
    span = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first_ephemeral = int(span.read_text("ascii").split()[0]) if span.exists() else 32768
    ports = range(10_000, first_ephemeral) if first_ephemeral > 11_000 else range(61_000, 65_536)
    while True:
        port = random.choice(ports)  # noqa: S311 - not a secret; random, since other sessions choose as well.
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            if port not in _chosen:
                _chosen.add(port)
                return port


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the operating system that a server runs as."""

    name: str
    uid: int
    gid: int


def unprivileged(*names: str) -> Account | None:
    """Choose the first account that exists, or None where the session itself is not root and servers run as it is.

    Raises:
        ServerError: The session is root and no account of these names exists. The servers refuse to run as root.
    """
    if os.geteuid() != 0:
        return None
    for name in names:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    message = f"no account to run a server as: none of {', '.join(names)} exists. Create one, or do not run as root."
    raise ServerError(message)


@dataclass(frozen=True, slots=True)
class Child:
    """A running server behind its guard, see `_guard`."""

    pid: int
    log: Path
    _guard: "subprocess.Popen[bytes]"

    @property
    def exit_code(self) -> int | None:
        """The server's exit status as a shell would give it, None while it or a process of its own lives."""
        return self._guard.poll()

    def signal(self, number: int) -> None:
        """Send a signal to the server; nothing happens if it is gone."""
        with suppress(ProcessLookupError):
            if self.exit_code is None:
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Wait until the server and all its processes are gone; False if they are not after these seconds."""
        try:
            self._guard.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, *steps: tuple[int, float]) -> None:
        """Send each signal in turn and wait its seconds, until the server is gone; SIGKILL comes last by itself.

        Raises:
            ServerError: It survives SIGKILL for 10 seconds.
        """
        for number, seconds in (*steps, (signal.SIGKILL, 10.0)):
            self.signal(number)
            if self.wait(seconds):
                return
        self.fail("does not end")

    def wait_until(self, is_ready: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Ask again and again until the answer is True.

        Raises:
            ServerError: The server ended, or the seconds passed, first.
        """
        deadline = time.monotonic() + seconds
        pause = _FIRST_PAUSE
        while not is_ready():
            if self.exit_code is not None:
                self.fail(f"ended with status {self.exit_code} before it was {what}")
            if time.monotonic() > deadline:
                self.fail(f"not {what} after {seconds:g} s")
            time.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    def fail(self, why: str) -> NoReturn:
        """Raise a ServerError that says why and quotes the end of the log."""
        tail = self.log.read_text("utf-8", "replace")[-4000:] if self.log.exists() else "(no log)"
        message = f"server {self.pid}: {why}. {self.log.name} ends with:\n{tail}"
        raise ServerError(message)


@dataclass(frozen=True, slots=True)
class Home:
    """A temporary folder, and the account that owns it and runs everything in it."""

    path: Path
    account: Account | None

    @classmethod
    def create(cls, name: str, *accounts: str) -> Self:
        """Make the folder, for the first of the accounts that exists if the session is root."""
        account = unprivileged(*accounts)
        path = Path(tempfile.mkdtemp(prefix=f"session-aware-{name}-"))
        if account is not None:
            os.chown(path, account.uid, account.gid)
        return cls(path, account)

    def make_folder(self, path: Path) -> None:
        """Make a folder beneath this one that the account owns."""
        path.mkdir(mode=0o700)
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def hand_over(self, path: Path) -> None:
        """Give the account the folders beneath this one, which its guard could not delete otherwise."""
        if self.account is not None:
            for folder, _, _ in os.walk(path):
                os.chown(folder, self.account.uid, self.account.gid)

    def remove(self) -> None:
        """Delete the folder and everything in it."""
        shutil.rmtree(self.path)

    def can_execute(self, *argv: str | Path) -> bool:
        """Whether the account may run the program at all: it may lie beneath a folder only root can enter."""
        try:
            done = subprocess.run(
                argv,
                cwd=self.path,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=10,
                check=False,
                user=None if self.account is None else self.account.uid,
                group=None if self.account is None else self.account.gid,
                extra_groups=None if self.account is None else [],
            )
        except PermissionError:
            return False
        return done.returncode == 0

    def spawn(self, argv: Iterable[str | Path], *, log: str, stop_signal: int = signal.SIGTERM) -> Child:
        """Start a program in the folder. Should the session be killed, it gets `stop_signal` and the folder is deleted.

        Args:
            argv: The program and its arguments.
            log: Name of the file in the folder that takes its output, appended.
            stop_signal: What makes it end at once and in order.
        """
        job = Job(
            argv=[os.fspath(word) for word in argv],
            session_pid=os.getpid(),
            uid_gid=None if self.account is None else (self.account.uid, self.account.gid),
            folder=os.fspath(self.path),
            stop_signal=stop_signal,
        )
        path = self.path / log
        with path.open("ab") as output:
            # -S: the guard needs no site-packages, and starts in a third of the time. A session of its own: Ctrl-C in
            # the terminal must not reach the server before the tests have cleaned up.
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", _GUARD, json.dumps(job)],
                cwd=self.path,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        assert guard.stdout is not None
        with guard.stdout as pipe:
            line = pipe.readline()
        if not line:
            # Without a pid there is nothing to signal, and 0 would mean the session's own process group.
            message = f"no guard for {job['argv'][0]}, status {guard.wait()}: {path.read_text('utf-8', 'replace')}"
            raise ServerError(message)
        return Child(int(line), path, guard)

    def run(self, argv: Sequence[str | Path], *, seconds: float = 60.0) -> None:
        """Run a program in the folder to its end.

        Raises:
            ServerError: It failed, or did not end within the seconds.
        """
        child = self.spawn(argv, log="commands.log")
        if not child.wait(seconds):
            child.stop((signal.SIGTERM, 2.0))
            child.fail(f"{argv[0]} did not end within {seconds:g} s")
        if child.exit_code != 0:
            child.fail(f"{argv[0]} ended with status {child.exit_code}")

    def _environment(self) -> dict[str, str]:
        """Give the session's variables without those that servers and their clients read."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PG", "MYSQL", "MARIADB", "LC_", "LANG", "PYTHON"))
        }
        return kept | {"HOME": os.fspath(self.path), "TMPDIR": os.fspath(self.path), "LC_ALL": "C", "TZ": "UTC"}
