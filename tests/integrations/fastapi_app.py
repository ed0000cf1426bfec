"""The bank as a FastAPI application: ``python -m uvicorn tests.integrations.fastapi_app:app``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from http import HTTPStatus
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import auto_session_ctx, configure
from tests.integrations.bank import Bank, UnknownAccountError
from tests.integrations.pool import checked_out

__all__ = ["app", "lifespan"]

bank = Bank()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    engine = create_engine(os.environ["DATABASE_URL"], pool_size=40)  # one for each of FastAPI's threads
    async_engine = create_async_engine(os.environ["ASYNC_DATABASE_URL"])
    app.state.engines = {"sync": engine, "async": async_engine.sync_engine}
    configure(session_factory=sessionmaker(engine), async_session_factory=async_sessionmaker(async_engine))
    yield
    configure(session_factory=None, async_session_factory=None)
    engine.dispose()
    await async_engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.exception_handler(UnknownAccountError)
async def answer_unknown(_: Request, error: UnknownAccountError) -> JSONResponse:
    return JSONResponse({"unknown": str(error)}, HTTPStatus.NOT_FOUND)


# Auto calls: each is a transaction of its own, committed when it returns.


@app.post("/transfers")
def transfer(source: str, target: str, amount: int) -> int:
    return bank.move(source, target, amount)


@app.post("/async/transfers")
async def atransfer(source: str, target: str, amount: int) -> int:
    return await bank.amove(source, target, amount)


@app.post("/async/transfers/hurried")
async def hurried(source: str, target: str, amount: int) -> int:
    try:
        async with asyncio.timeout(0.2):
            return await bank.amove(source, target, amount)
    except TimeoutError:
        raise HTTPException(HTTPStatus.GATEWAY_TIMEOUT) from None


# One transaction for the request. scope="function" commits it before the response is sent, not after. In a plain def also
# response_model=None: FastAPI takes a thread to validate an answer, and all of them may wait for the open transaction.


def transaction() -> Iterator[Session]:
    with auto_session_ctx() as session:
        yield session


async def async_transaction() -> AsyncIterator[AsyncSession]:
    async with auto_session_ctx() as session:
        yield session


RequestSession = Annotated[Session, Depends(transaction, scope="function")]
RequestAsyncSession = Annotated[AsyncSession, Depends(async_transaction, scope="function")]


@app.post("/welcomes/{owner}", response_model=None)
def welcome(owner: str, gift: int, session: RequestSession, source: str = "house") -> int:
    bank.open(owner, session=session)
    return bank.move(source, owner, gift, session=session)


@app.post("/async/welcomes/{owner}")
async def awelcome(owner: str, gift: int, session: RequestAsyncSession, source: str = "house") -> int:
    await bank.aopen(owner, session=session)
    return await bank.amove(source, owner, gift, session=session)


@app.post("/records", response_model=None)
def record(source: str, target: str, session: RequestSession) -> int:
    return bank.record(source, target, 0, session=session)


@app.post("/async/records")
async def arecord(source: str, target: str, session: RequestAsyncSession) -> int:
    return await bank.arecord(source, target, 0, session=session)


# A stream holds its session until it is closed. Starlette does not close what it streams when the client goes away, a
# dependency of the request does.


def reading() -> Iterator[Iterator[str]]:
    with closing(bank.transfers()) as lines:
        yield lines


async def async_reading() -> AsyncIterator[AsyncIterator[str]]:
    async with aclosing(bank.atransfers()) as lines:
        yield lines


@app.get("/transfers")
def transfers(lines: Annotated[Iterator[str], Depends(reading)]) -> StreamingResponse:
    return StreamingResponse(lines, media_type="text/plain")


@app.get("/async/transfers")
async def atransfers(lines: Annotated[AsyncIterator[str], Depends(async_reading)]) -> StreamingResponse:
    return StreamingResponse(lines, media_type="text/plain")


# A background task is a transaction of its own, after that of the request.


@app.post("/accounts/{owner}")
def open_account(owner: str, gift: int, session: RequestSession, tasks: BackgroundTasks) -> None:
    bank.open(owner, session=session)
    tasks.add_task(bank.move, "house", owner, gift)


@app.post("/async/accounts/{owner}")
async def aopen_account(owner: str, gift: int, session: RequestAsyncSession, tasks: BackgroundTasks) -> None:
    await bank.aopen(owner, session=session)
    tasks.add_task(bank.amove, "house", owner, gift)


@app.get("/pool")
async def pool(request: Request) -> dict[str, int]:
    return {name: checked_out(engine) for name, engine in request.app.state.engines.items()}
