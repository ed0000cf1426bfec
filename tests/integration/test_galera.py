"""Galera: three writers, conflicts that show at COMMIT, and a node that lost its quorum."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from session_aware import (
    NEW_SESSION,
    CommitOutcomeUnknown,
    PolicyConflictError,
    Retry,
    SessionAwareService,
    auto_session_func,
    configure,
    is_transient,
)
from session_aware._database.driver import is_autocommit
from session_aware._database.faults import code_of, is_not_applied
from tests.ledger import Account, Base
from tests.servers.galera import Galera

pytestmark = pytest.mark.galera


class Work(SessionAwareService):
    def __init__(self) -> None:
        self.attempts = 0

    def run(self, body: Callable[[Session], Any], *, session: Session = NEW_SESSION) -> Any:
        self.attempts += 1
        return body(session)


@pytest.fixture
def nodes(galera: Galera) -> Iterator[list[Engine]]:
    """An engine for each node, and one account."""
    for node in galera.nodes:  # on a busy machine one may have been taken for dead for a moment
        node.wait_for_status("wsrep_cluster_size", "3")
        node.wait_for_status("wsrep_ready", "ON")
    engines = [create_engine(node.url()) for node in galera.nodes]
    Base.metadata.create_all(engines[0], tables=[Base.metadata.tables["account"]])
    with engines[0].begin() as connection:
        connection.execute(delete(Account))
        connection.execute(insert(Account).values(owner="ann", balance=0))
    wait_for_balances(galera, 0)
    yield engines
    left = [engine.pool.checkedout() for engine in engines]  # type: ignore[attr-defined] # QueuePools
    for engine in engines:
        engine.dispose()
    assert left == [0, 0, 0]


def credit(session: Session) -> None:
    session.execute(update(Account).where(Account.owner == "ann").values(balance=Account.balance + 1))


def wait_for_balances(galera: Galera, balance: int) -> None:
    for node in galera.nodes:
        node.wait_for_rows("SELECT owner, balance FROM account", [("ann", str(balance))])


def test_same_service_writes_through_three_nodes(galera: Galera, nodes: list[Engine]) -> None:
    turn = itertools.cycle(nodes)
    work = Work()
    work.session_factory = lambda: Session(next(turn))
    configure(retry=Retry(attempts=10, wait_initial=0.01))
    for _ in range(9):
        work.run(credit)
    wait_for_balances(galera, 9)


def test_read_without_a_transaction_sees_what_another_node_has_committed(galera: Galera, nodes: list[Engine]) -> None:
    turn = itertools.cycle(nodes)
    work = Work()
    work.session_factory = lambda: Session(next(turn))

    @auto_session_func(session_factory=lambda: Session(next(turn)), read_only=True, isolation_level="AUTOCOMMIT")
    def balance(*, session: Session = NEW_SESSION) -> int:
        assert is_autocommit(session.connection()) is True
        with pytest.raises(PolicyConflictError, match="this statement writes"):
            credit(session)
        return session.scalars(select(Account.balance)).one()  # wsrep-sync-wait makes it wait for the others' commits

    for expected in range(1, 8):
        work.run(credit)
        assert balance() == expected


def test_conflict_between_nodes_shows_at_commit_and_is_tried_again(galera: Galera, nodes: list[Engine]) -> None:
    def body(session: Session) -> None:
        credit(session)
        if work.attempts == 1:
            with sessionmaker(nodes[1]).begin() as other:
                credit(other)

    def note(error: BaseException) -> bool:
        errors.append(error)
        return is_transient(error)

    errors: list[BaseException] = []
    work = Work()
    work.session_factory = sessionmaker(nodes[0])
    configure(retry=Retry(wait_initial=0, wait_max=0, on=note))
    work.run(body)
    [error] = errors
    assert code_of(error) == 1213
    assert is_not_applied(error)
    assert "COMMIT" in str(error) or getattr(error, "statement", None) is None  # it was COMMIT that failed
    wait_for_balances(galera, 2)


def test_node_without_a_quorum_leaks_no_connection(galera: Galera, nodes: list[Engine]) -> None:
    work = Work()
    work.session_factory = sessionmaker(nodes[0])

    def body(session: Session) -> None:
        credit(session)
        for node in galera.nodes[1:]:
            node.kill()
        galera.nodes[0].wait_for_status("wsrep_cluster_status", "non-Primary")

    with pytest.raises(CommitOutcomeUnknown) as caught:
        work.run(body)
    assert caught.value.__cause__ is not None
    assert code_of(caught.value.__cause__) == 1047
    assert nodes[0].pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool
    with pytest.raises(DBAPIError) as again:
        work.run(credit)
    assert code_of(again.value) == 1047
    assert nodes[0].pool.checkedout() == 0  # type: ignore[attr-defined] # likewise

    galera.nodes[0].execute("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'")
    for node in galera.nodes[1:]:
        node.start()
    wait_for_balances(galera, 0)
