"""Run one server as a child that cannot outlive the test session.

`_process.Child` starts this file as a script, one process per server, with a `Job` as its JSON argument. It gives up
root, starts the server, writes the server's pid to its stdout and ends with the server's exit status.

The kernel's parent-death signal alone would not do: it fires when the *thread* that forked ends, so a server that a
worker thread started would die in the middle of the session. The guard has one thread, which makes the signal exact
between guard and server; a pidfd tells it that the whole session process is gone, SIGKILL included.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

# From <sys/prctl.h>.
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

STOP_SECONDS = 5.0
"""What a server gets to obey its stop signal once the session is gone, and its orphans once the server is."""


class Job(TypedDict):
    """What to run, as whom, and what to clean up."""

    argv: list[str]
    session_pid: int
    uid_gid: tuple[int, int] | None
    folder: str
    stop_signal: int


class Guard:
    """The server process, its orphans, and the session that wants them."""

    def __init__(self, job: Job) -> None:
        """Remember the job; `run` does it."""
        self.job = job
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.exit_code: int | None = None
        self.server_pid = 0

    def run(self) -> int:
        """Run the server until it ends or the session does, and return its exit status as a shell would."""
        session = os.pidfd_open(self.job["session_pid"])
        if os.getppid() != self.job["session_pid"]:
            return 1  # The session died first, and the pid may be somebody else's by now.
        if self.job["uid_gid"] is not None:
            uid, gid = self.job["uid_gid"]
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        # A killed postmaster or mysqld leaves workers and rsync daemons behind: they become ours, to be waited for.
        self.libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        wake, wake_write = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.server_pid = self._fork()
        os.write(1, b"%d\n" % self.server_pid)
        os.close(1)
        poll = select.poll()
        poll.register(session, select.POLLIN)
        poll.register(wake, select.POLLIN)
        session_gone = False
        while self.exit_code is None and not session_gone:
            session_gone = session in dict(poll.poll())
            drain(wake)
            self._reap()
        poll.unregister(session)
        if session_gone and self.exit_code is None:
            self._signal_server(self.job["stop_signal"])
        self._wait_for_children(poll, wake)
        if session_gone:
            shutil.rmtree(self.job["folder"], ignore_errors=True)
        return 1 if self.exit_code is None else self.exit_code

    def _fork(self) -> int:
        guard_pid = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            # After the change of user, which would clear it. If the guard is killed its server is told to stop too.
            self.libc.prctl(PR_SET_PDEATHSIG, self.job["stop_signal"])
            if os.getppid() == guard_pid:
                os.setsid()
                os.dup2(2, 1)
                for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
                    signal.signal(ignored_by_python, signal.SIG_DFL)
                os.execvp(self.job["argv"][0], self.job["argv"])  # noqa: S606 - no shell is wanted.
        except OSError as error:
            os.write(2, f"{self.job['argv'][0]}: {error}\n".encode())
        finally:
            os._exit(127)

    def _reap(self) -> bool:
        """Collect the dead; True while a child lives."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.server_pid:
                code = os.waitstatus_to_exitcode(status)
                self.exit_code = code if code >= 0 else 128 - code

    def _wait_for_children(self, poll: select.poll, wake: int) -> None:
        """Wait until server and orphans are gone: only then are port and data folder free for a restart."""
        deadline = time.monotonic() + STOP_SECONDS
        while self._reap():
            left = deadline - time.monotonic()
            if left <= 0:
                for pid in children():
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                left = STOP_SECONDS
            poll.poll(left * 1000)
            drain(wake)

    def _signal_server(self, number: int) -> None:
        # Not reaped yet, so the pid is still the server's.
        with suppress(ProcessLookupError):
            os.kill(self.server_pid, number)


def drain(pipe: int) -> None:
    """Empty a non-blocking pipe."""
    with suppress(BlockingIOError):
        os.read(pipe, 4096)


def children() -> list[int]:
    """List the direct children, adopted ones included; the kernel may be built without that file."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split()]
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(Guard(json.loads(sys.argv[1])).run())
