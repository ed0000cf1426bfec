"""The one table: a line for each operation, a column for each subject."""

from collections.abc import Iterator

from tests.benchmarks._gates import microseconds, milliseconds_of_import
from tests.benchmarks._meter import Costs

__all__ = ["table"]

_COLUMNS = (
    "raw call",
    "by hand",
    "session-aware",
    "functools.wraps closure",
    "wrapt.decorator",
    "airflow (1)",
    "sa-decor",
    "oslo.db",
    "transactional-boundary",
    "fastapi-transactional",
    "sqlalchemy-transactional",
)
_REFERENCES = {"manual": "raw call", "auto": "by hand"}
_NOTES = """\
manual: the caller passes a session (for libraries with a current session: the call joins the unit around it), x raw call.
auto: the call opens, commits and closes its own session, x the same by hand, that is 'with maker.begin() as session:'.
creation: us for each method above the class without the library, by {of_creation}. import: ms over sqlalchemy.orm and wrapt.
memory: bytes for each method, the function itself included. SQLite in memory; the garbage collector rests.
(1) written from the documentation of Airflow's provide_session: its package needs some 140 others.
"""


def table(costs: Costs, *, is_counted: bool) -> str:
    """Return it as Markdown, with what is needed to read it."""
    columns = [subject for subject in _COLUMNS if any(of == subject for _, of in costs)]
    lines = [["operation", f"1.00 is, {'instructions' if is_counted else 'us'}", *columns]]
    lines.append(["---", *("---:" for _ in lines[0][1:])])
    lines += [
        [case, *_cells(case, costs, columns, is_counted=is_counted)] for case in dict.fromkeys(case for case, _ in costs)
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = "".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |\n" for line in lines
    )
    per = "a count at 9,000 instructions a us (imports: 6,000)" if is_counted else "the least CPU time"
    return text + "\n" + _NOTES.format(of_creation=per)


def _cells(case: str, costs: Costs, columns: list[str], *, is_counted: bool) -> Iterator[str]:
    of = case.partition(":")[0]
    one = costs.get((case, _REFERENCES[of])) if of in _REFERENCES else None
    yield "" if one is None else f"{one:,.0f}" if is_counted else f"{one * 1e6:,.2f}"
    for subject in columns:
        cost = costs.get((case, subject))
        if cost is None:
            yield "-"
        elif one is not None:
            yield f"{cost / one:.2f}"
        elif of == "creation":
            yield f"{microseconds(cost - costs[case, 'raw call'], is_counted=is_counted):.1f} us"
        elif of == "import":
            yield f"{milliseconds_of_import(cost, is_counted=is_counted):.1f} ms"
        else:
            yield f"{cost:,.0f} B"
