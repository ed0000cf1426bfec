"""fastapi-transactional: the current session is in a ContextVar; "manual" is a call that joins the unit around it."""

from importlib import import_module
from typing import Any

from tests.benchmarks._case import Case
from tests.benchmarks._creation import creation_case
from tests.benchmarks._database import ainsert_one, amaker, aselect_one, insert_one, maker, select_one
from tests.benchmarks._service import body_cases

__all__ = ["SUBJECTS"]

_library: Any = import_module("fastapi_transactional")
_library.configure(session_factory=maker, async_session_factory=amaker)
_current: Any = _library.get_current_session
_acurrent: Any = _library.get_current_async_session


class _Service:
    @_library.with_transaction
    def empty(self, number: int) -> int:
        return number

    @_library.with_transaction
    def select(self, number: int) -> object:
        return select_one(_current())

    @_library.with_transaction
    def insert(self, number: int) -> None:
        insert_one(_current())

    @_library.with_async_transaction
    async def aempty(self, number: int) -> int:
        return number

    @_library.with_async_transaction
    async def aselect(self, number: int) -> object:
        return await aselect_one(_acurrent())

    @_library.with_async_transaction
    async def ainsert(self, number: int) -> None:
        await ainsert_one(_acurrent())


_NAMES = {"service": _Service()}
SUBJECTS = {
    "fastapi-transactional": {
        "manual: instance method": Case("service.empty(1)", _NAMES, around=_library.session_manager),
        "manual: async def": Case("await service.aempty(1)", _NAMES, is_async=True, around=_library.async_session_manager),
        **body_cases(_NAMES),
        **creation_case(_library.with_transaction),
    }
}
