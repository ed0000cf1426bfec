"""Code that does not use the library, in a process that has used it or not: OTHERS says which."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from tests.benchmarks._case import CALLS, Case
from tests.benchmarks._database import Account, begun, engine, maker, new_engine, select_one

__all__ = ["SUBJECTS"]

_OTHERS = os.environ.get("OTHERS", "never imported")


def _use_the_library(maker: sessionmaker[Session]) -> None:
    from session_aware import NEW_SESSION, SessionAwareService  # noqa: PLC0415 - one of the processes never imports it

    class Service(SessionAwareService, session_factory=maker):
        def select(self, *, session: Session = NEW_SESSION) -> object:
            return select_one(session)

    Service().select()


def _savepoints(session: Session) -> None:
    for _ in range(10):
        with session.begin_nested():
            pass


def _commit(session: Session) -> None:
    session.connection()
    session.commit()


if _OTHERS == "used on the same engine":
    _use_the_library(maker)
elif _OTHERS == "used on another engine":
    _use_the_library(sessionmaker(new_engine(), expire_on_commit=False))

_connection = engine.connect()
_session = maker()

_begun = partial(begun, _session)


def _case(work: Callable[[Session], object], around: Callable[[], AbstractContextManager[object]] | None = None) -> Case:
    names = {"work": work, "session": _session}
    return Case("work(session)", names, CALLS, around=around) if around else Case("work(session)", names, 12)


_CORE = {"connection": _connection, "statement": select(Account.__table__).where(Account.id == 1)}
SUBJECTS = {
    _OTHERS: {
        "others: commit": _case(_commit),
        "others: ORM select": _case(select_one, _begun),
        "others: Core statement": Case("connection.execute(statement).all()", _CORE, CALLS),
        "others: ten savepoints": _case(_savepoints, _begun),
    }
}
