"""Auto mode: what a call without a session does to the transaction."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from session_aware import NEW_SESSION, SessionAwareService
from tests.databases import AsyncDatabase, SyncDatabase
from tests.ledger import Account

OWNED = ["CHECKOUT", "BEGIN", "COMMIT", "CHECKIN"]
UNDONE = ["CHECKOUT", "BEGIN", "ROLLBACK", "CHECKIN"]


class Accounts(SessionAwareService):
    def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
        account = Account(owner=owner)
        session.add(account)
        session.flush()
        return account

    async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> Account:
        account = Account(owner=owner)
        session.add(account)
        await session.flush()
        return account


def test_call_without_a_session_begins_commits_and_closes(database: SyncDatabase) -> None:
    accounts = Accounts()
    accounts.session_factory = database.maker
    account = accounts.open("ann")
    assert database.recorder.events == OWNED
    assert database.owners() == ["ann"]
    assert account.owner == "ann"


def test_async_call_without_a_session_begins_commits_and_closes(async_database: AsyncDatabase) -> None:
    accounts = Accounts()
    accounts.async_session_factory = async_database.maker
    account = async_database.run(accounts.aopen("ann"))
    assert async_database.recorder.events == OWNED
    assert async_database.owners() == ["ann"]
    assert account.owner == "ann"
