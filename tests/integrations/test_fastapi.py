"""FastAPI under uvicorn: the commit comes before the response, and nothing is left open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from session_aware import SessionFactoryError
from tests.integrations.checks import (
    check_auto_call,
    check_error,
    check_left_stream,
    check_one_transaction,
    check_refused_commit,
    check_stream,
)
from tests.integrations.fastapi_app import app, bank, lifespan
from tests.integrations.serving import Served, served
from tests.integrations.store import Store


@pytest.fixture(scope="module")
def server(database: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("fastapi")
    command = ("uvicorn", "tests.integrations.fastapi_app:app", "--port", "PORT", "--log-level", "warning")
    with served(folder, database.variables, *command) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_checked_out(request: pytest.FixtureRequest) -> Iterator[None]:
    """At the end of each test the server has every connection back."""
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").wait_for_pool(0)


@pytest.fixture(params=["", "/async"], ids=["sync", "async"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_auto_call_is_committed_before_the_response(server: Served, store: Store, prefix: str) -> None:
    check_auto_call(server, store, prefix)


def test_error_in_an_auto_call_writes_nothing(server: Served, store: Store, prefix: str) -> None:
    check_error(server, store, prefix)


def test_session_of_the_request_covers_both_calls(server: Served, store: Store, prefix: str) -> None:
    check_one_transaction(server, store, prefix)


def test_commit_that_fails_is_no_success(server: Served, store: Store, prefix: str) -> None:
    check_refused_commit(server, store, prefix)


def test_stream_has_its_session_until_it_is_read(server: Served, store: Store, prefix: str) -> None:
    check_stream(server, store, prefix)


def test_client_that_goes_away_ends_the_stream(server: Served, store: Store, prefix: str) -> None:
    check_left_stream(server, store, prefix, is_async=bool(prefix))


def test_background_task_commits_its_own_unit(server: Served, store: Store, prefix: str) -> None:
    assert server.post(f"{prefix}/accounts/bob", gift=5).status_code == 200
    assert "bob" in store.balances()
    server.child.wait_until(lambda: store.balances()["bob"] == 5, seconds=30, what="done with the gift")


def test_background_task_that_fails_leaves_the_request_committed(server: Served, store: Store, prefix: str) -> None:
    assert server.post(f"{prefix}/accounts/bob", gift=1001).status_code == 200
    log = server.child.log
    server.child.wait_until(lambda: "IntegrityError" in log.read_text("utf-8"), seconds=30, what="refusing the gift")
    assert store.balances() == {"house": 1000, "ann": 100, "bob": 0}
    assert store.transfers() == 0


def test_client_that_goes_away_loses_nothing(server: Served, store: Store, prefix: str) -> None:
    with store.locked():
        with server.connected(f"POST {prefix}/transfers?source=house&target=ann&amount=7"):
            server.wait_for_pool(1)
        server.wait_for_pool(1)
    server.wait_for_pool(0)
    assert store.balances() == {"house": 993, "ann": 107}
    assert store.transfers() == 1


def test_many_clients_that_go_away_leave_whole_transfers(server: Served, store: Store, prefix: str) -> None:
    for _ in range(50):
        with server.connected(f"POST {prefix}/transfers?source=house&target=ann&amount=1"):
            pass
    # What the closed connections asked for may begin at any time, so the rows agree in the end.
    server.wait_for_pool(0)
    server.child.wait_until(lambda: is_whole(store), seconds=30, what="done with whole transfers")


def is_whole(store: Store) -> bool:
    count = store.transfers()
    return store.balances() == {"house": 1000 - count, "ann": 100 + count}


def test_cancelled_call_writes_nothing_and_gives_its_connection_back(server: Served, store: Store) -> None:
    def hurry(amount: int) -> int:
        return server.post("/async/transfers/hurried", source="house", target="ann", amount=amount).status_code

    with store.locked(), ThreadPoolExecutor(4) as clients:
        assert list(clients.map(hurry, [1, 2, 3, 4])) == [504] * 4
    server.wait_for_pool(0)
    assert store.balances() == {"house": 1000, "ann": 100}
    assert server.post("/async/transfers", source="house", target="ann", amount=7).status_code == 200
    assert store.balances() == {"house": 993, "ann": 107}


def test_lifespan_sets_the_factories_and_takes_them_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.variables.items():
        monkeypatch.setenv(name, value)

    async def live() -> None:
        async with lifespan(app):
            bank.open("bob")
            await bank.aopen("cid")

    asyncio.run(live())
    assert set(store.balances()) == {"house", "ann", "bob", "cid"}
    with pytest.raises(SessionFactoryError):
        bank.open("dan")
    with pytest.raises(SessionFactoryError):
        asyncio.run(bank.aopen("dan"))
