"""sqlalchemy-transactional: the same in a ContextVar, as Spring does it, for coroutine functions alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from tests.benchmarks._case import Case
from tests.benchmarks._creation import creation_case
from tests.benchmarks._database import adisposed, ainsert_one, amaker, aselect_one
from tests.benchmarks._service import body_cases

__all__ = ["SUBJECTS"]

_library: Any = import_module("sqlalchemy_transactional.asyncio")
_runtime: Any = import_module("sqlalchemy_transactional.internal.runtime")


class _Service:
    @_library.transactional
    async def aempty(self, number: int) -> int:
        return number

    @_library.transactional
    async def aselect(self, number: int) -> object:
        return await aselect_one(_library.current_session())

    @_library.transactional
    async def ainsert(self, number: int) -> None:
        await ainsert_one(_library.current_session())


@asynccontextmanager
async def _within_makers() -> AsyncIterator[None]:
    async with adisposed(), _library.sessionmaker_context(amaker):
        yield


@asynccontextmanager
async def _within_unit() -> AsyncIterator[None]:
    async with _within_makers(), amaker.begin() as session, _runtime.session_context(session):
        yield


_NAMES = {"service": _Service()}
SUBJECTS = {
    "sqlalchemy-transactional": {
        "manual: async def": Case("await service.aempty(1)", _NAMES, is_async=True, around=_within_unit),
        **body_cases(_NAMES, around=_within_makers),
        **creation_case(_library.transactional),
    }
}
