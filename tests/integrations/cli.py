"""The bank as a command: ``python -m tests.integrations.cli move house ann 5 --dry-run``."""

from __future__ import annotations

import argparse
import os
import sys

from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, auto_session_func, configure
from tests.integrations.bank import Bank, UnknownAccountError

__all__ = ["main"]

bank = Bank()


@auto_session_func
def welcome(owners: list[str], gift: int, *, session: Session = NEW_SESSION, is_commit: bool = True) -> int:
    """Open accounts and give each a gift: all of them or, if one fails, none."""
    for owner in owners:
        bank.open(owner, session=session)
        bank.move("house", owner, gift, session=session)
    return len(owners)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bank")
    commands = parser.add_subparsers(dest="command", required=True)
    move = commands.add_parser("move")
    move.add_argument("source")
    move.add_argument("target")
    move.add_argument("amount", type=int)
    welcomes = commands.add_parser("welcome")
    welcomes.add_argument("owners", nargs="+")
    welcomes.add_argument("--gift", type=int, default=1)
    welcomes.add_argument("--dry-run", action="store_true")
    commands.add_parser("list")
    given = parser.parse_args()

    engine = create_engine(os.environ["DATABASE_URL"])
    configure(session_factory=sessionmaker(engine))
    try:
        if given.command == "move":
            print("transfer", bank.move(given.source, given.target, given.amount))
        elif given.command == "welcome":
            print("welcomed", welcome(given.owners, given.gift, is_commit=not given.dry_run))
        else:
            sys.stdout.writelines(bank.transfers())
    except UnknownAccountError as error:
        print("unknown account:", error, file=sys.stderr)
        return 1
    finally:
        engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
