"""Listen to SQLAlchemy, under every version 2, and read what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import event
from sqlalchemy.exc import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session, SessionTransaction

__all__ = ["engine_beneath", "listen", "put_back", "savepoint_around", "unlisten"]


def listen(connection: Connection, name: str, listener: Callable[..., object]) -> Connection | Engine:
    """Call ``listener`` at each event of that name on the connection; asking twice is asking once. Return who is asked.

    Before 2.0.38 SQLAlchemy refuses connections of an engine with execution options ("No such event"). There the engine is
    listened to, for good: a listener must know its connection.
    """
    try:
        return _once(connection, name, listener)
    except InvalidRequestError:  # pragma: no cover - before SQLAlchemy 2.0.38, where tox runs the same tests
        return _once(engine_beneath(connection.engine), name, listener)


def unlisten(connection: Connection, name: str, listener: Callable[..., object]) -> None:
    """Take the listener back, if it stands on the connection itself."""
    try:
        if event.contains(connection, name, listener):
            event.remove(connection, name, listener)
    except InvalidRequestError:  # pragma: no cover - likewise
        pass


def _once(target: Connection | Engine, name: str, listener: Callable[..., object]) -> Connection | Engine:
    if not event.contains(target, name, listener):
        event.listen(target, name, listener)
    return target


def engine_beneath(engine: Engine) -> Engine:  # pragma: no cover - likewise
    """Return the engine that was given execution options."""
    beneath: Engine | None = getattr(engine, "_proxied", None)
    return engine if beneath is None else engine_beneath(beneath)


def put_back(session: Session, name: str, method: Callable[..., object]) -> None:
    """Undo that a method of one session was replaced; ``method`` is what was found there before."""
    if getattr(method, "__self__", None) is session and getattr(type(session), name, None) is getattr(method, "__func__", 0):
        session.__dict__.pop(name, None)  # it came from the class
    else:
        setattr(session, name, method)


def savepoint_around(ended: SessionTransaction) -> SessionTransaction | None:
    """Return the savepoint that the end of a transaction has undone; None if that is the whole transaction.

    A flush is a transaction of its own for the session. One that fails is what ``after_soft_rollback`` reports, although it
    has rolled back the savepoint around it, and nothing outside of that.
    """
    transaction: SessionTransaction | None = ended
    while transaction is not None and not transaction.nested:
        transaction = transaction.parent
    return transaction
