"""A throw-away Galera cluster: three MariaDB nodes on 127.0.0.1 that replicate synchronously."""

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from . import mariadb
from ._process import HOST, ServerError, free_port
from .mariadb import MariaDB, Settings, find_program

SIZE = 3

_PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")


def missing() -> str | None:
    """Say why Galera cannot be started here, or None if it can."""
    if reason := mariadb.missing():
        return reason
    absent = {"galera-4": _PROVIDER.exists(), "rsync": find_program("rsync") is not None}
    names = [name for name, is_there in absent.items() if not is_there]
    return f"no {', '.join(names)}: apt-get install --no-install-recommends {' '.join(names)}" if names else None


class Node(MariaDB):
    """One node of a `Galera` cluster, which starts and stops it; `kill`, `stop` and `start` do so in between.

    Args:
        number: Its place in the cluster.
        ports: The ports of the cluster's members for each other.
        settings: More options of ``mariadbd``.
    """

    name = "Galera"
    start_seconds = 120.0

    def __init__(self, number: int, ports: list[int], settings: Settings | None = None) -> None:
        """Remember the cluster; the ``with`` statement starts the node."""
        super().__init__(settings=settings)
        self.number = number
        self._is_founding = number == 0
        ist, sst = free_port(), free_port()
        provider = {
            # Without it Galera listens on every interface.
            "gmcast.listen_addr": f"tcp://{HOST}:{ports[number]}",
            "ist.recv_addr": f"{HOST}:{ist}",
            "ist.recv_bind": f"{HOST}:{ist}",
            "gcache.size": "16M",
        }
        self._settings |= {
            "binlog-format": "ROW",
            "innodb-autoinc-lock-mode": 2,
            "wsrep-on": "ON",
            "wsrep-provider": str(_PROVIDER),
            "wsrep-cluster-name": "tests",
            "wsrep-cluster-address": "gcomm://" + ",".join(f"{HOST}:{port}" for port in ports),
            "wsrep-node-name": f"node{number}",
            "wsrep-node-address": f"{HOST}:{ports[number]}",
            "wsrep-provider-options": ";".join(f"{name}={value}" for name, value in provider.items()),
            "wsrep-sst-method": "rsync",
            "wsrep-sst-receive-address": f"{HOST}:{sst}",
            **(settings or {}),
        }

    def status(self, name: str) -> str:
        """Give a status variable, as ``wsrep_cluster_size``."""
        [(_, value)] = self.execute(f"SHOW GLOBAL STATUS LIKE '{name}'")
        return value

    def _create_data(self) -> None:
        if self._is_founding:
            super()._create_data()
        else:
            self.data.mkdir()
            import shutil; shutil.chown(self.data, "mysql","mysql")

    def _command(self):
        founding, self._is_founding = self._is_founding, False
        return [*super()._command(), *(["--wsrep-new-cluster"] if founding else [])]

    def _answers(self) -> bool:
        if not super()._answers():
            return False
        try:
            return self.status("wsrep_local_state_comment") == "Synced"
        except ServerError:
            return False
