"""The database of every subject: SQLite in memory, through one engine with an ordinary pool, with one row.

The makers keep objects readable after the commit, as this library does; ``expiring`` and ``aexpiring`` are as SQLAlchemy
has them by default.
"""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy import AsyncAdaptedQueuePool, Engine, QueuePool, create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

__all__ = [
    "Account",
    "Base",
    "adisposed",
    "aexpiring",
    "ainsert_one",
    "amaker",
    "aselect_one",
    "begun",
    "engine",
    "expiring",
    "insert_one",
    "maker",
    "new_engine",
    "select_one",
]


class Base(DeclarativeBase):
    """Of the one table."""


class Account(Base):
    """A row."""

    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]


# A shared cache and a queue, since some subjects refuse the one connection that SQLAlchemy keeps for sqlite:// by itself.
_NAME = "file:benchmarks?mode=memory&cache=shared"
_keeper = sqlite3.connect(_NAME, uri=True)  # the database lives as long as it has a connection


def new_engine() -> Engine:
    """Return an engine of this database."""
    return create_engine(f"sqlite:///{_NAME}&uri=true", poolclass=QueuePool, connect_args={"check_same_thread": False})


engine = new_engine()
maker = sessionmaker(engine, expire_on_commit=False)
expiring = sessionmaker(engine)
_aengine = create_async_engine(f"sqlite+aiosqlite:///{_NAME}&uri=true", poolclass=AsyncAdaptedQueuePool)
amaker = async_sessionmaker(_aengine, expire_on_commit=False)
aexpiring = async_sessionmaker(_aengine)

Base.metadata.create_all(engine)
with maker.begin() as first:
    first.add(Account(id=1, owner="ann"))
engine.dispose()  # a process that is forked opens connections of its own


def select_one(session: Session) -> Account:
    """Read the row."""
    return session.scalars(select(Account).where(Account.id == 1)).one()


def insert_one(session: Session) -> None:
    """Add a row; the commit sends it."""
    session.add(Account(owner="bob"))


async def aselect_one(session: AsyncSession) -> Account:
    """Read the row."""
    return (await session.scalars(select(Account).where(Account.id == 1))).one()


async def ainsert_one(session: AsyncSession) -> None:
    """Add a row; the commit sends it."""
    session.add(Account(owner="bob"))


@contextmanager
def begun(session: Session) -> Iterator[None]:
    """Keep a session in a transaction that has its connection."""
    with session, session.begin():
        session.connection()
        yield


@asynccontextmanager
async def adisposed() -> AsyncIterator[None]:
    """Stop the driver's threads at the end."""
    yield
    await _aengine.dispose()
