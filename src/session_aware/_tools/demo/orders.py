"""Read the transfers from a CSV file."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Final

from session_aware._tools.demo.errors import DemoError
from session_aware._tools.demo.ledger import NAME_LENGTH, Order

__all__ = ["SHIPPED", "read_orders"]

SHIPPED: Final = Path(__file__).parent / "transfers.csv"

_HEADER: Final = "sender,receiver,cents,text"
_CURE: Final = f"Write the header '{_HEADER}' and below it lines like 'ann,bob,1250,lunch'."


def read_orders(path: Path) -> list[Order]:
    """Read every transfer of a file.

    Raises:
        DemoError: The file cannot be read, or a line is none; the message names the file and the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read ({error}). Write '--csv FILE' with a CSV file in UTF-8, or leave it out."
        raise DemoError(msg) from error
    if lines[:1] != [_HEADER] or not any(lines[1:]):
        msg = f"{path} has no transfer below a header. {_CURE}"
        raise DemoError(msg)
    rows = csv.reader(lines, strict=True)
    next(rows)
    try:
        return [_order(rows.line_num, *row) for row in rows if row]
    except (ValueError, csv.Error) as error:
        msg = f"{path}, line {rows.line_num}: {error}. {_CURE}"
        raise DemoError(msg) from error


def _order(line: int, *fields: str) -> Order:
    if len(fields) != len(_HEADER.split(",")) or not "".join(fields).isprintable():
        msg = "is not four fields of printable characters"
        raise ValueError(msg)
    sender, receiver, cents, text = (field.strip() for field in fields)
    if sender == receiver or not 0 < len(sender) <= NAME_LENGTH or not 0 < len(receiver) <= NAME_LENGTH:
        msg = f"sender and receiver are not two names of 1 to {NAME_LENGTH} characters"
        raise ValueError(msg)
    if not re.fullmatch("[1-9][0-9]{0,11}", cents):  # no sum of so many leaves a 64-bit integer
        msg = "cents is not a whole number from 1 to 999999999999"
        raise ValueError(msg)
    return Order(line, sender, receiver, int(cents), text)
