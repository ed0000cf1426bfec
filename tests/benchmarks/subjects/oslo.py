"""oslo.db's enginefacade: the session hangs on a context object that every function is passed.

``OSLO_ENGINE=own`` keeps the engine that oslo.db makes: a ping of each connection that leaves the pool, and listeners for
connections and errors. Otherwise it gets the engine of all the others, by ``patch_engine``.
"""

import os
from importlib import import_module
from typing import Any

from tests.benchmarks._case import Case
from tests.benchmarks._creation import creation_case
from tests.benchmarks._database import Account, Base, engine, insert_one, select_one
from tests.benchmarks._service import body_cases

__all__ = ["SUBJECTS"]

_facade: Any = import_module("oslo_db.sqlalchemy.enginefacade")
_manager: Any = _facade.transaction_context()
_manager.configure(connection="sqlite://")
_IS_OWN = os.environ.get("OSLO_ENGINE") == "own"
if not _IS_OWN:
    _manager.patch_engine(engine)


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
if _IS_OWN:
    Base.metadata.create_all(_manager.writer.get_engine())
    with _manager.writer.using(_context) as first:
        first.add(Account(id=1, owner="ann"))

_NAMES = {"service": _Oslo(), "context": _context}
SUBJECTS = {
    "oslo.db, its own engine" if _IS_OWN else "oslo.db": {
        "manual: instance method": Case("service.empty(context, 1)", _NAMES, around=lambda: _manager.writer.using(_context)),
        **body_cases(_NAMES, "context, 1"),
        **creation_case(_manager.writer),
    }
}
