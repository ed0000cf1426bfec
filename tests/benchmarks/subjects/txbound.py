"""transactional-boundary: the session is found among the arguments; a separate unit is handed one."""

from importlib import import_module
from typing import Any

from tests.benchmarks._case import Case
from tests.benchmarks._creation import creation_case
from tests.benchmarks._database import ainsert_one, amaker, aselect_one, insert_one, maker, select_one
from tests.benchmarks._service import body_cases

__all__ = ["SUBJECTS"]

_sync: Any = import_module("txbound")
_asyncio: Any = import_module("txbound.asyncio")
_sync.configure(session_factory=maker, async_session_factory=amaker)


_CALLS = 200


class _Joining:
    def __init__(self) -> None:
        self.session = maker()
        _sync.install_boundary_guard(self.session)

    @_sync.transactional
    def unit(self) -> None:
        insert_one(self.session)
        self.session.flush()  # it refuses to join before SQLite has begun
        for _ in range(_CALLS):
            self.empty(1)

    @_sync.transactional
    def empty(self, number: int) -> int:
        return number


class _Txbound:
    @_sync.independent_transaction
    def empty(self, session: Any, *, number: int) -> int:
        return number

    @_sync.independent_transaction
    def select(self, session: Any, *, number: int) -> object:
        return select_one(session)

    @_sync.independent_transaction
    def insert(self, session: Any, *, number: int) -> None:
        insert_one(session)

    @_asyncio.independent_transaction
    async def aempty(self, session: Any, *, number: int) -> int:
        return number

    @_asyncio.independent_transaction
    async def aselect(self, session: Any, *, number: int) -> object:
        return await aselect_one(session)

    @_asyncio.independent_transaction
    async def ainsert(self, session: Any, *, number: int) -> None:
        await ainsert_one(session)


_NAMES = {"service": _Txbound()}
SUBJECTS = {
    "transactional-boundary": {
        "manual: instance method": Case("service.unit()", {"service": _Joining()}, 3, items=_CALLS),
        **body_cases(_NAMES, "number=1"),
        **creation_case(_sync.transactional),
    }
}
