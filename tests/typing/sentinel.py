"""``NEW_SESSION`` and the other ways to declare ``session``."""

from __future__ import annotations

from typing import assert_type

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from session_aware import NEW_SESSION, SessionAwareService


def use(*_values: object) -> None: ...


class Declared(SessionAwareService):
    def optional(self, *, session: Session | None = None) -> int:
        if session is None:
            return 0
        return len(assert_type(session, Session).info)

    def either(self, *, session: Session | None = NEW_SESSION) -> int:
        return 0 if session is None else 1

    def unnarrowed(self, *, session: Session | None = None) -> None:
        session.flush()  # E

    def required(self, *, session: Session) -> int:
        assert_type(session, Session)
        return 1

    async def arequired(self, *, session: AsyncSession) -> int:
        return 1


def calls(declared: Declared, session: Session, asynchronous: AsyncSession) -> None:
    assert_type(declared.optional(), int)
    assert_type(declared.optional(session=None), int)
    assert_type(declared.optional(session=session), int)
    assert_type(declared.either(), int)
    assert_type(declared.either(session=NEW_SESSION), int)
    assert_type(declared.required(session=session), int)
    assert_type(declared.required(session=NEW_SESSION), int)
    declared.optional(session=asynchronous)  # E
    declared.required()  # E
    declared.required(session)  # E
    declared.required(session=None)  # E
    declared.required(session=asynchronous)  # E


async def async_calls(declared: Declared, session: AsyncSession) -> None:
    assert_type(await declared.arequired(session=session), int)
    await declared.arequired()  # E


def other_defaults() -> None:
    def none(*, session: Session = None) -> None: ...  # E
    def text(*, session: Session = "new") -> None: ...  # E
    def plain(*, session: Session = object()) -> None: ...  # E  # noqa: B008 - the wrong way
    def kind(*, session: AsyncSession = Session()) -> None: ...  # E  # noqa: B008 - the wrong way
    def sentinel(*, session: Session = NEW_SESSION) -> None: ...
    def asynchronous(*, session: AsyncSession = NEW_SESSION) -> None: ...
    def union(*, session: Session | AsyncSession = NEW_SESSION) -> None: ...

    use(none, text, plain, kind, sentinel, asynchronous, union)


def spreads_nothing(declared: Declared) -> None:
    result = declared.either(session=NEW_SESSION)
    assert_type(result, int)
    result.unknown()  # E
