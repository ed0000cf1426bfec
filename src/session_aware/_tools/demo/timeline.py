"""Print what a call does to the database, recorded from SQLAlchemy's events."""

from __future__ import annotations

import re
import textwrap
from functools import partial
from time import perf_counter
from typing import Any

from sqlalchemy import Engine, event

from session_aware._tools.demo.ledger import PREFIX

__all__ = ["Timeline", "say", "shortened"]

_FIRST, _LAST = 6, 4


class Timeline:
    """Listens to an engine; one call after the other."""

    def __init__(self, engine: Engine) -> None:
        self.start()
        for name in ("begin", "commit", "rollback"):
            event.listen(engine, name, partial(self._add, name.upper()))
        event.listen(engine, "before_cursor_execute", self._add_statement)

    def start(self) -> None:
        """Forget what was recorded: a call begins."""
        self._began = perf_counter()
        self._moments: list[tuple[float, str]] = []

    def show(self, title: str, call: str, outcome: str) -> None:
        """Print what was recorded since ``start``, each line with its milliseconds; a long timeline loses its middle."""
        self._add(outcome)
        lines = [f"{seconds * 1000:8.2f} ms  {text}" for seconds, text in self._moments]
        hidden = len(lines) - _FIRST - _LAST
        if hidden > 1:
            lines[_FIRST:-_LAST] = [f"{'':12}... {hidden:,} more ..."]
        for line in ("", title, f"    {call}", *lines):
            say(line, indent=13)

    def _add(self, text: str, _connection: object = None) -> None:
        self._moments.append((perf_counter() - self._began, text))

    def _add_statement(self, *heard: Any) -> None:  # noqa: ANN401 - six positional arguments, of which the names matter here
        _connection, _cursor, statement, parameters, _context, is_many = heard
        rows = f" ({len(parameters)} rows)" if is_many and len(parameters) > 1 else ""
        self._add(shortened(statement) + rows)


def say(text: str = "", *, indent: int = 0) -> None:
    """Print a text, continued on indented lines if it is wider than 80 columns."""
    print(textwrap.fill(text, 80, subsequent_indent=" " * indent))


def shortened(statement: str) -> str:
    """Return a statement in one line, without what tells nothing here: lists of columns, casts, names of parameters."""
    line = re.sub(rf"{PREFIX}(\w+\.)?", "", " ".join(statement.split()))
    line = re.sub(r"^SELECT .*? FROM ", "SELECT ... FROM ", line)
    line = re.sub(r"\([\w, ]+\) VALUES", "(...) VALUES", line)
    return re.sub(r"(%(?:\(\w+\))?s|\$\d+|:\w+|\?)(::\w+)?", "?", line)
