"""Tests that call a FastAPI application: its endpoints run in other threads, and in another event loop."""

from __future__ import annotations

import fastapi.testclient  # noqa: F401 - an inner run forgets what it imported
import httpx2  # noqa: F401

from tests.databases import AsyncDatabase, SyncDatabase
from tests.pytest_plugin.conftest import Project

APPLICATION = """
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy.orm import Session

app = FastAPI()


def get_session():
    raise AssertionError("overridden by the tests")


@app.post("/accounts/{owner}")
def open_account(owner: str) -> int:
    accounts.open(owner)
    return accounts.count()


@app.post("/manual/{owner}")
def open_manually(owner: str, session: Session = Depends(get_session)) -> None:
    accounts.open(owner, session=session)
    session.commit()


@app.post("/async/{owner}")
async def aopen_account(owner: str) -> int:
    await async_accounts.open(owner)
    return await async_accounts.count()
"""


def test_sync_endpoints_work_in_the_transaction_of_the_test(on_database: Project, database: SyncDatabase) -> None:
    on_database.passes(
        APPLICATION
        + """

def test_client(session_aware_session):
    session_aware_session.add(Account(owner="ann"))
    session_aware_session.commit()
    with TestClient(app) as client:
        assert client.post("/accounts/bob").json() == 2
        assert session_aware_session.scalars(owners).all() == ["ann", "bob"]
        assert client.post("/accounts/cid").json() == 3
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(client.post, [f"/accounts/{i}" for i in range(16)])
            assert {answer.status_code for answer in answers} == {200}
    assert accounts.count() == 19


def test_dependency(session_aware_db):
    def get_test_session():
        with session_aware_db.session_factory() as session:
            yield session

    app.dependency_overrides[get_session] = get_test_session
    client = TestClient(app)
    assert client.post("/manual/ann").status_code == 200
    assert client.post("/manual/bob").status_code == 200
    assert accounts.count() == 2
""",
        passed=2,
    )
    assert database.owners() == []


def test_async_endpoints_work_in_the_transaction_of_the_test(
    on_async_database: Project, async_database: AsyncDatabase
) -> None:
    on_async_database.conftest += "\n\n@pytest.fixture(scope='session')\ndef anyio_backend():\n    return 'asyncio'\n"
    on_async_database.passes(
        APPLICATION
        + """

@pytest.mark.anyio
async def test_same_loop(session_aware_async_db):
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        assert (await client.post("/async/ann")).json() == 1
        answers = await asyncio.gather(*(client.post(f"/async/{i}") for i in range(9)))
        assert {answer.status_code for answer in answers} == {200}
    assert await async_accounts.count() == 10


def test_loop_of_the_client(session_aware_async_engine):
    with (
        TestClient(app) as client,
        client.portal.wrap_async_context_manager(async_rolled_back(session_aware_async_engine)),
    ):
        assert client.post("/async/ann").json() == 1
        with ThreadPoolExecutor(4) as pool:
            answers = pool.map(client.post, [f"/async/{i}" for i in range(9)])
            assert {answer.status_code for answer in answers} == {200}
        assert client.post("/async/bob").json() == 11
""",
        "-p",
        "anyio.pytest_plugin",
        passed=2,
    )
    assert async_database.owners() == []
