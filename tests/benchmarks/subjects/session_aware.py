"""This library."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from session_aware import (
    NEW_SESSION,
    Propagation,
    Retry,
    SessionAwareService,
    UnitRecord,
    after_commit,
    auto_session_ctx,
    configure,
)
from session_aware._call import lane
from tests.benchmarks._case import CALLS, Case
from tests.benchmarks._creation import creation_case
from tests.benchmarks._database import amaker, begun, engine, maker
from tests.benchmarks._service import Decorators, auto_cases, manual_cases, service

__all__ = ["SUBJECTS"]


class _SlowMaker(sessionmaker[Session]):
    def __call__(self, **local_kw: Any) -> Session:
        sum(range(10_000))
        return super().__call__(**local_kw)


# What --check has to notice: one dictionary more in every lane, or a loop in every session factory.
_SEED = os.environ.get("SEED_SLOW_DOWN")
if _SEED == "manual":
    text = lane._TEXT.replace("return {method}", "return {{'session': session}}.copy() and {method}")
    assert text != lane._TEXT
    lane._TEXT = text  # type: ignore[misc] # Final
_maker = _SlowMaker(engine, expire_on_commit=False) if _SEED == "auto" else maker

configure(observer=None)  # as programs configure at their start: a block that is given a session looks at it

_EACH = Decorators()
_Service = service(_EACH, SessionAwareService, session_factory=_maker, async_session_factory=amaker)


class _Base(SessionAwareService, session_factory=_maker):
    def empty(self, number: int, *, session: Session = NEW_SESSION) -> int:
        return number

    def registers(self, number: int, *, session: Session = NEW_SESSION) -> int:
        after_commit(session, int)
        return number


class _Resolving(_Base, resolve_commit=True):
    pass


def _with(policy: dict[str, Any]) -> object:
    class Service(SessionAwareService, session_factory=_maker, **policy):
        def empty(self, number: int, *, session: Session = NEW_SESSION) -> int:
            return number

    return Service()


_session = maker()


@contextmanager
def _observed() -> Iterator[None]:
    def observe(record: UnitRecord) -> None:
        pass

    configure(observer=observe)
    yield
    configure(observer=None)


_PLAIN: dict[str, Any] = {"service": _Base(), "other": _Resolving()}
_BLOCK: dict[str, Any] = {"auto_session_ctx": auto_session_ctx, "maker": _maker, "session": _session}
_NESTED = {"service": _with({"propagation": Propagation.NESTED}), "session": _session}
_OPTIONS = {
    "options: empty unit": Case("service.empty(1)", _PLAIN, CALLS),
    "options: block, owned": Case("with auto_session_ctx(session_factory=maker): pass", _BLOCK, CALLS),
    "options: block, given": Case("with auto_session_ctx(session): pass", _BLOCK, 200),
    "options: after_commit": Case("service.registers(1)", _PLAIN, CALLS),
    "options: retry": Case("service.empty(1)", {"service": _with({"retry": Retry()})}, CALLS),
    "options: read-only": Case("service.empty(1)", {"service": _with({"read_only": True})}, CALLS),
    "options: isolation level": Case("service.empty(1)", {"service": _with({"isolation_level": "SERIALIZABLE"})}, CALLS),
    "options: savepoint": Case("service.empty(1, session=session)", _NESTED, CALLS, around=partial(begun, _session)),
    "options: two classes": Case("service.empty(1); other.empty(1)", _PLAIN, CALLS, items=2),
    "options: observer": Case("service.empty(1)", _PLAIN, CALLS, around=_observed),
}

SUBJECTS = {
    "session-aware": {
        **manual_cases(_Service, _EACH),
        **auto_cases(_Service, _EACH),
        **creation_case(None, SessionAwareService, session_factory=maker),
        **_OPTIONS,
    }
}
