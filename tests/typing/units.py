"""Retry, callbacks, observation and description of units."""

from __future__ import annotations

from typing import Literal, assert_type

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from session_aware import (
    NEW_SESSION,
    CommitOutcomeUnknown,
    Description,
    Retry,
    SessionAwareError,
    SessionAwareService,
    SessionPolicy,
    UnitRecord,
    after_commit,
    auto_session_ctx,
    auto_session_func,
    configure,
    describe,
    is_transient,
)


def use(*_values: object) -> None: ...


def is_mine(error: BaseException) -> bool:
    return isinstance(error, OSError)


class Retrying(SessionAwareService, retry=Retry(), resolve_commit=True):
    @auto_session_func(retry=Retry(attempts=5), resolve_commit=False)
    def method(self, key: int, *, session: Session = NEW_SESSION) -> int:
        return key

    @auto_session_func(retry=Retry(attempts=5))
    async def amethod(self, key: int, *, session: AsyncSession = NEW_SESSION) -> int:
        return key


def retrying(service: Retrying, session: Session) -> None:
    retry = Retry(attempts=3, timeout=30, wait_initial=0.05, wait_max=2.0, on=is_mine)
    assert_type(retry.attempts, int)
    assert_type(retry.timeout, float)
    assert_type(retry.on(OSError()), bool)
    assert_type(SessionPolicy(retry=retry).retry, Retry | None)
    assert_type(SessionPolicy(resolve_commit=True).resolve_commit, bool | None)
    assert_type(service.method(1), int)
    assert_type(service.method(1, session=session), int)
    configure(retry=retry, resolve_commit=True)
    configure(retry=None, resolve_commit=None)
    with auto_session_ctx(session, resolve_commit=True) as s:
        assert_type(s, Session)
    service.method("1")  # E
    Retry(3)  # E
    Retry(attempts="3")  # E
    Retry(attempts=1.5)  # E
    Retry(timeout="1")  # E
    Retry(on=True)  # E
    Retry(on=lambda: True)  # E
    Retry(unknown=1)  # E
    retry.attempts = 4  # E
    configure(retry=3)  # E
    configure(resolve_commit="yes")  # E
    auto_session_func(retry=True)  # E
    auto_session_func(resolve_commit="yes")  # E
    auto_session_ctx(session, retry=3)  # E: not ty - it reads no Unpack
    SessionPolicy(retry=3)  # E


async def async_retrying(service: Retrying, session: AsyncSession) -> None:
    assert_type(await service.amethod(1, session=session), int)
    await service.amethod("1")  # E


def wrong_keywords() -> None:
    class _Retry(SessionAwareService, retry=3): ...  # E

    class _Resolve(SessionAwareService, resolve_commit="yes"): ...  # E

    use(_Retry, _Resolve)


def notify() -> str:
    return ""


async def anotify() -> str:
    return ""


def callbacks(session: Session, asynchronous: AsyncSession) -> None:
    after_commit(session, notify)
    after_commit(session, lambda: use(1))
    after_commit(asynchronous, notify)
    after_commit(asynchronous, anotify)
    after_commit(session)  # E
    after_commit(notify)  # E
    after_commit(notify, session)  # E
    after_commit(session, notify())  # E
    after_commit(session, print, 1)  # E
    after_commit(session, is_mine)  # E
    after_commit(None, notify)  # E


def observe(record: UnitRecord) -> None:
    assert_type(record.name, str)
    assert_type(record.outcome, Literal["committed", "discarded", "rolled back", "unknown"])
    assert_type(record.attempts, int)
    assert_type(record.seconds, float)
    assert_type(record.error, BaseException | None)
    record.name = ""  # E
    use(record.unknown)  # E


def wrong_observer(record: str) -> None:
    use(record)


def observing() -> None:
    configure(observer=observe)
    configure(observer=None)
    records: list[UnitRecord] = []
    configure(observer=records.append)
    configure(observer=wrong_observer)  # E
    configure(observer=records)  # E
    configure(observer=lambda: None)  # E


def describing(service: Retrying) -> None:
    assert_type(describe(Retrying), Description)
    assert_type(describe(Retrying).findings, tuple[str, ...])
    describe(service)  # E
    describe(1)  # E
    describe()  # E


def errors() -> None:
    assert_type(is_transient(OSError()), bool)
    is_transient("error")  # E
    try:
        use()
    except CommitOutcomeUnknown as error:
        known: SessionAwareError = error
        wrong: OSError = error  # E
        use(known, wrong)
