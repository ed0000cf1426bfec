"""``assert_units``: check what the owned calls of a block did."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from sqlalchemy import Engine, event
from sqlalchemy.sql.elements import ReleaseSavepointClause, RollbackToSavepointClause, SavepointClause

from session_aware import UnitRecord, configure
from session_aware._unit import configuration

if TYPE_CHECKING:
    from collections.abc import Generator

    from sqlalchemy import Connection
    from sqlalchemy.engine.interfaces import ExecutionContext

__all__ = ["Units", "assert_units"]

_SAVEPOINTS: Final = (SavepointClause, RollbackToSavepointClause, ReleaseSavepointClause)
_OWN: Final = frozenset({"BEGIN", "PRAGMA query_only = 1", "SET TRANSACTION READ ONLY"})


class Units:
    """The units of a block so far.

    Attributes:
        records: One ``UnitRecord`` for each owned call that has ended, in that order. Calls that join have none.
        statements: All SQL sent through SQLAlchemy, without the control of transactions (BEGIN, COMMIT, ROLLBACK,
            savepoints, READ ONLY). An ``executemany`` counts once.
    """

    def __init__(self) -> None:
        self.records: list[UnitRecord] = []
        self.statements: list[str] = []

    @property
    def committed(self) -> list[str]:
        """The names of the units that committed."""
        return [record.name for record in self.records if record.outcome == "committed"]

    @property
    def rolled_back(self) -> list[str]:
        """The names of the units that an error rolled back."""
        return [record.name for record in self.records if record.outcome == "rolled back"]

    @property
    def discarded(self) -> list[str]:
        """The names of the dry runs and read-only calls that ended as requested."""
        return [record.name for record in self.records if record.outcome == "discarded"]

    def __str__(self) -> str:
        units = [f"  {record.name}: {record.outcome}" for record in self.records] or ["  no unit"]
        return "\n".join([*units, *(f"  > {' '.join(statement.split())}" for statement in self.statements)])


@contextlib.contextmanager
def assert_units(
    *,
    committed: int | None = None,
    rolled_back: int | None = None,
    discarded: int | None = None,
    statements: int | None = None,
) -> Generator[Units]:
    """Count the owned calls of a block, in all threads and tasks, and compare at its end.

    It works with and without ``session_aware_db``. A configured observer is still called, and is restored at the end of the
    block. Blocks nest. Nothing is compared if the block raises.

    Args:
        committed: How many units commit; None for any number.
        rolled_back: How many units an error rolls back; None for any number.
        discarded: How many dry runs and read-only calls end as requested; None for any number.
        statements: How many statements are sent; None for any number.

    Raises:
        AssertionError: A number differs; the message lists the units and the statements.

    Example:
        with assert_units(committed=1, statements=2) as units:
            Accounts().open("ann")
        assert units.committed == ["Accounts.open"]
    """
    __tracebackhide__ = True
    units = Units()
    before = configuration.settings.observer

    def observe(record: UnitRecord) -> None:
        units.records.append(record)
        if before is not None:
            before(record)

    def count(_c: Connection, _cursor: object, sql: str, _p: object, context: ExecutionContext, _many: object) -> None:
        if sql not in _OWN and not isinstance(getattr(context, "invoked_statement", None), _SAVEPOINTS):
            units.statements.append(sql)

    configure(observer=observe)
    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield units
    finally:
        event.remove(Engine, "before_cursor_execute", count)
        configure(observer=before)
    expected = {"committed": committed, "rolled back": rolled_back, "discarded": discarded, "statements": statements}
    actual = {
        "committed": len(units.committed),
        "rolled back": len(units.rolled_back),
        "discarded": len(units.discarded),
        "statements": len(units.statements),
    }
    differences = [
        f"{actual[what]} {what}, not {number}" for what, number in expected.items() if number not in {None, actual[what]}
    ]
    if differences:
        msg = f"session_aware_assert_units: {'; '.join(differences)}\n{units}"
        raise AssertionError(msg)
