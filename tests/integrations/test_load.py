"""Hundreds of requests at once, on PostgreSQL: none waits in vain for a connection, and no write is lost."""

from __future__ import annotations

import asyncio
from itertools import chain

import pytest

from tests.integrations.load import ACCOUNTS, requests, run
from tests.integrations.serving import Served
from tests.integrations.store import Store
from tests.integrations.test_fastapi import server

__all__ = ["server"]

CLIENTS = 300
REQUESTS = 200


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_hundreds_of_clients_lose_nothing(server: Served, database: Store) -> None:
    database.reset(**ACCOUNTS)
    kinds = ("transfers", "async/transfers", "welcomes", "async/welcomes")
    streams = [requests(kind, REQUESTS, seed=seed) for seed, kind in enumerate(kinds)]
    paths = chain.from_iterable(zip(*streams, strict=True))
    statuses = asyncio.run(run(server.port, paths, clients=CLIENTS))
    assert statuses == {200: 4 * REQUESTS}
    balances = database.balances()
    assert database.transfers() == 4 * REQUESTS
    assert sum(balances.values()) == sum(ACCOUNTS.values())
    assert sum(owner.startswith("guest") and balance == 1 for owner, balance in balances.items()) == 2 * REQUESTS
    server.wait_for_pool(0)
