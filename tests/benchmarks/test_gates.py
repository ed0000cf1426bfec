"""The gates bite: on costs that are made up, since counting takes minutes, and on slow-downs that are seeded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import _gates
from tests.benchmarks._gates import PER_MICROSECOND, PER_MICROSECOND_COLD, Known, gates, needed
from tests.benchmarks._meter import CHILDREN, Child, Costs
from tests.benchmarks._table import markdown, tables

KINDS = ("instance method", "class method", "static method", "async def, sent to")
BODIES = ("instance method", "select", "insert", "async def", "async def, select", "async def, insert")
PEERS = ("by hand", "oslo.db", "fastapi-transactional", "transactional-boundary", "sqlalchemy-transactional")
WORK = ("commit", "ORM select", "Core statement")
SECTIONS = ("manual", "auto", "options", "others", "creation")
ROOT = Path(__file__).parents[2]


def costs(
    *,
    manual: float = 1.0,
    auto: float = 0.8,
    block: float = 1.0,
    option: float = 1.0,
    others: float = 1.0,
    creation: float = 1.0,
    import_: float = 1.0,
) -> Costs:
    """Return costs that keep every gate, but for what is said."""
    found: Costs = {}
    for kind in KINDS:
        found[f"manual: {kind}", "raw call"] = 100
        found[f"manual: {kind}", "session-aware"] = 100 * manual
        for peer in ("Airflow's way", "sa-decor"):
            found[f"manual: {kind}", peer] = 200
    for body in BODIES:
        found[f"auto: {body}", "session-aware"] = 1000 * auto
        for peer in PEERS:
            found[f"auto: {body}", peer] = 1000
    found["options: empty unit", "session-aware"] = 1000
    found["options: after_commit", "session-aware"] = found["options: retry", "session-aware"] = 1000 * option
    found["options: block, given", "by hand"] = 100
    found["options: block, given", "session-aware"] = 100 * block
    for work in WORK:
        found[f"others: {work}", "never imported"] = 1000
        found[f"others: {work}", "used on another engine"] = 1000
        found[f"others: {work}", "used on the same engine"] = 1000 * others
    found["creation: a method", "raw call"] = PER_MICROSECOND
    found["creation: a method", "session-aware"] = PER_MICROSECOND * (1 + creation)
    found["import", "session-aware"] = PER_MICROSECOND_COLD * 1000 * import_
    return found


def missed(found: Costs) -> list[str]:
    return [gate.name for gate in gates(found, SECTIONS, is_counted=True) if gate.is_missed]


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> dict[str, Known]:
    """Leave out what is known to be missed today."""
    known: dict[str, Known] = {}
    monkeypatch.setattr(_gates, "KNOWN", known)
    return known


def check(monkeypatch: pytest.MonkeyPatch, found: Costs, *arguments: str) -> int:
    """Run the command, which finds valgrind and these costs."""
    monkeypatch.setattr(command, "can_count", lambda: True)
    monkeypatch.setattr(command, "measure", lambda *_, **__: found)
    return command.main(["--check", *arguments])


def seeded(mode: str) -> subprocess.CompletedProcess[str]:
    """Run the command as users do, with a slow-down in the path of this mode. It takes times: tests need no valgrind."""
    arguments = [sys.executable, "-m", "tests.benchmarks", "--check", "--slow", mode, "--time", mode]
    return subprocess.run(arguments, cwd=ROOT, check=False, capture_output=True, text=True)


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
            for peer in ("Airflow's way", "sa-decor")
        ),
    ]


def test_auto_call_that_costs_more_than_by_hand_is_named_for_every_body() -> None:
    assert [name for name in missed(costs(auto=1.001)) if name.endswith("by hand")] == [
        f"auto: {body}, x by hand" for body in BODIES
    ]


def test_auto_call_that_costs_as_much_as_a_peer_is_named() -> None:
    found = missed(costs(auto=1.0))
    assert "auto: select, x oslo.db" in found
    assert "auto: async def, x sqlalchemy-transactional" in found
    assert "auto: select, x by hand" not in found


def test_block_that_joins_for_too_much_is_named() -> None:
    assert missed(costs(block=3.01)) == ["options: block, given, x by hand"]


def test_option_that_adds_more_than_a_tenth_to_the_empty_unit_is_named() -> None:
    assert missed(costs(option=1.11)) == ["options: after_commit, x the empty unit", "options: retry, x the empty unit"]


def test_work_of_others_that_costs_more_once_the_library_is_used_is_named() -> None:
    assert missed(costs(others=1.011)) == [f"others: {work}, used on the same engine, x never imported" for work in WORK]


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


def test_gate_that_is_known_to_be_missed_is_printed_and_fails_only_if_it_gets_worse(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nothing_is_known: dict[str, Known]
) -> None:
    nothing_is_known["creation: a method, us"] = Known(35, "signatures are read twice")
    assert check(monkeypatch, costs(creation=34)) == 0
    printed = capsys.readouterr().out
    assert "\nKNOWN   34.000 <= 30    creation: a method, us; known up to 35: signatures are read twice\n" in printed
    assert printed.endswith("\n1 gate(s) are missed as is known, the others are kept\n")
    assert check(monkeypatch, costs(creation=36)) == 1
    printed = capsys.readouterr().out
    assert "\nMISSED  36.000 <= 30    creation: a method, us; known up to 35: signatures are read twice\n" in printed
    assert check(monkeypatch, costs(creation=29)) == 0
    assert capsys.readouterr().out.endswith("\nevery gate is kept\n")


def test_gate_that_cannot_be_measured_is_missed_even_if_it_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nothing_is_known: dict[str, Known]
) -> None:
    nothing_is_known["auto: select, x oslo.db"] = Known(2, "")
    found = costs()
    del found["auto: select", "oslo.db"]
    assert check(monkeypatch, found) == 1
    printed = capsys.readouterr().out
    assert "\nABSENT       ? <  1     auto: select, x oslo.db" in printed
    assert printed.endswith("\n1 gate(s) missed, 1 of them since a library is not installed\n")


def test_every_name_of_what_is_known_is_that_of_a_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert set(_gates.KNOWN) <= {gate.name for gate in gates({}, SECTIONS, is_counted=True)}


def test_each_process_measures_only_what_its_gates_compare() -> None:
    wanted = {child.subjects[0]: names for child, names in needed(CHILDREN, ["options"]).items()}
    assert wanted == {
        "raw call": ["options: block, given"],  # by hand
        "session-aware": ["options: block, given", "options: after_commit", "options: empty unit", "options: retry"],
    }
    assert needed([Child("others", ("never imported",))], ["auto"]) == {}


def test_check_without_valgrind_fails_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert command.main(["--check"]) == 1
    assert "valgrind is not installed, so no gate can be counted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("mode", "name"),
    [("manual", "manual: instance method, x raw call"), ("auto", "auto: instance method, x by hand")],
)
def test_seeded_slow_down_fails_the_check(mode: str, name: str) -> None:
    done = seeded(mode)
    verdicts = {line[24:].partition("; known")[0]: line[:6] for line in done.stdout.splitlines()}
    assert (done.returncode, verdicts[name]) == (1, "MISSED"), done.stdout + done.stderr


def test_parameter_lists_are_compiled_once() -> None:
    code = "from tests.benchmarks._lists import compilations; print(*compilations(100))"  # its audit hook stays
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=True, capture_output=True, text=True
    )
    first, again = map(int, done.stdout.split())
    assert first >= 100
    assert again == 0


def test_options_say_what_they_are_compared_with() -> None:
    found = {("options: empty unit", "session-aware"): 1_000.0, ("options: retry", "session-aware"): 1_100.0}
    lines = [
        ["", "instructions", "reference", "instructions of it", "ratio"],
        ["`retry=Retry()`, no failure", "1,100", "the empty unit", "1,000", "1.10"],
    ]
    assert tables(found, is_counted=True) == f"### Options\n\n{markdown(lines)}"


def test_table_has_a_dash_where_nothing_was_measured() -> None:
    found: Costs = {
        ("auto: select", "by hand"): 2_000,
        ("auto: select", "session-aware"): 1_900,
        ("auto: insert", "by hand"): 1,
    }
    assert tables(found, is_counted=True) == (
        "### Auto mode, against the same by hand\n\n"
        "|                       | one select | one insert |\n"
        "| --------------------- | ---------: | ---------: |\n"
        "| by hand, instructions |      2,000 |          1 |\n"
        "| session-aware         |       0.95 |          - |\n"
    )
