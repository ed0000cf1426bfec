"""The bank as a Litestar application: ``python -m uvicorn tests.integrations.litestar_app:app``."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from litestar import Litestar, Request, Response, get, post
from litestar.background_tasks import BackgroundTask
from litestar.di import Provide
from litestar.response import Stream
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from session_aware import auto_session_ctx, configure
from tests.integrations.bank import Bank, UnknownAccountError
from tests.integrations.pool import checked_out

__all__ = ["app"]

bank = Bank()


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    engine = create_engine(os.environ["DATABASE_URL"])
    async_engine = create_async_engine(os.environ["ASYNC_DATABASE_URL"])
    app.state.engines = {"sync": engine, "async": async_engine.sync_engine}
    configure(session_factory=sessionmaker(engine), async_session_factory=async_sessionmaker(async_engine))
    yield
    configure(session_factory=None, async_session_factory=None)
    engine.dispose()
    await async_engine.dispose()


def answer_unknown(_: Request[Any, Any, Any], error: UnknownAccountError) -> Response[dict[str, str]]:
    return Response({"unknown": str(error)}, status_code=HTTPStatus.NOT_FOUND)


async def transaction() -> AsyncGenerator[AsyncSession]:
    """One transaction for the request; Litestar ends it before it sends the response."""
    async with auto_session_ctx() as session:
        yield session


@post("/transfers", sync_to_thread=True)
def transfer(source: str, target: str, amount: int) -> int:
    return bank.move(source, target, amount)


@post("/async/transfers")
async def atransfer(source: str, target: str, amount: int) -> int:
    return await bank.amove(source, target, amount)


@post("/welcomes/{owner:str}", dependencies={"session": Provide(transaction)})
async def welcome(owner: str, gift: int, session: AsyncSession) -> int:
    await bank.aopen(owner, session=session)
    return await bank.amove("house", owner, gift, session=session)


@post("/records", dependencies={"session": Provide(transaction)})
async def record(source: str, target: str, session: AsyncSession) -> int:
    return await bank.arecord(source, target, 0, session=session)


async def _close(lines: AsyncGenerator[str]) -> None:
    await lines.aclose()  # itself Litestar would call without awaiting it


@get("/transfers")
async def transfers() -> Stream:
    lines = bank.atransfers()  # Litestar does not close it when the client goes away, but runs the background task
    return Stream(lines, media_type="text/plain", background=BackgroundTask(_close, lines))


@get("/pool")
async def pool(request: Request[Any, Any, Any]) -> dict[str, int]:
    return {name: checked_out(engine) for name, engine in request.app.state.engines.items()}


app = Litestar(
    [transfer, atransfer, welcome, record, transfers, pool],
    lifespan=[lifespan],
    exception_handlers={UnknownAccountError: answer_unknown},
)
