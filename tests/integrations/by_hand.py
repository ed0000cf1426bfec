"""What ``load`` asks of ``fastapi_app``, without the library: ``python -m uvicorn tests.integrations.by_hand:app``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy import create_engine, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from tests.integrations.bank import Account, Transfer, UnknownAccountError

__all__ = ["app"]

Sessions = sessionmaker(expire_on_commit=False)
AsyncSessions = async_sessionmaker(expire_on_commit=False)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    engine = create_engine(os.environ["DATABASE_URL"], pool_size=40)
    async_engine = create_async_engine(os.environ["ASYNC_DATABASE_URL"])
    Sessions.configure(bind=engine)
    AsyncSessions.configure(bind=async_engine)
    yield
    engine.dispose()
    await async_engine.dispose()


app = FastAPI(lifespan=lifespan)


def open_account(session: Session, owner: str) -> None:
    session.add(Account(owner=owner, balance=0))
    session.flush()


def change(session: Session, owner: str, amount: int) -> None:
    account = update(Account).where(Account.owner == owner)
    changed = session.scalars(account.values(balance=Account.balance + amount).returning(Account.owner))
    if changed.one_or_none() is None:
        raise UnknownAccountError(owner)


def move(session: Session, source: str, target: str, amount: int) -> int:
    for owner, difference in sorted({source: -amount, target: amount}.items()):
        change(session, owner, difference)
    transfer = Transfer(source=source, target=target, amount=amount, note="")
    session.add(transfer)
    session.flush()
    return transfer.id


@app.post("/transfers")
def transfer(source: str, target: str, amount: int) -> int:
    with Sessions.begin() as session:
        return move(session, source, target, amount)


@app.post("/async/transfers")
async def atransfer(source: str, target: str, amount: int) -> int:
    async with AsyncSessions.begin() as session:
        return await session.run_sync(move, source, target, amount)


def transaction() -> Iterator[Session]:
    with Sessions.begin() as session:
        yield session


async def async_transaction() -> AsyncIterator[AsyncSession]:
    async with AsyncSessions.begin() as session:
        yield session


RequestSession = Annotated[Session, Depends(transaction, scope="function")]
RequestAsyncSession = Annotated[AsyncSession, Depends(async_transaction, scope="function")]


@app.post("/welcomes/{owner}", response_model=None)
def welcome(owner: str, gift: int, source: str, session: RequestSession) -> int:
    open_account(session, owner)
    return move(session, source, owner, gift)


@app.post("/async/welcomes/{owner}")
async def awelcome(owner: str, gift: int, source: str, session: RequestAsyncSession) -> int:
    await session.run_sync(open_account, owner)
    return await session.run_sync(move, source, owner, gift)
