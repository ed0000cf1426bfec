"""Read the transfers from a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Final

from session_aware._tools.demo.errors import DemoError
from session_aware._tools.demo.model import NAME_LENGTH, TEXT_LENGTH, Order

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SHIPPED", "read_orders"]

SHIPPED: Final = Path(__file__).parent / "transfers.csv"

_HEADER: Final = ["sender", "receiver", "cents", "text"]
_EXAMPLE: Final = "ann,bob,1250,lunch"
_MOST_CENTS: Final = 10**12  # so that no sum leaves a 64-bit integer


def read_orders(path: Path) -> list[Order]:
    """Read every transfer of a file.

    Raises:
        DemoError: The file cannot be read, or a line is none; the message names the file and the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            orders = list(_orders(path, file))
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error}). Write '--csv FILE' with a CSV file, or leave it out."
        raise DemoError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: is not UTF-8 (byte {error.start}: {error.reason}). Save it as UTF-8."
        raise DemoError(msg) from error
    if not orders:
        msg = f"{path}: has no transfer. Write the header '{','.join(_HEADER)}' and lines like '{_EXAMPLE}'."
        raise DemoError(msg)
    return orders


def _orders(path: Path, file: Iterator[str]) -> Iterator[Order]:
    rows = csv.reader(file, strict=True)
    try:
        for index, row in enumerate(rows):
            place = f"{path}, line {rows.line_num}"
            if index == 0:
                _check_header(row, place)
            elif row:
                yield _order(row, rows.line_num, place)
    except csv.Error as error:
        msg = f"{path}, line {rows.line_num}: is no CSV ({error}). Write a line like '{_EXAMPLE}'."
        raise DemoError(msg) from error


def _check_header(row: list[str], place: str) -> None:
    if row != _HEADER:
        msg = f"{place}: the header is {','.join(row)!r}. Write '{','.join(_HEADER)}'."
        raise DemoError(msg)


def _order(row: list[str], line: int, place: str) -> Order:
    if len(row) != len(_HEADER):
        msg = f"{place}: has {len(row)} fields instead of {len(_HEADER)}. Write '{','.join(_HEADER)}', such as '{_EXAMPLE}'."
        raise DemoError(msg)
    sender, receiver, cents, text = (field.strip() for field in row)
    if not (sender + receiver + text).isprintable():
        msg = f"{place}: has a character that cannot be printed. Write letters, digits, spaces and punctuation only."
        raise DemoError(msg)
    for column, name in (("sender", sender), ("receiver", receiver)):
        if not 0 < len(name) <= NAME_LENGTH:
            msg = f"{place}: {column} has {len(name)} characters. Write an account's name of 1 to {NAME_LENGTH}."
            raise DemoError(msg)
    if sender == receiver:
        msg = f"{place}: {sender} is sender and receiver. Write two accounts."
        raise DemoError(msg)
    if not (cents.isascii() and cents.isdecimal() and len(cents) <= len(str(_MOST_CENTS)) and 0 < int(cents) <= _MOST_CENTS):
        msg = f"{place}: cents is {cents!r}. Write a whole number from 1 to {_MOST_CENTS}, such as 1250 for 12.50."
        raise DemoError(msg)
    if len(text) > TEXT_LENGTH:
        msg = f"{place}: text has {len(text)} characters. Write {TEXT_LENGTH} at most."
        raise DemoError(msg)
    return Order(line, sender, receiver, int(cents), text)
