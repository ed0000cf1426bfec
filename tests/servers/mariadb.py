"""A throw-away MariaDB from the binaries of the distribution's packages. See `galera` for a cluster."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from ._process import HOST, ServerError
from ._server import Server

Settings: TypeAlias = Mapping[str, str | int]
"""Options of ``mariadbd`` without their dashes, name to value."""

# Without the first line the bootstrapping server, which skips the grant tables, would refuse the second.
_ACCOUNTS = f"""
FLUSH PRIVILEGES;
CREATE OR REPLACE USER 'root'@'{HOST}';
GRANT ALL ON *.* TO 'root'@'{HOST}' WITH GRANT OPTION;
CREATE DATABASE test CHARACTER SET utf8mb4;
"""


def missing() -> str | None:
    """Say why MariaDB cannot be started here, or None if it can."""
    absent = [name for name in ("mariadbd", "mariadb-install-db", "mariadb") if find_program(name) is None]
    return f"no {', '.join(absent)}: apt-get install --no-install-recommends mariadb-server" if absent else None


class MariaDB(Server):
    """A server with its own data folder, gone without a trace at the end of the ``with`` block.

    The user ``root`` needs no password from 127.0.0.1, and there is a database ``test``. Nothing is synced to disk, so
    it survives crashes of the server, not of the machine. The methods may be called from any thread, one at a time.

    Args:
        max_connections: As the option of that name.
        settings: More options.

    Example:
        with MariaDB() as server:
            engine = create_engine(server.url("pymysql"))
    """

    name = "MariaDB"
    accounts = ("mysql", "nobody")
    # It holds nothing outside of its folder, and an orderly shutdown would only cost time.
    stop_signal = signal.SIGKILL

    def __init__(self, *, max_connections: int = 200, settings: Settings | None = None) -> None:
        """Remember the settings; the ``with`` statement starts the server."""
        super().__init__()
        self._settings: dict[str, str | int] = {"max-connections": max_connections, **(settings or {})}

    def url(self, driver: str = "pymysql", database: str = "test", *, port: int | None = None) -> str:
        """Give the URL for SQLAlchemy.

        Args:
            driver: pymysql, asyncmy, aiomysql or another one of the dialect.
            database: The database to connect to.
            port: Of a proxy in front of the server; None is the server's own.
        """
        return f"mysql+{driver}://root@{HOST}:{port or self.port}/{database}?charset=utf8mb4"

    def stop(self) -> None:
        """Stop the server in order and wait for it; a stopped one stays so."""
        self._end((signal.SIGTERM, 30.0))

    def kill(self) -> None:
        """Kill the server, as a crash would, and wait for it; `start` recovers it."""
        self._end()

    def restart(self) -> None:
        """Stop, then start on the same port."""
        self.stop()
        self.start()

    def execute(self, sql: str) -> list[tuple[str, ...]]:
        """Run SQL as root in autocommit, on a new connection, and return the rows as text if it gives any.

        Through the command-line client, to need no driver.

        Raises:
            ServerError: The server refuses the connection or the SQL.
        """
        program = find_program("mariadb") or "mariadb"
        where = ["--no-defaults", f"--host={HOST}", f"--port={self.port}", "--user=root", "--connect-timeout=5"]
        done = subprocess.run(
            [program, *where, "--batch", "--skip-column-names", "--database=test", f"--execute={sql}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise ServerError(done.stderr.strip())
        return [tuple(line.split("\t")) for line in done.stdout.splitlines()]

    def _create_data(self) -> None:
        if reason := missing():
            raise ServerError(reason)
        accounts = self.home / "accounts.sql"
        accounts.write_text(_ACCOUNTS, "utf-8")
        options = ["--auth-root-authentication-method=normal", "--skip-test-db", f"--extra-file={accounts}"]
        program = find_program("mariadb-install-db") or ""
        self._in_home().run([program, "--no-defaults", *options, *self._options()])

    def _command(self) -> list[str | Path]:
        return [find_program("mariadbd") or "mariadbd", "--no-defaults", *self._options()]

    def _options(self) -> list[str]:
        options: dict[str, str | int] = {
            "datadir": os.fspath(self.data),
            "port": self.port,
            "bind-address": HOST,
            # The client of execute() and all drivers go through TCP; a path in a temporary folder may be too long.
            "socket": "",
            "pid-file": os.fspath(self.home / "mariadbd.pid"),
            "character-set-server": "utf8mb4",
            "skip-name-resolve": 1,
            # Without a line for every connection that a proxy or `_answers` breaks off.
            "log-warnings": 1,
            "innodb-flush-method": "nosync",
            "innodb-flush-log-at-trx-commit": 2,
            "innodb-log-file-size": "16M",
            "innodb-buffer-pool-size": "64M",
            **self._settings,
        }
        return [f"--{name}={value}" for name, value in options.items()]

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=5) as connection:
                greeting = connection.recv(5)
        except OSError:
            return False
        # Three bytes length, one number, then the version of the protocol; a server that refuses says 255 there.
        return greeting[4:] == b"\x0a"


def find_program(program: str) -> str | None:
    """Find a program; mariadbd lies where only root's PATH looks."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
