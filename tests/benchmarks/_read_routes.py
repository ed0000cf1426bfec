"""A web application that reads one row, in each of the ways of ``tests.round_trips``.

``python -m uvicorn tests.benchmarks._read_routes:app``
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from tests.round_trips import ENGINES, WAYS, async_unit, sync_unit

__all__ = ["app"]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Make a unit for each way, and dispose of their engines at the end."""
    engine, autocommit = engines = [create_engine(os.environ["DATABASE_URL"], **each) for each in ENGINES]
    aengine, aautocommit = aengines = [create_async_engine(os.environ["ASYNC_DATABASE_URL"], **each) for each in ENGINES]
    app.state.units = [sync_unit(way, engine, autocommit) for way in WAYS.values()]
    app.state.aunits = [async_unit(way, aengine, aautocommit) for way in WAYS.values()]
    yield
    for each in engines:
        each.dispose()
    for aeach in aengines:
        await aeach.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/def/{way}")
def read(way: int, request: Request) -> int:
    """Read in the way of that number."""
    number: int = request.app.state.units[way]()
    return number


@app.get("/async/{way}")
async def aread(way: int, request: Request) -> int:
    """Read in the way of that number."""
    number: int = await request.app.state.aunits[way]()
    return number
