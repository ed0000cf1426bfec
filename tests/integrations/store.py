"""The database of an application under test, seen from a second connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, create_engine, delete, func, insert, select, text

from tests.integrations.bank import Account, Base, Transfer
from tests.servers.postgresql import PostgreSQL

__all__ = ["Store", "postgresql_store", "sqlite_store"]


@dataclass(frozen=True)
class Store:
    """A database that the tests look at on a connection of their own, in autocommit."""

    name: str
    url: str
    async_url: str
    witness: Engine

    @property
    def variables(self) -> dict[str, str]:
        return {"DATABASE_URL": self.url, "ASYNC_DATABASE_URL": self.async_url}

    def reset(self, **balances: int) -> None:
        """Leave only these accounts."""
        with self.witness.connect() as connection:
            connection.execute(delete(Transfer))
            connection.execute(delete(Account))
            rows = [{"owner": owner, "balance": balance} for owner, balance in balances.items()]
            connection.execute(insert(Account), rows)

    def balances(self) -> dict[str, int]:
        with self.witness.connect() as connection:
            return {row.owner: row.balance for row in connection.execute(select(Account.owner, Account.balance))}

    def transfers(self) -> int:
        with self.witness.connect() as connection:
            return connection.scalars(select(func.count()).select_from(Transfer)).one()

    def fill(self, count: int, *, length: int) -> None:
        """Record transfers with long notes."""
        row = {"source": "house", "target": "ann", "amount": 0, "note": "x" * length}
        with self.witness.connect() as connection:
            connection.execute(text("BEGIN"))  # or SQLite would sync each row to the disk
            connection.execute(insert(Transfer), [row] * count)
            connection.execute(text("COMMIT"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let everybody else's writes wait until the block ends."""
        with self.witness.connect() as connection:
            is_sqlite = self.name == "sqlite"
            connection.execute(text("BEGIN IMMEDIATE" if is_sqlite else "BEGIN"))
            try:
                if not is_sqlite:
                    connection.execute(text("LOCK TABLE bank_account IN SHARE MODE"))
                yield
            finally:
                connection.execute(text("ROLLBACK"))


@contextmanager
def _seen(name: str, url: str, async_url: str) -> Iterator[Store]:
    witness = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        Base.metadata.create_all(witness)
        yield Store(name, url, async_url, witness)
    finally:
        Base.metadata.drop_all(witness)
        witness.dispose()


@contextmanager
def sqlite_store(folder: Path) -> Iterator[Store]:
    file = folder / "bank.sqlite"
    with _seen("sqlite", f"sqlite:///{file}", f"sqlite+aiosqlite:///{file}") as store:
        yield store


@contextmanager
def postgresql_store(server: PostgreSQL) -> Iterator[Store]:
    with _seen("postgresql", server.url("psycopg"), server.url("asyncpg")) as store:
        yield store
