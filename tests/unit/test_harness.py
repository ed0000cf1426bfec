"""The harness of ``tests/faults`` counts damage where there is some, and its exit status says so."""

from __future__ import annotations

import asyncio
from collections import Counter
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


CLEAN = reported(
    {"a": Verdict.UNKNOWN, "b": Verdict.UNKNOWN, "c": Verdict.FAILED, "d": Verdict.CANCELLED},
    ["a"],
)
DAMAGED = [
    reported({"a": Verdict.ACKNOWLEDGED}, []),
    reported({"a": Verdict.FAILED}, ["a"]),
    reported({"a": Verdict.CANCELLED}, ["a"]),
    reported({"a": Verdict.UNKNOWN}, ["a", "a"]),
    reported({}, [], is_consistent=False),
]
LEFT = [reported({}, [], leaked=1), reported({}, [], hung=1)]


@pytest.mark.parametrize(("made", "damage"), [(CLEAN, 0), *((made, 1) for made in DAMAGED), *((made, 0) for made in LEFT)])
def test_round_is_clean_if_it_did_no_damage_and_left_nothing(made: Report, damage: int) -> None:
    assert made.damage == damage
    assert _verdicts([made]) == ([] if made is CLEAN else ["postgresql with psycopg: library is not clean"])


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (reported({}, [], client="naive"), "naive did no damage, so that the round proves nothing"),
        (reported({}, [], missed=("answer lost",)), "library met too few attacks (answer lost) to prove anything"),
    ],
)
def test_round_that_proves_nothing_is_named(made: Report, reason: str) -> None:
    assert _verdicts([made]) == [f"postgresql with psycopg: {reason}"]


def test_attack_that_never_meets_anybody_is_owed_in_the_end() -> None:
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
