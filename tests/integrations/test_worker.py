"""Celery: a worker with two processes, and a client that sends tasks by name through a database of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from celery import Celery

from tests.integrations.serving import started
from tests.integrations.store import Store
from tests.servers._process import Child

# Of kombu's own queries, which keep the messages in a database.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

Send: TypeAlias = Callable[..., Any]


@pytest.fixture(scope="module")
def worker(database: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Child, Send]]:
    """Start a worker; give its process, and what sends a task by its name and waits for the result."""
    folder = tmp_path_factory.mktemp("celery")
    results = folder / "results"
    results.mkdir()
    broker = {"BROKER_URL": f"sqla+sqlite:///{folder / 'broker.sqlite'}", "RESULT_URL": f"file://{results}"}
    options = ("--concurrency=2", "--loglevel=INFO", "--without-gossip", "--without-mingle", "--without-heartbeat")
    client = Celery("client", broker=broker["BROKER_URL"], backend=broker["RESULT_URL"], set_as_current=False)

    def send(name: str, *args: str | int) -> Any:
        return client.send_task(f"tests.integrations.worker.{name}", args).get(timeout=30, interval=0.02)

    with started(
        folder, database.variables | broker, "celery", "-A", "tests.integrations.worker", "worker", *options
    ) as child:
        child.wait_until(lambda: " ready." in child.log.read_text("utf-8"), seconds=60, what="ready")
        yield child, send
    client.close()


@pytest.fixture
def send(worker: tuple[Child, Send]) -> Send:
    return worker[1]


def test_task_is_committed_before_its_result_is_there(send: Send, store: Store) -> None:
    for count in range(1, 6):
        send("transfer", "house", "ann", 1)
        assert store.balances() == {"house": 1000 - count, "ann": 100 + count}
        assert store.transfers() == count


def test_task_that_fails_writes_nothing(send: Send, store: Store) -> None:
    with pytest.raises(LookupError, match="zoe"):
        send("transfer", "ann", "zoe", 1)
    with pytest.raises(Exception, match="IntegrityError"):
        send("transfer", "ann", "house", 101)
    assert store.balances() == {"house": 1000, "ann": 100}
    assert store.transfers() == 0


def test_session_of_the_task_covers_both_calls(send: Send, store: Store) -> None:
    with pytest.raises(Exception, match="IntegrityError"):
        send("welcome", "bob", 1001)
    assert store.balances() == {"house": 1000, "ann": 100}
    send("welcome", "bob", 1000)
    assert store.balances() == {"house": 0, "ann": 100, "bob": 1000}


def test_task_sends_another_after_its_commit(worker: tuple[Child, Send], store: Store) -> None:
    child, send = worker
    send("open_account", "bob", 5)
    child.wait_until(lambda: store.balances()["bob"] == 5, seconds=30, what="done with the gift")


def test_task_that_fails_sends_no_other(worker: tuple[Child, Send], store: Store) -> None:
    child, send = worker
    before = received(child)
    with pytest.raises(Exception, match="IntegrityError"):
        send("open_account", "ann", 5)  # who has an account
    send("transfer", "house", "ann", 1)  # comes after what would have been sent
    assert received(child) == before + 1
    assert store.balances() == {"house": 999, "ann": 101}


def received(child: Child) -> int:
    """Count the transfers in the worker's log, which tells of each before it runs."""
    return len(re.findall(r"\.transfer\[\S+\] received", child.log.read_text("utf-8")))
