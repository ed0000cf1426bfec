"""The tables, as Markdown: a section for each few operations, in it a line for each subject."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tests.benchmarks._gates import microseconds, milliseconds_of_import
from tests.benchmarks._meter import Costs

__all__ = ["markdown", "notes", "tables"]

_US = "session-aware"
_SUBJECTS = (
    "raw call",
    "by hand",
    _US,
    "as most write it",
    "functools.wraps closure",
    "wrapt.decorator",
    "Airflow's way",
    "sa-decor",
    "oslo.db",
    "oslo.db, its own engine",
    "transactional-boundary",
    "fastapi-transactional",
    "sqlalchemy-transactional",
    "never imported",
    "used on another engine",
    "used on the same engine",
    "10 methods",
    "100 methods",
    "1,000 methods",
)


class _Section(NamedTuple):
    title: str
    one: str  # the subject whose cost is 1.00; empty where the cells have units of their own
    columns: Mapping[str, str]  # case -> heading


class _Option(NamedTuple):
    title: str
    case: str
    one: str  # the subject of the reference
    one_case: str
    reference: str


_STREAMS = {
    "generator, per call": "generator",
    "generator, per item": "each item",
    "async generator, per call": "async generator",
    "async generator, per item": "each item of it",
    "context manager": "context manager",
    "async context manager": "async one",
}
_OTHER_METHODS = ("class method", "static method", "*args, **kwargs")
_METHODS = {kind: kind for kind in ("instance method", *_OTHER_METHODS, "async def")}
_SENT = {"async def, sent to": "sent to"}
_STATEMENTS = {
    "instance method": "empty body",
    "select": "one select",
    "insert": "one insert",
    "async def": "async, empty",
    "async def, select": "async, select",
    "async def, insert": "async, insert",
}
_WORK = {work: work for work in ("commit", "ORM select", "Core statement", "ten savepoints")}
_WEIGHTS = {"creation: a method": "us to create a method", "memory: a method": "bytes of a method", "import": "ms to import"}
_GROWTH = {"growth: creation": "us to create each", "growth: manual call": "manual call", "growth: memory": "bytes of each"}


def _of(section: str, columns: Mapping[str, str]) -> dict[str, str]:
    return {f"{section}: {case}": heading for case, heading in columns.items()}


_SECTIONS = (
    _Section("Manual mode, against the raw call", "raw call", _of("manual", {**_METHODS, **_SENT})),
    _Section("Manual mode, generators and blocks, against the raw call", "raw call", _of("manual", _STREAMS)),
    _Section("Auto mode, against the same by hand", "by hand", _of("auto", _STATEMENTS)),
    _Section("Auto mode, empty body, other callables", "by hand", _of("auto", {kind: kind for kind in _OTHER_METHODS})),
    _Section("Auto mode, generators and blocks", "by hand", _of("auto", _STREAMS)),
    _Section(
        "Others in the process: code without the library, by how the library was used",
        "never imported",
        _of("others", _WORK),
    ),
    _Section("Creation and import", "", _WEIGHTS),
    _Section("Growth of a class, by its methods, measured once", "", _GROWTH),
)
_UNIT = ("session-aware", "options: empty unit", "the empty unit")
_OPTIONS = (
    _Option("`auto_session_ctx`, owned", "options: block, owned", "by hand", "", "`with maker.begin()`"),
    _Option("`auto_session_ctx`, given a session", "options: block, given", "by hand", "", "`with nullcontext(session)`"),
    _Option("`Propagation.NESTED`, given a session", "options: savepoint", "by hand", "", "`session.begin_nested()`"),
    _Option(
        '`isolation_level="SERIALIZABLE"`', "options: isolation level", "by hand", "", "`session.connection(...)` with it"
    ),
    _Option("one callback of `after_commit`", "options: after_commit", *_UNIT),
    _Option("`retry=Retry()`, no failure", "options: retry", *_UNIT),
    _Option("`read_only=True`", "options: read-only", *_UNIT),
    _Option("one method, two classes of other policies in turn", "options: two classes", *_UNIT),
    _Option("an observer", "options: observer", *_UNIT),
)
_NOTES = {
    "manual": """\
Manual: the caller passes a session; libraries with a current session join the unit around the call. "sent to" is an
`async def` without an event loop around it. An item is one of 100 that a generator yields.
""",
    "auto": """\
Auto: the call opens, commits and closes a session of its own. All subjects use one engine and pool, and a maker with
`expire_on_commit=False`, but for two lines. "by hand" keeps the promises of this library: `with maker.begin()`, and in async
code `async with amaker() as session` with one `commit()` at the end. "as most write it" is `maker.begin()` with SQLAlchemy's
defaults, so objects expire at the commit. "oslo.db, its own engine" pings each connection that leaves the pool and listens
for errors.

What each leaves out; none but session-aware looks for swallowed errors, forgotten sessions or an unknown COMMIT:

- functools.wraps closure, wrapt.decorator: nothing more.
- Airflow's way, which is what Airflow documents of `provide_session`, in our words, since its package needs some 140 others:
  all calls of a thread use one session again, so that a call inside a call commits and closes the session of the outer one.
  There is no `begin()`, so a body that commits goes on in a second transaction.
- sa-decor: no `begin()`. A session that is passed is seen by keyword only, and if it is true.
- oslo.db: nothing more; but a call within a call joins unasked, and `patch_engine` is meant for test suites.
- fastapi-transactional: no `begin()`. A call within a call joins unasked.
- transactional-boundary: no `begin()`.
- sqlalchemy-transactional: nothing more, for `async def` alone.
""",
    "options": "The empty unit is an auto call with an empty body.\n",
    "creation": """\
Creation is what a method costs above the same class without the library. Imports come on top of sqlalchemy.orm and wrapt.
The bytes of a method include the function itself. Times: {per}.
""",
    "growth": "Creation includes that of the function itself. Times: {per}. The manual call is in {unit}.\n",
}


def tables(costs: Costs, *, is_counted: bool) -> str:
    """Return every section of which something was measured, as Markdown."""
    found = [(section.title, list(_lines(section, costs, is_counted=is_counted))) for section in _SECTIONS]
    found.insert(-3, ("Options", list(_option_lines(costs, is_counted=is_counted))))
    return "\n".join(f"### {title}\n\n{markdown(lines)}" for title, lines in found if len(lines) > 1)


def notes(sections: Iterable[str], *, is_counted: bool) -> str:
    """Return what has to be known to read the tables of the sections."""
    per = "9,000 instructions a us (import: 6,000)" if is_counted else "CPU time"
    unit = "instructions" if is_counted else "us"
    return "\n".join(_NOTES[section].format(per=per, unit=unit) for section in sections if section in _NOTES)


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
        yield [f"{section.one}, {unit}", *(_absolute(costs.get((case, section.one)), is_counted) for case in columns)]
    for subject in _SUBJECTS:
        if subject != section.one and any((case, subject) in costs for case in columns):
            yield [subject, *(_cell(case, subject, section.one, costs, is_counted=is_counted) for case in columns)]


def _option_lines(costs: Costs, *, is_counted: bool) -> Iterable[list[str]]:
    unit = "instructions" if is_counted else "us"
    yield ["", unit, "reference", f"{unit} of it", "ratio"]
    for option in _OPTIONS:
        cost, one = costs.get((option.case, _US)), costs.get((option.one_case or option.case, option.one))
        if cost is not None and one is not None:
            shown = (_absolute(cost, is_counted), option.reference, _absolute(one, is_counted), f"{cost / one:.2f}")
            yield [option.title, *shown]


def _absolute(cost: float | None, is_counted: bool) -> str:
    return "-" if cost is None else f"{cost:,.0f}" if is_counted else f"{cost * 1e6:,.2f}"


def _cell(case: str, subject: str, one: str, costs: Costs, *, is_counted: bool) -> str:
    cost = costs.get((case, subject))
    if cost is None:
        return "-"
    if one:
        reference = costs.get((case, one))
        return "-" if reference is None else f"{cost / reference:.2f}"
    if case == "import":
        return f"{milliseconds_of_import(cost, is_counted=is_counted):.1f}"
    if "memory" in case:
        return f"{cost:,.0f}"
    if case == "growth: manual call":
        return _absolute(cost, is_counted)
    return f"{microseconds(cost - costs.get((case, 'raw call'), 0), is_counted=is_counted):.1f}"
