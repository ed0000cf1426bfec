"""The gates bite: on costs that are made up, since measuring them takes minutes."""

from __future__ import annotations

import pytest

from tests.benchmarks._case import Case
from tests.benchmarks._database import adisposed
from tests.benchmarks._gates import PER_MICROSECOND, PER_MICROSECOND_COLD, Gate, gates
from tests.benchmarks._meter import Costs
from tests.benchmarks._table import table

KINDS = ("instance method", "class method", "static method", "async def, sent to")
BODIES = ("instance method", "select", "insert")
PEERS = ("by hand", "oslo.db", "fastapi-transactional", "transactional-boundary")


def costs(*, manual: float = 1.0, auto: float = 0.8, creation: float = 1.0, import_: float = 1.0) -> Costs:
    found: Costs = {}
    for kind in KINDS:
        found[f"manual: {kind}", "raw call"] = 100
        found[f"manual: {kind}", "session-aware"] = 100 * manual
    for peer in ("airflow (1)", "sa-decor"):
        found["manual: instance method", peer] = 200
    for body in BODIES:
        found[f"auto: {body}", "session-aware"] = 1000 * auto
        for peer in PEERS:
            found[f"auto: {body}", peer] = 1000
    found["auto: async def", "by hand"] = 1000
    found["auto: async def", "session-aware"] = 1000 * auto
    found["creation: a method", "raw call"] = PER_MICROSECOND
    found["creation: a method", "session-aware"] = PER_MICROSECOND * (1 + creation)
    found["import", "session-aware"] = PER_MICROSECOND_COLD * 1000 * import_
    return found


def missed(found: Costs) -> list[str]:
    return [gate.name for gate in gates(found, is_counted=True) if gate.is_missed]


def test_costs_within_every_bound_miss_no_gate() -> None:
    assert missed(costs()) == []


def test_manual_call_with_one_thing_more_to_do_is_named() -> None:
    assert missed(costs(manual=2.7)) == [
        "manual: instance method, x raw call",
        "manual: instance method, x airflow (1)",
        "manual: instance method, x sa-decor",
        "manual: class method, x raw call",
        "manual: static method, x raw call",
        "manual: async def, sent to, x raw call",
    ]


def test_auto_call_that_costs_more_than_by_hand_is_named() -> None:
    assert "auto: select, x 'with maker.begin()'" in missed(costs(auto=1.01))
    assert "auto: async def, x 'async with maker.begin()'" in missed(costs(auto=0.81))


@pytest.mark.parametrize(("one", "name"), [("creation", "creation: a method, us"), ("import_", "import, ms")])
def test_time_that_is_counted_is_named(one: str, name: str) -> None:
    assert missed(costs(**{one: 31})) == [name]


def test_bound_that_must_not_be_reached_is_missed_at_the_bound() -> None:
    assert Gate("one", 0.9, 0.9, is_open=True).is_missed
    assert not Gate("one", 0.9, 0.9).is_missed


def test_verdict_says_cost_bound_and_name() -> None:
    assert str(Gate("manual: one, x raw call", 2.6, 2.5)) == "MISSED    2.60 <= 2.5   manual: one, x raw call"


def test_table_has_a_dash_where_nothing_was_measured() -> None:
    found: Costs = {
        ("auto: select", "by hand"): 2_000,
        ("auto: select", "session-aware"): 1_900,
        ("auto: insert", "by hand"): 1,
    }
    lines = table(found, is_counted=True).splitlines()
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == ["auto: select", "2,000", "1.00", "0.95"]
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == ["auto: insert", "1", "1.00", "-"]


def test_marks_stand_around_the_repetitions() -> None:
    events: list[str] = []
    case = Case("call()", {"call": lambda: events.append("call")})
    case.measure(lambda: events.append("mark"), times=2)
    assert events == [*["call"] * 6, "mark", "call", "call", "mark"]


def test_awaited_statement_is_marked_likewise() -> None:
    events: list[str] = []

    async def call() -> None:
        events.append("call")

    Case("await call()", {"call": call}, is_async=True, around=adisposed).measure(lambda: events.append("mark"), times=2)
    assert events == [*["call"] * 6, "mark", "call", "call", "mark"]
