"""The gates bite: on costs that are made up, since counting takes minutes, and once on a seeded slow-down."""

from __future__ import annotations

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks._gates import PER_MICROSECOND, PER_MICROSECOND_COLD, gates
from tests.benchmarks._meter import Costs
from tests.benchmarks._table import tables

KINDS = ("instance method", "class method", "static method", "async def, sent to")
BODIES = ("instance method", "select", "insert")
PEERS = ("by hand", "oslo.db", "fastapi-transactional", "transactional-boundary")
SECTIONS = ("manual", "auto", "creation")


def costs(*, manual: float = 1.0, auto: float = 0.8, creation: float = 1.0, import_: float = 1.0) -> Costs:
    found: Costs = {}
    for kind in KINDS:
        found[f"manual: {kind}", "raw call"] = 100
        found[f"manual: {kind}", "session-aware"] = 100 * manual
        for peer in ("airflow's way", "sa-decor"):
            found[f"manual: {kind}", peer] = 200
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
    return [gate.name for gate in gates(found, SECTIONS, is_counted=True) if gate.is_missed]


def check(monkeypatch: pytest.MonkeyPatch, found: Costs, *arguments: str) -> int:
    """Run the command, which finds valgrind and these costs."""
    monkeypatch.setattr(command, "can_count", lambda: True)
    monkeypatch.setattr(command, "measure", lambda *_, **__: found)
    return command.main(["--check", *arguments])


def test_costs_within_every_bound_miss_no_gate() -> None:
    assert missed(costs()) == []


def test_manual_call_with_one_thing_more_to_do_is_named() -> None:
    assert missed(costs(manual=2.7)) == [
        "manual: instance method, x raw call",
        "manual: class method, x raw call",
        "manual: static method, x raw call",
        "manual: async def, sent to, x raw call",
        *(
            f"manual: {kind}, x {peer}"
            for kind in ("instance method", "class method", "static method")
            for peer in ("airflow's way", "sa-decor")
        ),
    ]


def test_auto_call_that_costs_more_than_by_hand_is_named() -> None:
    assert "auto: select, x by hand" in missed(costs(auto=1.01))
    assert "auto: async def, x by hand" in missed(costs(auto=0.81))


@pytest.mark.parametrize(("one", "name"), [("creation", "creation: a method, us"), ("import_", "import, ms")])
def test_time_that_is_counted_is_named(one: str, name: str) -> None:
    assert missed(costs(**{one: 31})) == [name]


def test_check_names_what_is_missed_and_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(monkeypatch, costs()) == 0
    assert capsys.readouterr().out.endswith("\nevery gate is kept\n")
    assert check(monkeypatch, costs(creation=31)) == 1
    printed = capsys.readouterr().out
    assert "\nMISSED  31.000 <= 30    creation: a method, us\n" in printed
    assert printed.endswith("\n1 gate(s) missed, 0 of them since a library is not installed\n")
    assert check(monkeypatch, costs(creation=31), "manual") == 0


def test_gate_that_cannot_be_measured_is_missed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = costs()
    del found["auto: select", "oslo.db"]
    assert check(monkeypatch, found) == 1
    printed = capsys.readouterr().out
    assert "\nABSENT       ? <  1     auto: select, x oslo.db\n" in printed
    assert printed.endswith("\n1 gate(s) missed, 1 of them since a library is not installed\n")


def test_check_without_valgrind_fails_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert command.main(["--check"]) == 1
    assert "valgrind is not installed, so no gate can be counted" in capsys.readouterr().out


def test_seeded_dict_copy_on_the_manual_path_fails_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--check", "--slow", "--time", "manual"]) == 1
    verdicts = {line[24:]: line[:6] for line in capsys.readouterr().out.splitlines()}
    assert verdicts["manual: instance method, x raw call"] == "MISSED"


def test_table_has_a_dash_where_nothing_was_measured() -> None:
    found: Costs = {
        ("auto: select", "by hand"): 2_000,
        ("auto: select", "session-aware"): 1_900,
        ("auto: insert", "by hand"): 1,
    }
    assert tables(found, is_counted=True) == (
        "Auto mode, with a statement\n\n"
        "|                       | select | insert |\n"
        "| --------------------- | -----: | -----: |\n"
        "| by hand, instructions |  2,000 |      1 |\n"
        "| session-aware         |   0.95 |      - |\n"
    )
