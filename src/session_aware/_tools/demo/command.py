"""``python -m session_aware demo``: run the transfers of a file and show what the calls did to the database."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from session_aware._tools.demo.caller import Caller, opened
from session_aware._tools.demo.errors import DemoError, first_line
from session_aware._tools.demo.ledger import BANK, Account, Base, LedgerError, Order, money
from session_aware._tools.demo.orders import SHIPPED, read_orders
from session_aware._tools.demo.timeline import Timeline, say

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "run a ledger on a real database and show what each call did to the transaction"

_TABLES: Final = ", ".join(Base.metadata.tables)
_DONE: Final = "done"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = f"Book the transfers of a CSV file in the tables {_TABLES}, which are dropped at the end."
    parser.add_argument("--url", default="sqlite://", help="a SQLAlchemy URL, sync or async (default: SQLite in memory)")
    columns = f"sender,receiver,cents,text; the first transfer from {BANK!r} to a name opens that account"
    parser.add_argument("--csv", metavar="FILE", type=Path, default=SHIPPED, help=columns)


def run(options: Namespace) -> int:
    """Run the demo.

    Returns:
        0, or 1 if money was made or lost, or 2 if it could not run.
    """
    try:
        orders = read_orders(options.csv)
        with opened(options.url) as caller:
            return _show(caller, orders, options.csv.name)
    except (DemoError, SQLAlchemyError) as error:
        print(f"session-aware demo: {first_line(error)}", file=sys.stderr)
    return 2


def _show(caller: Caller, orders: Sequence[Order], source: str) -> int:
    dialect = caller.engine.dialect
    version = ".".join(map(str, dialect.server_version_info or ()))
    say(f"{len(orders):,} transfers of {source} on {dialect.name} {version} through {dialect.driver}")
    say(f"Creates {_TABLES}, drops them at the end and touches no other table.")
    say("Below, statements are shortened and tables shown without prefix.")
    timeline = Timeline(caller.engine)
    first_of_batch = len(orders) - len(orders) // 3
    counts = _run_auto(caller, orders[:first_of_batch], timeline)
    _run_dry(caller, orders[0], timeline)
    counts += _run_manual(caller, orders[first_of_batch:], timeline)
    _run_statement(caller, orders[0].receiver, timeline)
    return _report(caller.run(caller.ledger.accounts()), counts)


def _transfer(caller: Caller, order: Order, **options: Any) -> tuple[str, str]:  # noqa: ANN401 - the ledger's
    """Call the ledger; return how the call ended, to be counted and to be shown."""
    try:
        transfer = caller.run(caller.ledger.transfer(order, **options))
    except LedgerError as refusal:
        kind = type(refusal).__name__
        return f"refused with {kind}", f"raised {kind}: {refusal}"
    return _DONE, f"returned a transfer of {money(transfer.entries[1].cents)}, which stays readable"


def _run_auto(caller: Caller, orders: Sequence[Order], timeline: Timeline) -> Counter[str]:
    """Run each transfer in a transaction of its own; show the first of each kind that is between customers."""
    counts: Counter[str] = Counter()
    shown = set()
    for order in orders:
        timeline.start()
        kind, outcome = _transfer(caller, order)
        counts[kind] += 1
        if kind not in shown and order.sender != BANK:
            shown.add(kind)
            timeline.show(f"Auto mode: {order}", "ledger.transfer(order)", outcome)
    return counts


def _run_dry(caller: Caller, order: Order, timeline: Timeline) -> None:
    """Run a transfer once more, in a transaction that is rolled back."""
    timeline.start()
    _, outcome = _transfer(caller, order, is_commit=False)
    timeline.show(f"Dry run: once more {order}", "ledger.transfer(order, is_commit=False)", f"{outcome}; not booked")


def _run_manual(caller: Caller, orders: Sequence[Order], timeline: Timeline) -> Counter[str]:
    """Run all transfers in one transaction, which goes on after a refusal since that has changed nothing."""
    timeline.start()
    with caller.transaction() as session:
        counts = Counter(_transfer(caller, order, session=session)[0] for order in orders)
    title = f"Manual mode: {len(orders):,} transfers in one transaction of the caller's"
    outcome = f"{counts[_DONE]:,} done, {len(orders) - counts[_DONE]:,} refused"
    timeline.show(title, "ledger.transfer(order, session=session)", outcome)
    return counts


def _run_statement(caller: Caller, name: str, timeline: Timeline) -> None:
    """Read an account's statement to its end."""
    timeline.start()
    lines = caller.read(caller.ledger.statement(name))
    outcome = f"exhausted after {len(lines):,} lines, the last of them:"
    timeline.show("Auto mode, generator, read_only", f"for line in ledger.statement({name!r})", outcome)
    for text, cents, balance in lines[-5:]:
        say(f"{money(cents):>15} {money(balance):>15}  {text}", indent=33)


def _report(accounts: Sequence[Account], counts: Counter[str]) -> int:
    """Print how the calls ended, and whether the accounts agree."""
    say()
    say("Totals")
    say(f"{sum(counts.values()):11,} transfers asked for")
    for kind in sorted(counts):
        say(f"{counts[kind]:11,} {kind}")
    lent = -sum(account.balance for account in accounts if account.name == BANK)
    say(f"{len(accounts):11,} accounts, with {money(lent)} from the bank among them")
    total = sum(account.balance for account in accounts)
    mismatches = sum(account.balance != sum(entry.cents for entry in account.entries) for account in accounts)
    transfers = len({entry.transfer_id for account in accounts for entry in account.entries})
    if total == mismatches == 0 and transfers == counts[_DONE]:
        say("No money was made or lost: the balances and the bank's debt add up to 0.00.")
        return 0
    problem = f"{mismatches:,} balances differ from their entries, {transfers:,} transfers are booked"
    say(f"MONEY WAS MADE OR LOST: the balances and the bank's debt add up to {money(total)}, {problem}.")
    return 1
