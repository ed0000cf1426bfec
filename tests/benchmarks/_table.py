"""The table: a section for each few operations, in it a line for each subject."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tests.benchmarks._gates import microseconds, milliseconds_of_import
from tests.benchmarks._meter import Costs

__all__ = ["markdown", "notes", "tables"]

_SUBJECTS = (
    "raw call",
    "by hand",
    "session-aware",
    "functools.wraps closure",
    "wrapt.decorator",
    "airflow's way",
    "sa-decor",
    "oslo.db",
    "transactional-boundary",
    "fastapi-transactional",
    "sqlalchemy-transactional",
)


class _Section(NamedTuple):
    title: str
    one: str  # the subject whose cost is 1.00; empty where the cells have units of their own
    columns: Mapping[str, str]  # case -> heading


_STREAMS = {
    "generator, per call": "generator",
    "generator, per item": "each item",
    "async generator, per call": "async generator",
    "async generator, per item": "each item",
    "context manager": "context manager",
    "async context manager": "async one",
}
_METHODS = {kind: kind for kind in ("instance method", "class method", "static method", "*args, **kwargs", "async def")}
_SENT = {"async def, sent to": "sent to"}
_STATEMENTS = {
    "select": "select",
    "insert": "insert",
    "async def, select": "async def, select",
    "async def, insert": "async def, insert",
}
_WEIGHTS = {"creation: a method": "us to create a method", "memory: a method": "bytes of a method", "import": "ms to import"}


def _of(section: str, columns: Mapping[str, str]) -> dict[str, str]:
    return {f"{section}: {case}": heading for case, heading in columns.items()}


_SECTIONS = (
    _Section("Manual mode", "raw call", _of("manual", {**_METHODS, **_SENT})),
    _Section("Manual mode, generators and blocks", "raw call", _of("manual", _STREAMS)),
    _Section("Auto mode, empty body", "by hand", _of("auto", _METHODS)),
    _Section("Auto mode, generators and blocks", "by hand", _of("auto", _STREAMS)),
    _Section("Auto mode, with a statement", "by hand", _of("auto", _STATEMENTS)),
    _Section("Creation and import", "", _WEIGHTS),
)
_NOTES = """\
Manual: the caller passes a session; libraries with a current session join the unit around the call. x raw call.
Auto: the call opens, commits and closes a session of its own. x the same by hand, 'with maker.begin() as session:'.
'sent to' is an async def without an event loop around it. An item is one of 100 that a generator yields.
Creation is what a method costs above the same class without the library. Imports come on top of sqlalchemy.orm and wrapt.
The bytes of a method include the function itself. Times of creation and import: {per}.
"airflow's way" is what Airflow documents of provide_session, in our words: its package needs some 140 others.
SQLite in memory; the garbage collector rests.
"""


def tables(costs: Costs, *, is_counted: bool) -> str:
    """Return every section of which something was measured, as Markdown."""
    return "\n".join(
        f"{section.title}\n\n{markdown(lines)}"
        for section in _SECTIONS
        if len(lines := list(_lines(section, costs, is_counted=is_counted))) > 1
    )


def notes(*, is_counted: bool) -> str:
    """Return what has to be known to read the tables."""
    return _NOTES.format(per="9,000 instructions a us (import: 6,000)" if is_counted else "CPU time")


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return a table whose first line is the heading and whose first column is a name."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]

    def text(line: Iterable[str]) -> str:
        name, *cells = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return f"| {' | '.join((name, *cells))} |\n"

    rule = ["-" * width if not column else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return text(lines[0]) + text(rule) + "".join(map(text, lines[1:]))


def _lines(section: _Section, costs: Costs, *, is_counted: bool) -> Iterable[list[str]]:
    columns = [case for case in section.columns if any(measured == case for measured, _ in costs)]
    yield ["", *(section.columns[case] for case in columns)]
    if section.one and columns:
        unit = "instructions" if is_counted else "us"
        ones = [costs.get((case, section.one)) for case in columns]
        shown = ("-" if one is None else f"{one:,.0f}" if is_counted else f"{one * 1e6:,.2f}" for one in ones)
        yield [f"{section.one}, {unit}", *shown]
    for subject in _SUBJECTS:
        if subject != section.one and any((case, subject) in costs for case in columns):
            yield [subject, *(_cell(case, subject, section.one, costs, is_counted=is_counted) for case in columns)]


def _cell(case: str, subject: str, one: str, costs: Costs, *, is_counted: bool) -> str:
    cost, reference = costs.get((case, subject)), costs.get((case, one or "raw call"))
    if cost is None:
        return "-"
    if case == "import":
        return f"{milliseconds_of_import(cost, is_counted=is_counted):.1f}"
    if case.startswith("memory"):
        return f"{cost:,.0f}"
    if reference is None:
        return "-"
    return f"{cost / reference:.2f}" if one else f"{microseconds(cost - reference, is_counted=is_counted):.1f}"
