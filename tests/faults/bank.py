"""The bank: eight accounts, and transfers that write their request's id, so that an audit can tell what was applied."""

from __future__ import annotations

import contextlib
import enum
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import String, delete, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

__all__ = ["ACCOUNTS", "Audit", "Order", "RefusedError", "Trouble", "audit", "move", "prepare", "trickle"]

ACCOUNTS = 8
_BALANCE = 1000


class Base(DeclarativeBase):
    """The metadata of the bank."""


class Account(Base):
    """A balance; it must agree with the transfers."""

    __tablename__ = "bank_account"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    balance: Mapped[int]


class Transfer(Base):
    """What was applied. The request is not unique: a duplicate must show, not fail."""

    __tablename__ = "bank_transfer"

    id: Mapped[int] = mapped_column(primary_key=True)
    request: Mapped[str] = mapped_column(String(40))
    source: Mapped[int]
    target: Mapped[int]
    amount: Mapped[int]


class RefusedError(Exception):
    """What a body raises by itself."""


class Trouble(enum.Enum):
    """What the adversary does to one order from within the process."""

    NONE = "none"
    RAISE = "the body raises after its last statement"
    SWALLOW_FIRST = "the body swallows errors of its first half"
    SWALLOW_LAST = "the body swallows the error of its last statement"
    SWALLOW_DRIVER = "the body swallows an error of the driver's own cursor"
    LISTENER_WRITES = "a listener writes everything before COMMIT, after the library has asked for the transaction's id"
    LISTENER_FAILS = "a listener's flush fails before COMMIT is sent"
    STREAM = "a stream, read to its end"
    STREAM_CLOSED = "a stream, closed early"
    STREAM_DROPPED = "a stream, dropped to the garbage collector"
    STREAM_ELSEWHERE = "a stream, closed from another thread"
    CANCEL = "the task is cancelled"
    CANCEL_COMMIT = "the task is cancelled while COMMIT is under way"
    TIMEOUT = "asyncio.timeout around the call"


class Order(NamedTuple):
    """One request of a customer."""

    request: str
    source: int
    target: int
    amount: int
    trouble: Trouble


class Audit(NamedTuple):
    """What the tables say in the end."""

    applied: Counter[str]
    is_consistent: bool


def prepare(engine: Engine) -> None:
    """Make the tables, empty but for the accounts."""
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(delete(Transfer))
        connection.execute(delete(Account))
        connection.execute(insert(Account), [{"id": number, "balance": _BALANCE} for number in range(ACCOUNTS)])


def audit(engine: Engine) -> Audit:
    """Count the transfers by request, and check every balance against them."""
    with engine.connect() as connection:
        transfers = connection.execute(select(Transfer.request, Transfer.source, Transfer.target, Transfer.amount)).all()
        found = {row.id: row.balance for row in connection.execute(select(Account.id, Account.balance))}
    expected = dict.fromkeys(range(ACCOUNTS), _BALANCE)
    for _, source, target, amount in transfers:
        expected[source] -= amount
        expected[target] += amount
    return Audit(Counter(row.request for row in transfers), found == expected)


def trickle(session: Session, order: Order) -> Iterator[str]:
    """Carry an order out in steps, as a stream that tells of each."""
    balances: dict[int, int] = {}
    session.connection()  # a refused connection fails no transaction: whoever swallows that has decided to
    if order.trouble is Trouble.LISTENER_WRITES:
        later = order._replace(trouble=Trouble.NONE)
        event.listen(session, "before_commit", lambda session: move(session, later), once=True)
        return
    with contextlib.suppress(*((DBAPIError,) if order.trouble is Trouble.SWALLOW_FIRST else ())):
        # Read, then write: what a level allows to be lost between the two is lost here.
        for account in (order.source, order.target):
            balances[account] = _read(session, account)
            yield "read"
        _write(session, order.source, balances[order.source] - order.amount)
    session.execute(
        insert(Transfer).values(request=order.request, source=order.source, target=order.target, amount=order.amount)
    )
    if order.target not in balances:
        balances[order.target] = _read(session, order.target)
    _write(session, order.target, balances[order.target] + order.amount)
    yield "written"
    if order.trouble is Trouble.SWALLOW_LAST:
        with contextlib.suppress(DBAPIError):
            session.execute(text("SELECT nothing FROM nowhere"))
    # A deadlock that is swallowed there, as Galera's at any statement, would be lost on MySQL without anybody's notice.
    if order.trouble is Trouble.SWALLOW_DRIVER and session.connection().dialect.name == "postgresql":
        with contextlib.suppress(Exception):
            session.connection().connection.cursor().execute("SELECT nothing FROM nowhere")
    if order.trouble is Trouble.LISTENER_FAILS:
        event.listen(session, "before_commit", lambda session: session.add(Transfer(request=object())), once=True)
    if order.trouble is Trouble.RAISE:
        raise RefusedError(order.request)


def move(session: Session, order: Order) -> None:
    """Carry an order out."""
    for _ in trickle(session, order):
        pass


def _read(session: Session, account: int) -> int:
    return session.scalars(select(Account.balance).where(Account.id == account).with_for_update()).one()


def _write(session: Session, account: int, balance: int) -> None:
    session.execute(update(Account).where(Account.id == account).values(balance=balance))
