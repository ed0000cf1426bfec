"""Libraries that keep the current session in a ContextVar: "manual" is a call that joins the unit around it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from tests.benchmarks._case import Case
from tests.benchmarks._creation import creation_case
from tests.benchmarks._database import (
    adisposed,
    ainsert_one,
    amaker,
    aselect_one,
    insert_one,
    maker,
    select_one,
)

__all__ = ["SUBJECTS"]

_fastapi: Any = import_module("fastapi_transactional")
_spring: Any = import_module("sqlalchemy_transactional.asyncio")
_fastapi.configure(session_factory=maker, async_session_factory=amaker)
_current: Any = _fastapi.get_current_session
_acurrent: Any = _fastapi.get_current_async_session


class _Fastapi:
    @_fastapi.with_transaction
    def empty(self, number: int) -> int:
        return number

    @_fastapi.with_transaction
    def select(self, number: int) -> object:
        return select_one(_current())

    @_fastapi.with_transaction
    def insert(self, number: int) -> None:
        insert_one(_current())

    @_fastapi.with_async_transaction
    async def aempty(self, number: int) -> int:
        return number

    @_fastapi.with_async_transaction
    async def aselect(self, number: int) -> object:
        return await aselect_one(_acurrent())

    @_fastapi.with_async_transaction
    async def ainsert(self, number: int) -> None:
        await ainsert_one(_acurrent())


class _Spring:
    @_spring.transactional
    async def aempty(self, number: int) -> int:
        return number

    @_spring.transactional
    async def aselect(self, number: int) -> object:
        return await aselect_one(_spring.current_session())

    @_spring.transactional
    async def ainsert(self, number: int) -> None:
        await ainsert_one(_spring.current_session())


@asynccontextmanager
async def _within_makers() -> AsyncIterator[None]:
    async with adisposed(), _spring.sessionmaker_context(amaker):
        yield


@asynccontextmanager
async def _within_unit() -> AsyncIterator[None]:
    async with _within_makers(), _spring_session():
        yield


@asynccontextmanager
async def _spring_session() -> AsyncIterator[None]:
    runtime: Any = import_module("sqlalchemy_transactional.internal.runtime")
    async with amaker.begin() as session, runtime.session_context(session):
        yield


def _async_cases(service: object, **more: Any) -> dict[str, Case]:
    names = {"service": service}
    return {
        "auto: async def": Case("await service.aempty(1)", names, 12, is_async=True, **more),
        "auto: async def, select": Case("await service.aselect(1)", names, 12, is_async=True, **more),
        "auto: async def, insert": Case("await service.ainsert(1)", names, 12, is_async=True, **more),
    }


_NAMES = {"service": _Fastapi()}
SUBJECTS = {
    "fastapi-transactional": {
        "manual: instance method": Case("service.empty(1)", _NAMES, around=_fastapi.session_manager),
        "manual: async def": Case("await service.aempty(1)", _NAMES, is_async=True, around=_fastapi.async_session_manager),
        "auto: instance method": Case("service.empty(1)", _NAMES, 12),
        "auto: select": Case("service.select(1)", _NAMES, 12),
        "auto: insert": Case("service.insert(1)", _NAMES, 12),
        **_async_cases(_Fastapi(), around=adisposed),
        **creation_case(_fastapi.with_transaction),
    },
    "sqlalchemy-transactional": {
        "manual: async def": Case("await service.aempty(1)", {"service": _Spring()}, is_async=True, around=_within_unit),
        **_async_cases(_Spring(), around=_within_makers),
        **creation_case(_spring.transactional),
    },
}
