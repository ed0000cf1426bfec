"""Flask under waitress."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integrations.checks import (
    check_auto_call,
    check_error,
    check_left_stream,
    check_one_transaction,
    check_refused_commit,
    check_stream,
)
from tests.integrations.serving import Served, served
from tests.integrations.store import Store


@pytest.fixture(scope="module")
def server(database: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("flask")
    command = ("waitress", "--listen=127.0.0.1:PORT", "--call", "tests.integrations.flask_app:create_app")
    with served(folder, database.variables, *command) as made:
        yield made


def test_auto_call_is_committed_before_the_response(server: Served, store: Store) -> None:
    check_auto_call(server, store)


def test_error_in_an_auto_call_writes_nothing(server: Served, store: Store) -> None:
    check_error(server, store)


def test_session_of_the_view_covers_both_calls(server: Served, store: Store) -> None:
    check_one_transaction(server, store)


def test_commit_that_fails_is_no_success(server: Served, store: Store) -> None:
    check_refused_commit(server, store)


def test_stream_has_its_session_until_it_is_read(server: Served, store: Store) -> None:
    check_stream(server, store)


def test_client_that_goes_away_ends_the_stream(server: Served, store: Store) -> None:
    check_left_stream(server, store, "", is_async=False)
