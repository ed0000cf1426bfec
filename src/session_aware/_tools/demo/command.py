"""``python -m session_aware demo``: run the transfers of a file and show what the calls did to the database."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import SQLAlchemyError

from session_aware._tools.demo.database import opened
from session_aware._tools.demo.errors import DemoError, first_line
from session_aware._tools.demo.model import BANK, Base, LedgerError, money
from session_aware._tools.demo.orders import SHIPPED, read_orders
from session_aware._tools.demo.output import Output
from session_aware._tools.demo.timeline import Recorder

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    from session_aware._tools.demo.caller import Caller
    from session_aware._tools.demo.model import Order, Totals
    from session_aware._tools.demo.timeline import Timeline

    _Call: TypeAlias = tuple[Order, Timeline, str]

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "run a ledger on a real database and show what each call did to the transaction"

_SHOWN_LINES: Final = 5
_DONE: Final = "done"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = (
        "Read transfers from a CSV file, book them through a SessionAwareService and print what some of the calls did. The "
        f"tables it creates are {', '.join(Base.metadata.tables)}; it drops them at the end and touches no other."
    )
    parser.add_argument(
        "--url", metavar="URL", help="a SQLAlchemy URL, synchronous or asynchronous (default: SQLite in a temporary file)"
    )
    parser.add_argument(
        "--csv",
        metavar="FILE",
        type=Path,
        default=SHIPPED,
        help=f"columns sender,receiver,cents,text; money comes from {BANK!r}, whose first transfer to a name opens that "
        "account (default: the file shipped with the package)",
    )


def run(options: Namespace) -> int:
    """Run the demo.

    Returns:
        0, or 1 if money was made or lost, or 2 if it could not run.
    """
    output = Output()
    try:
        orders = read_orders(options.csv)
        with opened(options.url) as caller:
            return _show(caller, orders, output, source=options.csv.name)
    except DemoError as error:
        problem = str(error)
    except SQLAlchemyError as error:
        problem = f"the database failed ({first_line(error)}). Look at its log, or try another one with --url."
    sys.stderr.write(f"session-aware demo: {problem}\n")
    return 2


def _show(caller: Caller, orders: Sequence[Order], output: Output, *, source: str) -> int:
    dialect = caller.engine.dialect
    version = ".".join(map(str, dialect.server_version_info or ()))
    output.line(f"{len(orders):,} transfers of {source} on {dialect.name} {version} through {dialect.driver}", "bold")
    output.line(f"Creates {', '.join(sorted(Base.metadata.tables))},")
    output.line(
        "drops them at the end and touches no other table. Below, statements are shortened and tables shown without prefix."
    )
    recorder = Recorder(caller.engine)
    first_of_batch = len(orders) - len(orders) // 3
    try:
        counts, shown = _run_auto(caller, orders[:first_of_batch], recorder, output)
    finally:
        output.clear_progress()
    for order, timeline, outcome in shown:
        output.timeline(f"Auto mode: ledger.transfer(order)  # line {order.line}, {_described(order)}", timeline, outcome)
    _run_dry(caller, orders[0], recorder, output)
    counts += _run_manual(caller, orders[first_of_batch:], recorder, output)
    _run_statement(caller, orders[0].receiver, recorder, output)
    return _report(caller.totals(), counts, output)


def _run_auto(
    caller: Caller, orders: Sequence[Order], recorder: Recorder, output: Output
) -> tuple[Counter[str], Iterable[_Call]]:
    """Run one transfer after the other; return how they ended, and one call of each kind."""
    counts: Counter[str] = Counter()
    shown: dict[str, _Call] = {}
    for done, order in enumerate(orders):
        if done % 100 == 0:
            output.progress(done, len(orders))
        recorder.start()
        try:
            caller.transfer(order)
        except LedgerError as refusal:
            kind, outcome = type(refusal).__name__, f"raised {type(refusal).__name__}: {refusal}"
        else:
            kind, outcome = _DONE, "returned the transfer"
        timeline = recorder.stop()
        counts[kind] += 1
        if kind not in shown or (kind == _DONE and shown[kind][0].sender == BANK):  # one between customers tells more
            shown[kind] = order, timeline, outcome
    return counts, shown.values()


def _run_dry(caller: Caller, order: Order, recorder: Recorder, output: Output) -> None:
    recorder.start()
    try:
        outcome = f"returned a transfer of {money(max(caller.transfer_dry(order)))}, readable and not booked"
    except LedgerError as refusal:
        outcome = f"raised {type(refusal).__name__}: {refusal}"
    title = f"Dry run: ledger.transfer(order, is_commit=False)  # line {order.line} again, {_described(order)}"
    output.timeline(title, recorder.stop(), outcome)


def _run_manual(caller: Caller, orders: Sequence[Order], recorder: Recorder, output: Output) -> Counter[str]:
    recorder.start()
    refusals = caller.transfer_together(orders)
    counts = Counter(type(refusal).__name__ for refusal in refusals)
    counts[_DONE] += len(orders) - len(refusals)
    title = f"Manual mode: {len(orders):,} times ledger.transfer(order, session=session) in one transaction of the caller's"
    output.timeline(title, recorder.stop(), f"{counts[_DONE]:,} done, {len(refusals):,} refused")
    return counts


def _run_statement(caller: Caller, name: str, recorder: Recorder, output: Output) -> None:
    recorder.start()
    lines = caller.statement(name)
    title = f"Auto mode, generator, read_only: for line in ledger.statement({name!r})"
    output.timeline(title, recorder.stop(), f"exhausted after {len(lines):,} lines, the last of them:")
    for line in lines[-_SHOWN_LINES:]:
        output.line(f"{money(line.cents):>15} {money(line.balance):>15}  {line.text}")


def _report(totals: Totals, counts: Counter[str], output: Output) -> int:
    output.line()
    output.line("Totals", "bold")
    output.line(f"{sum(counts.values()):11,} transfers asked for")
    output.line(f"{counts[_DONE]:11,} done")
    for kind in sorted(counts.keys() - {_DONE}):
        output.line(f"{counts[kind]:11,} refused with {kind}")
    output.line(f"{totals.accounts:11,} accounts, with {money(totals.lent)} from the bank among them")
    if totals.transfers == counts[_DONE] and totals.balances == totals.entries == totals.mismatches == 0:
        output.line("No money was made or lost: the balances, the bank's debt included, add up to 0.00.", "good")
        return 0
    sums = f"balances add up to {money(totals.balances)} and entries to {money(totals.entries)} instead of 0.00"
    output.line(
        f"MONEY WAS MADE OR LOST: {sums}, {totals.mismatches:,} balances differ from their entries, "
        f"{totals.transfers:,} transfers are booked where {counts[_DONE]:,} were done.",
        "bad",
    )
    return 1


def _described(order: Order) -> str:
    return f"{order.sender} sends {money(order.cents)} to {order.receiver}"
