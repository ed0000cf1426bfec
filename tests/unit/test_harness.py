"""The harness of ``tests/faults`` counts damage where there is some, and its exit status says so."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from types import FunctionType

import pytest

from session_aware import CommitOutcomeUnknown
from tests.faults.__main__ import _verdicts
from tests.faults.adversary import Adversary
from tests.faults.bank import Audit
from tests.faults.journal import Report, Verdict, report, verdict
from tests.faults.seeded import FAULTS, Fault, seeded


def noted(error: BaseException, *notes: str) -> BaseException:
    for note in notes:
        error.add_note(note)
    return error


def timed_out(cause: BaseException) -> TimeoutError:
    error = TimeoutError()
    error.__cause__ = cause
    return error


COMMITTED = "session-aware: Work.run had already committed when this was raised."


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, Verdict.ACKNOWLEDGED),
        (ValueError(), Verdict.FAILED),
        (TimeoutError(), Verdict.FAILED),
        (CommitOutcomeUnknown(), Verdict.UNKNOWN),
        (asyncio.CancelledError(), Verdict.CANCELLED),
        (noted(asyncio.CancelledError(), COMMITTED), Verdict.ACKNOWLEDGED),
        (noted(asyncio.CancelledError(), "its outcome is unknown,"), Verdict.UNKNOWN),
        (timed_out(asyncio.CancelledError()), Verdict.CANCELLED),
        (timed_out(noted(asyncio.CancelledError(), COMMITTED)), Verdict.ACKNOWLEDGED),
    ],
    ids=repr,
)
def test_verdict_is_what_the_caller_was_told(error: BaseException | None, expected: Verdict) -> None:
    assert verdict(error) is expected


def reported(
    told: dict[str, Verdict],
    applied: list[str],
    *,
    client: str = "library",
    is_consistent: bool = True,
    leaked: int = 0,
    hung: int = 0,
    missed: tuple[str, ...] = (),
) -> Report:
    return report(
        {"good": Verdict.ACKNOWLEDGED, **told},
        Audit(Counter(["good", *applied]), is_consistent),
        where=("postgresql", "psycopg", client),
        leaked=leaked,
        dangling=0,
        hung=hung,
        attacks="",
        missed=missed,
    )


def test_truth_is_clean() -> None:
    told = {"a": Verdict.UNKNOWN, "b": Verdict.UNKNOWN, "c": Verdict.FAILED, "d": Verdict.CANCELLED}
    made = reported(told, ["a"])
    assert made.is_clean
    assert (made.acknowledged, made.unknown, made.unknown_applied, made.damage) == (1, 2, 1, 0)


@pytest.mark.parametrize(
    "made",
    [
        reported({"a": Verdict.ACKNOWLEDGED}, []),
        reported({"a": Verdict.FAILED}, ["a"]),
        reported({"a": Verdict.CANCELLED}, ["a"]),
        reported({"a": Verdict.UNKNOWN}, ["a", "a"]),
        reported({}, [], is_consistent=False),
    ],
)
def test_damage_is_counted(made: Report) -> None:
    assert made.damage == 1
    assert not made.is_clean
    assert _verdicts([made]) == ["postgresql with psycopg: library is not clean"]


@pytest.mark.parametrize("made", [reported({}, [], leaked=1), reported({}, [], hung=1)])
def test_what_is_left_is_no_damage_but_not_clean(made: Report) -> None:
    assert made.damage == 0
    assert _verdicts([made]) == ["postgresql with psycopg: library is not clean"]


def test_round_in_which_nothing_succeeded_is_not_clean() -> None:
    made = report(
        {}, Audit(Counter(), is_consistent=True), where=("", "", "library"), leaked=0, dangling=0, hung=0, attacks=""
    )
    assert not made.is_clean


def test_naive_client_must_do_damage() -> None:
    assert _verdicts([reported({}, [], client="naive")]) == [
        "postgresql with psycopg: naive did no damage, so that the round proves nothing"
    ]
    assert _verdicts([reported({"a": Verdict.FAILED}, ["a"], client="naive"), reported({}, [])]) == []
    assert _verdicts([reported({"a": Verdict.FAILED}, ["a"], client="handwritten")]) == []


def test_attack_that_met_nobody_proves_nothing() -> None:
    assert _verdicts([reported({}, [], missed=("answer lost", "network cut"))]) == [
        "postgresql with psycopg: library met too few attacks (answer lost, network cut) to prove anything"
    ]


def test_adversary_goes_on_until_each_attack_has_met_somebody() -> None:
    calls: Counter[str] = Counter()

    def every_second_time(name: str) -> Callable[[], bool]:
        def attack() -> bool:
            calls[name] += 1
            return calls[name] % 2 == 0

        return attack

    names = ["answer lost", "COMMIT lost", "node killed", "node restarted"]
    adversary = Adversary({name: every_second_time(name) for name in names}, seed=1)
    adversary.start()
    adversary.finish()
    assert adversary.owed() == []
    assert {name: adversary.done[name] for name in names} == {
        "answer lost": 4,
        "COMMIT lost": 1,
        "node killed": 1,  # one of the expensive ones is enough
        "node restarted": 0,
    }


def test_adversary_does_not_wait_for_ever() -> None:
    adversary = Adversary({"COMMIT lost": lambda: False, "network cut": lambda: None}, seed=1, late_seconds=0.2)
    adversary.start()
    adversary.finish()
    assert adversary.owed() == ["COMMIT lost"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_is_seeded_into_every_function_and_taken_back(fault: Fault) -> None:
    functions = [function for function in fault.functions if isinstance(function, FunctionType)]
    before = [function.__code__ for function in functions]
    with seeded(fault):
        assert not [code for code, function in zip(before, functions, strict=True) if function.__code__ == code]
    assert [function.__code__ for function in functions] == before
    assert len(functions) == len(fault.functions) > 0


def test_fault_whose_text_is_gone_is_no_fault() -> None:
    with pytest.raises(AssertionError, match="the fault must follow the library"), seeded(FAULTS[0]._replace(right="gone")):
        pass
