"""``_faults``: every row of the table with the error objects of the real drivers and dialects.

Some of those are in the extra ``dialects`` only, and skipped where they are not installed; SESSION_AWARE_DIALECTS=required
makes that a failure. TiDB has no dialect of its own: its users take those of MySQL.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import asyncpg
import psycopg.errors
import pytest
from sqlalchemy import create_engine, exc
from sqlalchemy.engine import make_url

from session_aware import CommitOutcomeUnknown, PoisonedTransactionError, is_transient
from session_aware._database.faults import (
    ABORTED,
    ABORTED_IN_BODY,
    LOST,
    REFUSED_AT_COMMIT,
    REFUSED_AT_COMMIT_CLASSES,
    ROUTING,
    code_of,
    is_not_applied,
    is_routing_error,
)

POSTGRESQL = {
    "psycopg": "postgresql+psycopg://",
    "psycopg2": "postgresql+psycopg2://",
    "cockroachdb": "cockroachdb+psycopg://host/name",
    "auroradsql": "auroradsql+psycopg://host/name",
    "yugabytedb": "yugabytedb+psycopg2://host/name",
}
MYSQL = {
    "pymysql": ("mysql+pymysql://", "pymysql.err"),
    "aiomysql": ("mysql+aiomysql://", "pymysql.err"),
    "asyncmy": ("mysql+asyncmy://", "asyncmy.errors"),
    "mysqlclient": ("mysql+mysqldb://", "MySQLdb"),
    "mariadb": ("mysql+mariadbconnector://", "mariadb"),
}
PACKAGES = {
    "cockroachdb": "sqlalchemy_cockroachdb",
    "auroradsql": "aurora_dsql_sqlalchemy",
    "mysqlclient": "MySQLdb",
    "yugabytedb": "sqlalchemy_yugabytedb",
    "spanner": "google.cloud.spanner_dbapi",
}


class Row(NamedTuple):
    """A row of the table: the code, whether another attempt is worth it, and whether it is not applied at COMMIT."""

    code: str | int
    is_transient: bool
    is_not_applied: bool


# What FAULTS has, by phase: in the body, then at COMMIT.
POSTGRESQL_ROWS = [
    Row("40001", is_transient=True, is_not_applied=True),
    Row("40P01", is_transient=True, is_not_applied=True),
    Row("40003", is_transient=False, is_not_applied=False),  # the outcome is unknown: never the whole of class 40
    Row("40002", is_transient=False, is_not_applied=True),
    Row("57P01", is_transient=True, is_not_applied=False),
    Row("57P02", is_transient=True, is_not_applied=False),
    Row("57P03", is_transient=True, is_not_applied=False),
    Row("53300", is_transient=True, is_not_applied=False),
    Row("08000", is_transient=True, is_not_applied=False),
    Row("08001", is_transient=True, is_not_applied=False),
    Row("08003", is_transient=True, is_not_applied=False),
    Row("08004", is_transient=True, is_not_applied=False),
    Row("08006", is_transient=True, is_not_applied=False),
    Row("08007", is_transient=False, is_not_applied=False),
    Row("55P03", is_transient=False, is_not_applied=True),
    Row("57014", is_transient=False, is_not_applied=False),
    Row("25006", is_transient=False, is_not_applied=True),
    Row("25P02", is_transient=False, is_not_applied=False),
    Row("0A000", is_transient=False, is_not_applied=True),
    Row("23505", is_transient=False, is_not_applied=True),
    Row("23503", is_transient=False, is_not_applied=True),
    Row("23514", is_transient=False, is_not_applied=True),
    Row("P0001", is_transient=False, is_not_applied=True),  # RAISE in a deferred trigger
    Row("P0002", is_transient=False, is_not_applied=True),
    Row("21000", is_transient=False, is_not_applied=True),
    Row("22012", is_transient=False, is_not_applied=True),
    Row("27000", is_transient=False, is_not_applied=True),
    Row("2F003", is_transient=False, is_not_applied=True),
    Row("38000", is_transient=False, is_not_applied=True),
    Row("39004", is_transient=False, is_not_applied=True),
    Row("42P01", is_transient=False, is_not_applied=True),
    Row("44000", is_transient=False, is_not_applied=True),
    Row("25P03", is_transient=True, is_not_applied=True),  # the server ended a session that was idle
    Row("25P04", is_transient=True, is_not_applied=True),
    Row("57P05", is_transient=True, is_not_applied=True),
    Row("53100", is_transient=False, is_not_applied=False),
    Row("XX000", is_transient=False, is_not_applied=False),
    Row("XXA00", is_transient=False, is_not_applied=False),  # CockroachDB: committed, but its schema change failed
]
MYSQL_ROWS = [
    Row(1213, is_transient=True, is_not_applied=True),
    Row(3101, is_transient=True, is_not_applied=True),  # group replication, at COMMIT
    Row(1020, is_transient=True, is_not_applied=False),
    Row(6235, is_transient=True, is_not_applied=False),
    Row(8002, is_transient=True, is_not_applied=False),
    Row(8022, is_transient=True, is_not_applied=False),
    Row(8028, is_transient=True, is_not_applied=False),
    Row(9007, is_transient=True, is_not_applied=False),
    Row(2002, is_transient=True, is_not_applied=False),
    Row(2003, is_transient=True, is_not_applied=False),
    Row(2006, is_transient=True, is_not_applied=False),
    Row(2013, is_transient=True, is_not_applied=False),
    Row(1040, is_transient=True, is_not_applied=False),
    Row(1226, is_transient=True, is_not_applied=False),
    Row(1927, is_transient=True, is_not_applied=False),
    Row(5066, is_transient=True, is_not_applied=False),
    Row(1205, is_transient=False, is_not_applied=False),
    Row(1317, is_transient=False, is_not_applied=False),
    Row(1969, is_transient=False, is_not_applied=False),
    Row(1290, is_transient=False, is_not_applied=False),
    Row(1792, is_transient=False, is_not_applied=False),
    Row(1062, is_transient=False, is_not_applied=False),
    Row(1047, is_transient=False, is_not_applied=False),
]
SQLITE_ROWS = [
    Row(5, is_transient=True, is_not_applied=True),
    Row(261, is_transient=True, is_not_applied=True),
    Row(517, is_transient=True, is_not_applied=True),
    Row(19, is_transient=False, is_not_applied=True),
    Row(787, is_transient=False, is_not_applied=True),
    Row(13, is_transient=False, is_not_applied=True),
    Row(6, is_transient=False, is_not_applied=False),
    Row(9, is_transient=False, is_not_applied=False),
    Row(8, is_transient=False, is_not_applied=False),
    Row(10, is_transient=False, is_not_applied=False),
]


def need(name: str) -> Any:
    """Import what is no requirement of the tests; where SESSION_AWARE_DIALECTS says that it is there, it must be."""
    package = PACKAGES.get(name, name)
    if os.environ.get("SESSION_AWARE_DIALECTS") == "required":
        return importlib.import_module(package)
    return pytest.importorskip(package, reason=f"{package} is not installed")


def wrapped(url: str, original: Exception, *, is_lost: bool = False) -> exc.DBAPIError:
    """Wrap a driver's error as SQLAlchemy does for this dialect."""
    dialect = make_url(url).get_dialect()
    base = dialect.import_dbapi().Error
    made = exc.DBAPIError.instance("SELECT 1", {}, original, base, connection_invalidated=is_lost, dialect=dialect())
    assert isinstance(made, exc.DBAPIError)
    return made


def postgresql_error(driver: str, code: str) -> Exception:
    if driver in {"psycopg2", "yugabytedb"}:
        error: Any = importlib.import_module("psycopg2.errors").lookup("40001")("x")
        error.__setstate__({"pgcode": code})  # a server sets it, and pickle
        return cast("Exception", error)
    if code not in psycopg.errors._sqlcodes:
        nameless = psycopg.OperationalError("x")
        nameless.sqlstate = code
        return nameless
    return psycopg.errors.lookup(code)("x")


def mysql_error(module: str, code: int) -> Exception:
    errors = importlib.import_module(module)
    if module != "mariadb":
        return errors.OperationalError(code, "x")  # type: ignore[no-any-return] # of any driver
    error: Exception = errors.OperationalError("x")
    error.errno = code  # type: ignore[attr-defined] # a server sets it
    return error


def check(error: BaseException, row: Row) -> None:
    assert is_transient(error) is row.is_transient
    assert is_not_applied(error) is row.is_not_applied


@pytest.mark.parametrize("row", POSTGRESQL_ROWS, ids=lambda row: row.code)
@pytest.mark.parametrize("driver", POSTGRESQL)
def test_postgresql_state_is_read_from_the_driver(driver: str, row: Row) -> None:
    need(driver)
    original = postgresql_error(driver, str(row.code))
    assert code_of(original) == row.code
    error = wrapped(POSTGRESQL[driver], original)
    assert code_of(error) == row.code
    check(error, row)


@pytest.mark.parametrize("row", POSTGRESQL_ROWS, ids=lambda row: row.code)
def test_error_of_asyncpg_is_read_bare(row: Row) -> None:
    error = asyncpg.PostgresError.new({"C": str(row.code), "M": "x", "S": "ERROR"})
    assert code_of(error) == row.code
    check(error, row)


@pytest.mark.parametrize("row", MYSQL_ROWS, ids=lambda row: row.code)
@pytest.mark.parametrize("driver", MYSQL)
def test_mysql_number_is_read_from_the_driver(driver: str, row: Row) -> None:
    need(driver)
    url, module = MYSQL[driver]
    original = mysql_error(module, int(row.code))
    assert code_of(original) == row.code
    error = wrapped(url, original)
    assert code_of(error) == row.code
    check(error, row)


@pytest.mark.parametrize("driver", ["mysqlclient", "mariadb"])
def test_socket_that_is_not_there_is_transient(driver: str, tmp_path: Path) -> None:
    need(driver)
    engine = create_engine(f"{MYSQL[driver][0]}root@localhost/test?unix_socket={tmp_path / 'nowhere'}")
    with pytest.raises(exc.DBAPIError) as caught:
        engine.connect()
    assert code_of(caught.value) == 2002
    check(caught.value, Row(2002, is_transient=True, is_not_applied=False))


@pytest.mark.parametrize("row", SQLITE_ROWS, ids=lambda row: row.code)
@pytest.mark.parametrize("driver", ["pysqlite", "aiosqlite"])
def test_sqlite_code_counts_by_its_low_byte(driver: str, row: Row) -> None:
    original = sqlite3.OperationalError("x")
    original.sqlite_errorcode = int(row.code)
    error = wrapped(f"sqlite+{driver}://", original)
    assert code_of(error) == f"sqlite:{int(row.code) & 0xFF}"
    check(error, row)


def test_every_code_of_the_table_is_tested() -> None:
    tested = {row.code for row in POSTGRESQL_ROWS + MYSQL_ROWS} | {f"sqlite:{row.code}" for row in SQLITE_ROWS}
    codes = ABORTED | ABORTED_IN_BODY | LOST | REFUSED_AT_COMMIT | ROUTING
    assert {code for code in codes if not str(code).startswith("grpc:")} <= tested
    assert {code[:2] for code in tested if isinstance(code, str)} >= set(REFUSED_AT_COMMIT_CLASSES)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("Aborted", Row("grpc:ABORTED", is_transient=True, is_not_applied=True)),
        ("ServiceUnavailable", Row("grpc:UNAVAILABLE", is_transient=True, is_not_applied=False)),
        ("DeadlineExceeded", Row("grpc:DEADLINE_EXCEEDED", is_transient=False, is_not_applied=False)),
    ],
)
def test_status_of_spanner_is_read_bare_and_as_a_cause(name: str, row: Row) -> None:
    dbapi = need("spanner")
    bare = getattr(importlib.import_module("google.api_core.exceptions"), name)("x")
    assert code_of(bare) == row.code
    check(bare, row)
    original = dbapi.OperationalError("x")
    original.__cause__ = bare
    error = wrapped("spanner+spanner:///projects/p/instances/i/databases/d", original)
    assert code_of(error) == row.code
    check(error, row)


def test_spanner_that_gave_its_own_retry_up_has_aborted() -> None:
    need("spanner")
    original = importlib.import_module("google.cloud.spanner_dbapi.exceptions").RetryAborted("x")
    check(original, Row("grpc:ABORTED", is_transient=True, is_not_applied=True))


def test_attributes_of_what_may_not_be_installed_are_read() -> None:
    base = type("Error", (Exception,), {})
    number = type("OperationalError", (base,), {"errno": 1213})  # as of MariaDB's connector
    assert code_of(number("a deadlock")) == 1213
    assert code_of(type("RetryAborted", (base,), {})("gave up")) == "grpc:ABORTED"  # as of Spanner's


@pytest.mark.parametrize("code", sorted(ROUTING, key=str))
def test_write_to_where_only_reading_is_possible_is_a_routing_error(code: str | int) -> None:
    if isinstance(code, int):
        error = wrapped("mysql+pymysql://", mysql_error("pymysql.err", code))
    elif code.startswith("sqlite:"):
        original = sqlite3.OperationalError("x")
        original.sqlite_errorcode = 8
        error = wrapped("sqlite://", original)
    else:
        error = wrapped("postgresql+psycopg://", postgresql_error("psycopg", code))
    assert is_routing_error(error)


def test_other_error_is_no_routing_error() -> None:
    assert not is_routing_error(wrapped("mysql+pymysql://", mysql_error("pymysql.err", 1213)))
    assert not is_routing_error(ValueError(1290))


def test_lost_connection_without_a_code_is_transient_and_unknown_at_commit() -> None:
    error = wrapped("postgresql+psycopg://", psycopg.OperationalError("x"), is_lost=True)
    assert code_of(error) is None
    check(error, Row("", is_transient=True, is_not_applied=False))


def test_error_without_a_code_is_neither() -> None:
    check(wrapped("postgresql+psycopg://", psycopg.OperationalError("x")), Row("", is_transient=False, is_not_applied=False))
    check(wrapped("sqlite://", sqlite3.OperationalError("x")), Row("", is_transient=False, is_not_applied=False))


def test_state_of_another_length_is_none() -> None:
    error = psycopg.OperationalError("x")
    error.sqlstate = "4000"
    assert code_of(error) is None


@pytest.mark.parametrize(
    "error",
    [
        KeyError(1213),
        ValueError(1213, "Deadlock found"),
        LookupError("40001"),
        Exception("could not serialize access due to concurrent update (40001)"),
        OSError(1213, "not a database"),
        FileNotFoundError(errno.ENOENT, "a file"),
        OSError(errno.EACCES, "a file"),
        TimeoutError(),
        CommitOutcomeUnknown("x"),
        PoisonedTransactionError("x"),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        SystemExit(1213),
    ],
    ids=lambda error: repr(error)[:40],
)
def test_other_exception_is_not_transient_whatever_it_carries(error: BaseException) -> None:
    check(error, Row("", is_transient=False, is_not_applied=False))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, "x"),
        ConnectionResetError(errno.ECONNRESET, "x"),
        ConnectionError(),
        OSError(errno.EHOSTUNREACH, "x"),
        OSError("Multiple exceptions: [Errno 111] ..."),
        exc.TimeoutError("QueuePool limit reached"),
    ],
    ids=repr,
)
def test_connection_that_never_was_is_transient_and_unknown_at_commit(error: Exception) -> None:
    check(error, Row("", is_transient=True, is_not_applied=False))


def deadlock() -> Exception:
    return wrapped("mysql+pymysql://", mysql_error("pymysql.err", 1213))


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (lambda: ExceptionGroup("x", [deadlock(), ConnectionResetError()]), True),
        (lambda: ExceptionGroup("x", [deadlock(), ExceptionGroup("y", [deadlock()])]), True),
        (lambda: ExceptionGroup("x", [deadlock(), ValueError()]), False),
        (lambda: ExceptionGroup("x", [deadlock(), ExceptionGroup("y", [deadlock(), CommitOutcomeUnknown()])]), False),
        (lambda: BaseExceptionGroup("x", [deadlock(), asyncio.CancelledError()]), False),
        (lambda: BaseExceptionGroup("x", [KeyboardInterrupt()]), False),
    ],
)
def test_group_is_transient_if_every_leaf_is(group: Callable[[], BaseException], *, expected: bool) -> None:
    assert is_transient(group()) is expected


def test_poisoned_transaction_is_as_transient_as_what_was_swallowed() -> None:
    poisoned = PoisonedTransactionError("x")
    poisoned.__cause__ = deadlock()
    assert is_transient(poisoned)
    poisoned.__cause__ = ValueError()
    assert not is_transient(poisoned)


def test_lost_savepoint_is_as_transient_as_what_ended_the_transaction() -> None:
    gone = wrapped("mysql+pymysql://", mysql_error("pymysql.err", 1305))
    assert not is_transient(gone)
    gone.__context__ = mysql_error("pymysql.err", 1305)
    gone.__context__.__context__ = deadlock()
    assert is_transient(gone)
    gone.__context__.__context__ = ValueError()
    assert not is_transient(gone)
