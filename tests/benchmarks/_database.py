"""The database of every subject: SQLite in memory, through an ordinary pool, with one row."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import AsyncAdaptedQueuePool, QueuePool, create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

__all__ = [
    "Account",
    "Base",
    "adisposed",
    "ainsert_one",
    "amaker",
    "aselect_one",
    "engine",
    "insert_one",
    "maker",
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
_NAME = "file:benchmarks?mode=memory&cache=shared&uri=true"
engine = create_engine(f"sqlite:///{_NAME}", poolclass=QueuePool, connect_args={"check_same_thread": False})
maker = sessionmaker(engine)
aengine = create_async_engine(f"sqlite+aiosqlite:///{_NAME}", poolclass=AsyncAdaptedQueuePool)
amaker = async_sessionmaker(aengine)

Base.metadata.create_all(engine)
with maker.begin() as first:
    first.add(Account(id=1, owner="ann"))


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


@asynccontextmanager
async def adisposed() -> AsyncIterator[None]:
    """Stop the driver's threads at the end."""
    yield
    await aengine.dispose()
