"""Fixtures of the applications: a database for each module, and its rows for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integrations.store import Store, postgresql_store, sqlite_store

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The database that the application of the module uses."""
    if request.param == "sqlite":
        with sqlite_store(tmp_path_factory.mktemp("bank")) as store:
            yield store
    else:
        with postgresql_store(request.getfixturevalue("postgresql")) as store:
            yield store


@pytest.fixture
def store(database: Store) -> Store:
    """The same with two accounts."""
    database.reset(house=1000, ann=100)
    return database
