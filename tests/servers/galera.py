"""A throw-away Galera cluster: three MariaDB nodes on 127.0.0.1 that replicate synchronously."""

from pathlib import Path
from typing import Self

from . import mariadb
from ._process import HOST, ServerError, free_port
from .mariadb import MariaDB, Settings, find_program

SIZE = 3
"""The fewest nodes of which one can be lost."""

_PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")


def missing() -> str | None:
    """Say why Galera cannot be started here, or None if it can."""
    if reason := mariadb.missing():
        return reason
    absent = []
    if not _PROVIDER.exists():
        absent.append("galera-4")
    if find_program("rsync") is None:
        absent.append("rsync")
    return f"no {', '.join(absent)}: apt-get install --no-install-recommends {' '.join(absent)}" if absent else None


class Node(MariaDB):
    """One node of a `Galera` cluster, which starts it.

    A killed node is missed by the others only after 5 seconds, Galera's ``evs.suspect_timeout``: until then their
    commits hang. One that starts again copies the data of another one first, in about 4 seconds.

    Args:
        number: Its place in the cluster. Number 0 founds it.
        ports: Where the nodes listen for each other, its own included.
        settings: More options of ``mariadbd``.
        provider: More options of Galera.
    """

    name = "Galera"
    start_seconds = 240.0

    def __init__(self, number: int, ports: list[int], settings: Settings, provider: Settings) -> None:
        """Remember its place; the cluster starts it."""
        super().__init__()
        self.number = number
        self._is_founding = number == 0
        transfer, increment = free_port(), free_port()
        options: dict[str, str | int] = {
            # Without it Galera listens on every interface.
            "gmcast.listen_addr": f"tcp://{HOST}:{ports[number]}",
            "ist.recv_addr": f"{HOST}:{increment}",
            "ist.recv_bind": f"{HOST}:{increment}",
            "gcache.size": "16M",
            # From 3 s and 1 s. On loopback whoever is there has answered long before.
            "pc.announce_timeout": "PT0.5S",
            "evs.join_retrans_period": "PT0.2S",
            **provider,
        }
        self._settings |= {
            "binlog-format": "ROW",
            "innodb-autoinc-lock-mode": 2,
            "wsrep-on": "ON",
            "wsrep-provider": str(_PROVIDER),
            "wsrep-provider-options": ";".join(f"{name}={value}" for name, value in options.items()),
            "wsrep-cluster-name": "tests",
            "wsrep-cluster-address": "gcomm://" + ",".join(f"{HOST}:{port}" for port in ports),
            "wsrep-node-name": f"node{number}",
            "wsrep-node-address": f"{HOST}:{ports[number]}",
            "wsrep-sst-method": "rsync",
            "wsrep-sst-receive-address": f"{HOST}:{transfer}",
            **settings,
        }

    def status(self, name: str) -> str:
        """Give a status variable, such as ``wsrep_cluster_size``.

        Raises:
            ServerError: The node does not answer, or there is no such variable.
        """
        for _, value in self.execute(f"SHOW GLOBAL STATUS LIKE '{name}'"):
            return value
        message = f"no status variable {name}"
        raise ServerError(message)

    def wait_for_status(self, name: str, value: str, *, seconds: float = 120.0) -> None:
        """Wait until a status variable has the value, as ``wsrep_cluster_status`` of a node without quorum.

        Raises:
            ServerError: It has not after these seconds.
        """
        self._running().wait_until(lambda: self.status(name) == value, seconds=seconds, what=f"at {name} = {value}")

    def wait_for_rows(self, sql: str, rows: list[tuple[str, ...]], *, seconds: float = 60.0) -> None:
        """Wait until a query gives these rows: a node applies what another one has committed a moment later.

        ``wsrep_sync_wait`` is not enough while the cluster changes: a new table was unknown then in one run of many.

        Raises:
            ServerError: It does not after these seconds.
        """
        given: list[object] = []

        def gives() -> bool:
            try:
                given[:] = self.execute(sql)
            except ServerError as error:
                given[:] = [error]
            return given == rows

        try:
            self._running().wait_until(gives, seconds=seconds, what=f"giving {rows} for {sql}")
        except ServerError as error:
            error.add_note(f"It gave {given}.")
            raise

    def launch(self) -> None:
        """Do the first half of `start`.

        A node that was killed in the middle of a CREATE TABLE keeps a note of it that outlives the copy from another node,
        and drops the table it has just been given (MariaDB 10.11, seen in 6 of 14 tries). So the note goes first.
        """
        (self.data / "ddl_recovery.log").unlink(missing_ok=True)
        super().launch()

    def _create_data(self) -> None:
        if self._is_founding:
            super()._create_data()
        else:
            # The others get theirs from a node of the cluster.
            self._in_home().make_folder(self.data)

    def _command(self) -> list[str | Path]:
        is_founding, self._is_founding = self._is_founding, False
        return [*super()._command(), *(["--wsrep-new-cluster"] if is_founding else [])]

    def _answers(self) -> bool:
        try:
            return super()._answers() and self.status("wsrep_local_state_comment") == "Synced"
        except ServerError:
            return False


class Galera:
    """A cluster of three nodes, gone without a trace at the end of the ``with`` block.

    Each of the `nodes` is a `MariaDB` with its own ``url``, ``kill``, ``stop``, ``start`` and ``restart``. One of them
    must be running for another one to start: a cluster that is down as a whole stays down.

    Args:
        settings: More options of every ``mariadbd``.
        provider: More options of Galera, as ``evs.suspect_timeout``.

    Example:
        with Galera() as cluster:
            engine = create_engine(cluster.nodes[0].url("pymysql"))
            cluster.nodes[2].kill()
    """

    def __init__(self, *, settings: Settings | None = None, provider: Settings | None = None) -> None:
        """Remember the settings; the ``with`` statement starts the nodes."""
        ports = [free_port() for _ in range(SIZE)]
        self.nodes = tuple(Node(number, ports, settings or {}, provider or {}) for number in range(SIZE))

    def __enter__(self) -> Self:
        """Start the nodes, in about 8 seconds, and wait until each knows of all.

        Raises:
            ServerError: A package is missing, or a node does not join in time.
        """
        if reason := missing():
            raise ServerError(reason)
        try:
            founder, *others = self.nodes
            founder.__enter__()
            for node in others:
                node.prepare()
                node.launch()
            for node in others:
                node.wait_until_ready()
            for node in self.nodes:
                node.wait_for_status("wsrep_cluster_size", str(SIZE))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the nodes and delete their folders."""
        for node in self.nodes:
            node.discard()
