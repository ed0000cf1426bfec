"""The stages with servers: PostgreSQL, MariaDB, Galera."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from tests.faults.stage import SQLite, Stage
from tests.servers._process import ServerError
from tests.servers.galera import Galera
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DRIVERS", "STAGES"]

_KILLABLE = "SELECT id FROM information_schema.processlist WHERE user = 'root' AND id <> connection_id()"
_BOUNDED = {"innodb-lock-wait-timeout": 10}  # from 50 s, which is longer than a worker may take
_DANGLING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'",
    "mariadb": "SELECT count(*) FROM information_schema.innodb_trx",
}


def _count(witness: Engine, sql: str) -> int:
    with witness.connect() as connection:
        return int(connection.scalar(text(sql)) or 0)


class PostgreSQLStage(Stage):
    """A PostgreSQL at SERIALIZABLE: serialization failures and deadlocks come by themselves."""

    name = "postgresql"
    isolation_level = "SERIALIZABLE"

    def _start(self, stack: contextlib.ExitStack) -> None:
        self._server = stack.enter_context(PostgreSQL())
        self.proxied(stack, self._server.port)

    def urls(self, driver: str) -> list[str]:
        return [self._server.url(driver, port=self.proxies[0].port)]

    def witness_url(self) -> str:
        return self._server.url()

    def attacks(self) -> dict[str, Callable[[], object]]:
        return {
            "backends killed": self._server.terminate_backends,
            "server restarted": lambda: self._server.restart(immediate=True),
            **self.proxy_attacks(),
        }

    def dangling(self, witness: Engine) -> int:
        return _count(witness, _DANGLING[self.name])


class MariaDBStage(Stage):
    """A MariaDB; the bank locks what it reads, in any order, so there are deadlocks."""

    name = "mariadb"

    def _start(self, stack: contextlib.ExitStack) -> None:
        self._server = stack.enter_context(MariaDB(settings=_BOUNDED))
        self.proxied(stack, self._server.port)

    def urls(self, driver: str) -> list[str]:
        return [self._server.url(driver, port=self.proxies[0].port)]

    def witness_url(self) -> str:
        return self._server.url()

    def attacks(self) -> dict[str, Callable[[], object]]:
        return {
            "connections killed": lambda: _kill_connections(self._server),
            "server restarted": self._restart,
            **self.proxy_attacks(),
        }

    def dangling(self, witness: Engine) -> int:
        return _count(witness, _DANGLING[self.name])

    def _restart(self) -> None:
        self._server.kill()
        self._server.start()


class GaleraStage(Stage):
    """Three nodes, all of them written to: conflicts between nodes show at COMMIT."""

    name = "galera"

    def _start(self, stack: contextlib.ExitStack) -> None:
        # From 5 s and 15 s: a node that was killed is missed soon, so that commits do not hang for most of a round.
        missed = {"evs.keepalive_period": "PT0.3S", "evs.suspect_timeout": "PT1S", "evs.inactive_timeout": "PT3S"}
        self._nodes = stack.enter_context(Galera(provider=missed, settings=_BOUNDED)).nodes
        self._turn = itertools.cycle(self._nodes[1:])
        for node in self._nodes:
            self.proxied(stack, node.port)

    def urls(self, driver: str) -> list[str]:
        return [node.url(driver, port=proxy.port) for node, proxy in zip(self._nodes, self.proxies, strict=True)]

    def witness_url(self) -> str:
        return f"{self._nodes[0].url()}&init_command=SET SESSION wsrep_sync_wait=1"

    def attacks(self) -> dict[str, Callable[[], object]]:
        return {
            "connections killed": lambda: _kill_connections(self._nodes[0]),
            "node restarted": lambda: self._restart(gently=True),
            "node killed": lambda: self._restart(gently=False),
            **self.proxy_attacks(),
        }

    def dangling(self, witness: Engine) -> int:
        # Without the threads that apply what other nodes wrote.
        return _count(witness, _DANGLING["mariadb"] + " WHERE trx_mysql_thread_id IN (" + _KILLABLE + ")")

    def settle(self) -> None:
        super().settle()
        for node in self._nodes:
            node.wait_for_status("wsrep_local_state_comment", "Synced")

    def _restart(self, *, gently: bool) -> None:
        node = next(self._turn)
        node.stop() if gently else node.kill()
        node.start()


def _kill_connections(server: MariaDB) -> None:
    for (number,) in server.execute(_KILLABLE):
        with contextlib.suppress(ServerError):  # it has gone by itself
            server.execute(f"KILL {number}")


STAGES: dict[str, Callable[[], Stage]] = {
    "sqlite": SQLite,
    "postgresql": PostgreSQLStage,
    "mariadb": MariaDBStage,
    "galera": GaleraStage,
}
DRIVERS = {
    "sqlite": ("sqlite3", "aiosqlite"),
    "postgresql": ("psycopg", "psycopg-async", "asyncpg"),
    "mariadb": ("pymysql", "asyncmy"),
    "galera": ("pymysql", "asyncmy"),
}
"""Of each engine, the first the default."""
