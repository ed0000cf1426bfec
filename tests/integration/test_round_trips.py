"""What a unit with one SELECT sends to a server, counted by a proxy in front of it, with connections already made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.round_trips import HAS_SKIP, SERVERS, WAYS, counts, one_row
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL
from tests.servers.proxy import TcpProxy

BY_HAND, SWITCHED, CREATED, AUTO, READ_ONLY, AUTOCOMMIT, READ_FACTORY = WAYS

# BEGIN, SELECT, and COMMIT or ROLLBACK. These drivers send no ROLLBACK where they have begun nothing.
POSTGRESQL: Final = {BY_HAND: 3, SWITCHED: 1, CREATED: 1, AUTO: 3, READ_ONLY: 3, AUTOCOMMIT: 1, READ_FACTORY: 1}
# SQLAlchemy takes its switch back with a method of psycopg2 that sends SET.
PSYCOPG2: Final = {**POSTGRESQL, SWITCHED: 2, AUTOCOMMIT: 2}
# SELECT begins; the session sends COMMIT or ROLLBACK, and the pool another ROLLBACK. READ ONLY is a statement of its own.
# To and fro between AUTOCOMMIT and transactions are four statements more.
_CREATED: Final = 1 if HAS_SKIP else 3
MARIADB: Final = {
    BY_HAND: 3,
    SWITCHED: 7,
    CREATED: _CREATED,
    AUTO: 3,
    READ_ONLY: 4,
    AUTOCOMMIT: 7,
    READ_FACTORY: _CREATED,
}
EXPECTED: Final = {
    "psycopg": POSTGRESQL,
    "psycopg2": PSYCOPG2,
    "asyncpg": POSTGRESQL,
    "pymysql": MARIADB,
    "asyncmy": MARIADB,
}


def cases(server: str) -> list[tuple[str, str]]:
    return [(driver, way) for driver in SERVERS[server] for way in WAYS]


@pytest.fixture(scope="module")
def before_postgresql(postgresql: PostgreSQL) -> Iterator[TcpProxy]:
    with one_row(postgresql), TcpProxy(postgresql.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def before_mariadb(mariadb: MariaDB) -> Iterator[TcpProxy]:
    with one_row(mariadb), TcpProxy(mariadb.port) as proxy:
        yield proxy


@pytest.mark.parametrize(("driver", "way"), cases("postgresql"))
def test_round_trips_to_postgresql(postgresql: PostgreSQL, before_postgresql: TcpProxy, driver: str, way: str) -> None:
    url = postgresql.url(driver, port=before_postgresql.port)
    assert set(counts(url, before_postgresql, WAYS[way])) == {EXPECTED[driver][way]}


@pytest.mark.mariadb
@pytest.mark.parametrize(("driver", "way"), cases("mariadb"))
def test_round_trips_to_mariadb(mariadb: MariaDB, before_mariadb: TcpProxy, driver: str, way: str) -> None:
    url = mariadb.url(driver, port=before_mariadb.port)
    assert set(counts(url, before_mariadb, WAYS[way])) == {EXPECTED[driver][way]}
