"""What every web application has to hold, whatever its framework; each test module imports what its application offers."""

from __future__ import annotations

import pytest

from tests.integrations.serving import Served
from tests.integrations.store import Store

__all__ = [
    "check_auto_call",
    "check_error",
    "check_left_stream",
    "check_one_transaction",
    "check_refused_commit",
    "check_stream",
]


def check_auto_call(server: Served, store: Store, prefix: str = "") -> None:
    for count in range(1, 21):
        assert server.post(f"{prefix}/transfers", source="house", target="ann", amount=1).is_success
        assert store.balances() == {"house": 1000 - count, "ann": 100 + count}
        assert store.transfers() == count
    server.wait_for_pool(0)


def check_error(server: Served, store: Store, prefix: str = "") -> None:
    assert server.post(f"{prefix}/transfers", source="ann", target="house", amount=101).status_code == 500
    answer = server.post(f"{prefix}/transfers", source="ann", target="zoe", amount=1)  # ann's money is taken, then refused
    assert (answer.status_code, answer.json()) == (404, {"unknown": "zoe"})
    assert store.balances() == {"house": 1000, "ann": 100}
    assert store.transfers() == 0
    server.wait_for_pool(0)


def check_one_transaction(server: Served, store: Store, prefix: str = "") -> None:
    assert server.post(f"{prefix}/welcomes/bob", gift=1001).status_code == 500  # bob is opened, but the house is too poor
    assert store.balances() == {"house": 1000, "ann": 100}
    for number in range(20):
        assert server.post(f"{prefix}/welcomes/guest{number}", gift=2).is_success
        assert store.balances()[f"guest{number}"] == 2
        assert store.transfers() == number + 1
    server.wait_for_pool(0)


def check_refused_commit(server: Served, store: Store, prefix: str = "") -> None:
    answer = server.post(f"{prefix}/records", source="ann", target="zoe")
    is_refused = store.name == "postgresql"  # at COMMIT; SQLite looks at foreign keys only if told
    assert (answer.is_success, store.transfers()) == ((False, 0) if is_refused else (True, 1))
    server.wait_for_pool(0)


def check_stream(server: Served, store: Store, prefix: str = "") -> None:
    store.fill(2000, length=4000)
    with server.client.stream("GET", f"{prefix}/transfers") as response:
        pieces = response.iter_text()
        text = next(pieces)
        server.wait_for_pool(1)
        text += "".join(pieces)
    assert [line.split()[1:] for line in text.splitlines()] == [["house", "ann", "0", "x" * 4000]] * 2000
    server.wait_for_pool(0)


def check_left_stream(server: Served, store: Store, prefix: str, *, is_async: bool) -> None:
    if is_async and store.name == "sqlite":
        pytest.skip("SQLAlchemy on aiosqlite leaves the file locked when a fetch is cancelled, with this library or without")
    store.fill(2000, length=4000)
    with server.connected(f"GET {prefix}/transfers") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        server.wait_for_pool(1)
    server.wait_for_pool(0)
    store.reset(house=1)  # which SQLite refuses as long as somebody reads
