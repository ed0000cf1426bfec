"""oslo.db's enginefacade: the session hangs on a context object that every function is passed."""

from importlib import import_module
from typing import Any

from tests.benchmarks._case import Case
from tests.benchmarks._creation import creation_case
from tests.benchmarks._database import Account, Base, insert_one, select_one

__all__ = ["SUBJECTS"]

_facade: Any = import_module("oslo_db.sqlalchemy.enginefacade")
_manager: Any = _facade.transaction_context()
_manager.configure(connection="sqlite://")  # an engine of its own, as its users have it
Base.metadata.create_all(_manager.writer.get_engine())


@_facade.transaction_context_provider
class _Context:
    pass


class _Oslo:
    @_manager.writer
    def empty(self, context: Any, number: int) -> int:
        return number

    @_manager.writer
    def select(self, context: Any, number: int) -> object:
        return select_one(context.session)

    @_manager.writer
    def insert(self, context: Any, number: int) -> None:
        insert_one(context.session)


_context = _Context()
with _manager.writer.using(_context) as first:
    first.add(Account(id=1, owner="ann"))

_NAMES = {"service": _Oslo(), "context": _context}
SUBJECTS = {
    "oslo.db": {
        "manual: instance method": Case("service.empty(context, 1)", _NAMES, around=lambda: _manager.writer.using(_context)),
        "auto: instance method": Case("service.empty(context, 1)", _NAMES, 12),
        "auto: select": Case("service.select(context, 1)", _NAMES, 12),
        "auto: insert": Case("service.insert(context, 1)", _NAMES, 12),
        **creation_case(_manager.writer),
    }
}
