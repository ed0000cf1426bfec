"""Listen to SQLAlchemy's events in every version from 2.0.0 on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import event
from sqlalchemy.exc import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session, SessionTransaction

__all__ = ["engine_without_options", "listen", "put_back", "savepoint_around", "unlisten"]


def listen(connection: Connection, name: str, listener: Callable[..., object]) -> Connection | Engine:
    """Call ``listener`` at each event of that name on the connection; a second call does nothing. Return the target.

    Before 2.0.38 SQLAlchemy refuses connections of an engine with execution options ("No such event"). There the target is
    the engine, for good, so a listener must check which connection it gets.
    """
    try:
        return _once(connection, name, listener)
    except InvalidRequestError:  # pragma: no cover - before SQLAlchemy 2.0.38, where tox runs the same tests
        return _once(engine_without_options(connection.engine), name, listener)


def unlisten(connection: Connection, name: str, listener: Callable[..., object]) -> None:
    """Remove the listener if it is on the connection itself."""
    try:
        if event.contains(connection, name, listener):
            event.remove(connection, name, listener)
    except InvalidRequestError:  # pragma: no cover - likewise
        pass


def _once(target: Connection | Engine, name: str, listener: Callable[..., object]) -> Connection | Engine:
    if not event.contains(target, name, listener):
        event.listen(target, name, listener)
    return target


def engine_without_options(engine: Engine) -> Engine:  # pragma: no cover - likewise
    """Return the original of an engine that was made by ``execution_options``."""
    original: Engine | None = getattr(engine, "_proxied", None)
    return engine if original is None else engine_without_options(original)


def put_back(session: Session, name: str, method: Callable[..., object]) -> None:
    """Restore a method that was replaced on one session; ``method`` is the original."""
    if getattr(method, "__self__", None) is session and getattr(type(session), name, None) is getattr(method, "__func__", 0):
        session.__dict__.pop(name, None)  # it came from the class
    else:
        setattr(session, name, method)


def savepoint_around(ended: SessionTransaction) -> SessionTransaction | None:
    """Return the savepoint that the end of a transaction has rolled back; None if that is the whole transaction.

    For the session a flush is a transaction of its own. When one fails, ``after_soft_rollback`` reports that transaction,
    although what was rolled back is the savepoint around it and nothing outside of that.
    """
    transaction: SessionTransaction | None = ended
    while transaction is not None and not transaction.nested:
        transaction = transaction.parent
    return transaction
