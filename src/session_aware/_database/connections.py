"""What a unit needs of each connection that its session takes: a transaction of its own, the isolation level, READ ONLY.

A session may take several connections, one for each of its binds, and takes one only when a statement needs it. So the
engine that it chooses is replaced by a twin whose connections begin as the policy wants. What can only be set or checked on
the connection itself is done in ``after_begin``.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import InvalidRequestError, UnboundExecutionError

from session_aware._database import driver, events
from session_aware._database.listeners import engine_without_options, listen, put_back, unlisten
from session_aware.exceptions import PolicyConflictError, SessionFactoryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import RootTransaction
    from sqlalchemy.orm import Session, SessionTransaction


__all__ = [
    "PRETENDED_LEVEL_KEY",
    "Preparation",
    "check_autocommit",
    "check_bound_connection",
    "check_isolation_level",
    "check_taken_connection",
    "connections_of",
    "engines_of",
    "is_half_ended",
    "verify_levels",
]

PRETENDED_LEVEL_KEY: Final = "session_aware.pretended_level"
"""A key of ``session.info`` for sessions whose units run one after the other in one transaction, as in the pytest plugin.

Such units are isolated from each other at every level, so the level that a unit asks for is not set but remembered under
this key, and calls that join are checked against it. The value is None until a unit asks for a level.
"""

_AUTOCOMMIT: Final = "AUTOCOMMIT"
_CHECKED_KEY: Final = "session_aware.has_transactions"
_TWINS_KEY: Final = "_session_aware_twins"
_LEVEL_AT_CONNECT: Final = "_on_connect_isolation_level"
"""Where SQLAlchemy keeps ``create_engine(isolation_level=)``. If AUTOCOMMIT is set again, 2.0.0 takes it back afterwards."""

_SHOULD_COMMIT: Final = 2
_IS_CLOSED: Final = 3


def _taken(transaction: SessionTransaction) -> dict[object, tuple[Any, ...]]:
    """Return SQLAlchemy's entries for the connections of a session's transaction.

    An entry holds the connection, its transaction, whether the session ends the transaction, and whether it closes the
    connection. SQLAlchemy has no public way to ask. If the attribute is missing, the checks that need it find nothing.
    """
    taken: dict[object, tuple[Any, ...]] = getattr(cast("object", transaction), "_connections", {})
    return taken


def connections_of(session: Session) -> list[Connection]:
    """Return the connections that a session has taken, after taking that of its default bind if it has one."""
    found: dict[int, Connection] = {}
    with contextlib.suppress(UnboundExecutionError):
        default = session.connection()
        found[id(default)] = default
    if (transaction := session.get_transaction()) is not None:
        found.update((id(entry[0]), entry[0]) for entry in _taken(transaction).values())
    return [*found.values()]


def engines_of(session: Session) -> list[Engine]:
    """Return the engines of the connections that a session has taken; before it takes one, that of its default bind."""
    transaction = session.get_transaction()
    taken = [] if transaction is None else [entry[0].engine for entry in _taken(transaction).values()]
    return taken or ([] if session.bind is None else [session.bind.engine])


def check_bound_connection(session: Session, name: str) -> bool:
    """Say whether a session will join the transaction of the Connection that it is bound to; refuse one it cannot end.

    Raises:
        SessionFactoryError: Other code began the transaction, and the unit's COMMIT would leave it open.
    """
    bind = session.bind
    if not isinstance(bind, Connection) or not bind.in_transaction():
        return False
    mode = session.join_transaction_mode
    if mode == "rollback_only" or (mode == "conditional_savepoint" and not bind.in_nested_transaction()):
        _refuse_outer_transaction(session, name)
    return True


def check_taken_connection(session: Session, transaction: SessionTransaction, connection: Connection, name: str) -> None:
    """Refuse a transaction that the session cannot end, on a connection that it has taken from any of its binds.

    Raises:
        SessionFactoryError: Other code began the transaction, and the unit's COMMIT would leave it open.
    """
    if (entry := _taken(transaction).get(connection)) is not None and not entry[_SHOULD_COMMIT]:
        _refuse_outer_transaction(session, name)


def _refuse_outer_transaction(session: Session, name: str) -> NoReturn:
    msg = (
        f"{name}: its session is bound to a Connection in a transaction that was begun elsewhere, and "
        f"join_transaction_mode={session.join_transaction_mode!r} leaves the COMMIT to whoever began it: the call would be "
        "reported as committed, and could still be rolled back. Bind the factory to the engine, or write "
        f"'{name}(..., session=session)' with a session of that connection; for tests join_transaction_mode="
        "'create_savepoint'."
    )
    raise SessionFactoryError(msg)


def is_half_ended(connection: Connection, root: RootTransaction | None) -> bool:
    """Say whether a transaction is over for SQLAlchemy but may be open: after a failed COMMIT it sends no ROLLBACK."""
    is_over = root is not None and not root.is_active
    return is_over and connection.get_transaction() is root and not connection.invalidated


def check_autocommit(connection: Connection, name: str) -> None:
    """Refuse a connection on which each statement is committed at once. Each pooled connection is asked only once.

    Raises:
        SessionFactoryError: Nothing could be rolled back, and a dry run or a retry would apply its work.
    """
    level = connection.get_execution_options().get("isolation_level")
    known = connection.info  # kept as long as the driver's connection is
    if level is None and _CHECKED_KEY in known:
        return
    is_autocommit = level == _AUTOCOMMIT or driver.is_autocommit(connection)
    if is_autocommit:
        begin = ", or send BEGIN in a listener of the engine's 'begin'" if connection.dialect.name == "sqlite" else ""
        msg = (
            f"{name}: its connection is in AUTOCOMMIT, where each statement is committed at once: nothing could be rolled "
            "back. Name a session factory whose engine has transactions, without isolation_level='AUTOCOMMIT' and without "
            f"the driver's own switch{begin}."
        )
        raise SessionFactoryError(msg)
    if level is None and is_autocommit is not None:  # otherwise the answer holds for this transaction alone
        known[_CHECKED_KEY] = True


def _level_of(connection: Connection) -> str:
    """Return the level of a connection's transaction. SQLAlchemy's dialects tell that of the next one in AUTOCOMMIT."""
    owner = events.owner_of(connection)
    is_so = (owner is not None and owner.is_autocommit) or driver.is_autocommit(connection)
    return _AUTOCOMMIT if is_so else connection.get_isolation_level()


def check_isolation_level(wanted: str, actual: str, *, name: str) -> None:
    """Refuse to join a transaction of another isolation level.

    Raises:
        PolicyConflictError: The given transaction has another level than the one that is wanted.
    """
    if actual.replace("_", " ").upper() == wanted:
        return
    msg = (
        f"{name}: its isolation level is {wanted}, but the given session's transaction runs at {actual}. A level cannot "
        f"change inside a transaction, so it would be ignored. Begin the caller's transaction at {wanted}, or call without "
        "'session=' to own one."
    )
    raise PolicyConflictError(msg)


def verify_levels(session: Session, wanted: str, name: str) -> Callable[[], None]:
    """Check the level of each connection of a given session, now or when it is taken; return a function that stops that.

    Raises:
        PolicyConflictError: A connection runs at another level. For a later connection the statement that needs it raises.
    """
    if PRETENDED_LEVEL_KEY in session.info:
        pretended: str | None = session.info[PRETENDED_LEVEL_KEY]
        level = _level_of(session.connection()) if pretended is None else pretended
        check_isolation_level(wanted, level, name=name)
        return _nothing
    for connection in connections_of(session):
        check_isolation_level(wanted, _level_of(connection), name=name)

    def check(_session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
        check_isolation_level(wanted, _level_of(connection), name=name)

    event.listen(session, "after_begin", check)
    return partial(event.remove, session, "after_begin", check)


def _nothing() -> None:
    """Do nothing."""


class Preparation:
    """Sets the level and READ ONLY on every connection that an owned session takes, and refuses its flushes.

    Args:
        session: The owned session, in a transaction.
        isolation_level: The level of its transaction; None for that of the engine.
        read_only: Whether its transaction is READ ONLY.
        name: Qualified name of the callable, for the message.
        is_begun: Whether the factory returned the session in a transaction. Its level can then only be checked.
    """

    __slots__ = (
        "_choose",
        "_is_autocommit",
        "_level",
        "_name",
        "_options",
        "_read_only",
        "_session",
        "_twins",
        "_undo",
        "_undo_on_connection",
    )

    def __init__(self, session: Session, *, isolation_level: str | None, read_only: bool, name: str, is_begun: bool) -> None:
        self._session = session
        self._level = isolation_level
        self._read_only = read_only
        self._name = name
        self._undo: list[Callable[[], object]] = []
        self._undo_on_connection: list[Callable[[], object]] = []
        self._twins: dict[Engine, Engine] = {}  # of one unit: the session has a connection for each engine that it is told
        self._choose = session.get_bind
        self._is_autocommit = isolation_level == _AUTOCOMMIT
        self._options: dict[str, Any] = {} if self._level is None else {"isolation_level": self._level}
        if self._read_only and not self._is_autocommit:  # other dialects ignore the option; it costs no round trip
            self._options["postgresql_readonly"] = True
        if read_only:
            events.refuse_flushes(session)
        if PRETENDED_LEVEL_KEY in session.info:
            session.info[PRETENDED_LEVEL_KEY] = self._level
        if not is_begun:
            self._undo.append(partial(put_back, session, "get_bind", self._choose))
            vars(session)["get_bind"] = self._get_bind

    def _get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:  # noqa: ANN401 - as SQLAlchemy has them
        """Replace the session's own ``get_bind``, which a subclass may have overridden to choose among engines."""
        bind = self._choose(*args, **kwargs)
        if isinstance(bind, Connection):
            if not bind.in_transaction():
                self._set_on_connection(bind)
            return bind
        if (twin := self._twins.get(bind)) is None:
            twin = self._twins[bind] = _twin(bind, self._options)
            self._twins[twin] = twin  # a twin may be passed in again
        return twin

    def _set_on_connection(self, connection: Connection) -> None:
        """Set the options on a Connection that belongs to other code and keeps them until they are set back."""
        before = connection.get_execution_options()
        former: dict[str, Any] = {"postgresql_readonly": before.get("postgresql_readonly", False)} if self._read_only else {}
        if self._level is not None:
            former["isolation_level"] = before.get("isolation_level") or connection.default_isolation_level
        self._undo_on_connection.append(partial(connection.execution_options, **former))
        connection.execution_options(**self._options)

    def take(self, connection: Connection) -> None:
        """Prepare a connection on which the session has begun, or check it.

        Raises:
            PolicyConflictError: The transaction already runs at another level.
        """
        is_prepared = connection.get_execution_options().items() >= self._options.items()
        dialect = connection.dialect.name
        is_pretended = PRETENDED_LEVEL_KEY in self._session.info
        if self._is_autocommit:
            self._take_in_autocommit(connection, is_pretended=is_pretended)
        elif self._level is not None and not (is_prepared or is_pretended):
            check_isolation_level(self._level, _level_of(connection), name=self._name)
        if not self._read_only:
            return
        is_to_set = (dialect == "postgresql" and not is_prepared) or (dialect in {"mysql", "mariadb"} and is_prepared)
        if is_to_set and not self._is_autocommit:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        if dialect == "sqlite" and not _refuses_writes(connection):
            # The undo comes first: an interrupt in between would leave the pooled connection read-only for other sessions.
            self._undo.append(partial(_allow_writes, connection))
            for end in ("rollback", "commit"):  # a body that ends the transaction returns the connection to the pool
                listen(connection, end, _allow_writes)
                if self._is_borrowed(connection):
                    self._undo.append(partial(unlisten, connection, end, _allow_writes))
            connection.exec_driver_sql("PRAGMA query_only = 1")

    def _take_in_autocommit(self, connection: Connection, *, is_pretended: bool) -> None:
        # An engine may be in AUTOCOMMIT by itself. A listener of SQLite may send BEGIN (None), which does no harm here.
        if driver.is_autocommit(connection) is False and not is_pretended:
            check_isolation_level(_AUTOCOMMIT, connection.get_isolation_level(), name=self._name)
        if not events.refuses_writes(connection):
            events.refuse_writes(connection)
            if not is_pretended:
                self._undo.append(partial(events.allow_writes, connection))

    def _is_borrowed(self, connection: Connection) -> bool:
        transaction = self._session.get_transaction()
        entry = None if transaction is None else _taken(transaction).get(connection)
        return entry is not None and not entry[_IS_CLOSED]

    def undo(self) -> None:
        """Restore the session and its connections while the transaction is still open."""
        while self._undo:
            self._undo.pop()()

    def undo_on_connection(self) -> None:
        """Restore the options of a Connection that belongs to other code, once the transaction is over."""
        while self._undo_on_connection:
            self._undo_on_connection.pop()()


def _twin(engine: Engine, options: dict[str, Any]) -> Engine:
    """Return the engine with execution options, on the same pool.

    An engine keeps its twins, and what listens to them, for later units. SQLAlchemy copies the engine's own options and
    ``echo`` into a twin, so a change of those asks for another one, as does one of the twin's options.
    """
    twins: dict[tuple[object, ...], tuple[object, Engine, object]] = vars(engine).setdefault(_TWINS_KEY, {})
    key = (engine.echo, *options.items())
    own, twin, its = twins.get(key, (None, engine, None))
    if own is not engine.get_execution_options() or its is not twin.get_execution_options():
        own, twin = engine.get_execution_options(), _new_twin(engine, options)
        twins[key] = own, twin, twin.get_execution_options()
    return twin


def _new_twin(engine: Engine, options: dict[str, Any]) -> Engine:
    level = options.get("isolation_level")
    is_so_by_itself = level == _AUTOCOMMIT == getattr(engine.dialect, _LEVEL_AT_CONNECT, None)
    twin = _with_options(engine, {} if is_so_by_itself else options)
    if level is not None and "isolation_level" in engine.get_execution_options():
        # SQLAlchemy (2.1.9) sets the level of the engine's own options after that of the twin's.
        connect = twin.connect
        vars(twin)["connect"] = lambda: connect().execution_options(isolation_level=level)
    if level == _AUTOCOMMIT:
        events.refuse_writes(twin)
    return twin


def _with_options(engine: Engine, options: dict[str, Any]) -> Engine:
    """Return the engine with execution options, on the same pool.

    When an engine that has options gets more, SQLAlchemy listens to it for the isolation level, which fails before 2.0.38
    ("No such event"). There all options go to the engine without options.
    """
    try:
        return engine.execution_options(**options)
    except InvalidRequestError:  # pragma: no cover - before SQLAlchemy 2.0.38, where tox runs the same tests
        return engine_without_options(engine).execution_options(**{**engine.get_execution_options(), **options})


def _refuses_writes(connection: Connection) -> bool:
    """Say whether the connection was read-only before, and has to stay so."""
    return bool(_pragma(connection, "PRAGMA query_only"))


def _allow_writes(connection: Connection) -> None:
    """Let the pooled SQLite connection write again, even after a failed transaction."""
    if not (connection.closed or connection.invalidated):
        _pragma(connection, "PRAGMA query_only = 0")


def _pragma(connection: Connection, statement: str) -> object:
    """Ask the driver directly, because SQLAlchemy would call the user's event listeners."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(statement)
        row = cursor.fetchone()
        return row and row[0]
    finally:
        cursor.close()
