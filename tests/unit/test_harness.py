"""The harness of ``tests/faults`` counts damage where there is some, and its exit status says so."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from session_aware import CommitOutcomeUnknown
from tests.faults.__main__ import _verdicts
from tests.faults.bank import Audit
from tests.faults.journal import Report, Verdict, report, verdict


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
) -> Report:
    return report(
        {"good": Verdict.ACKNOWLEDGED, **told},
        Audit(Counter(["good", *applied]), is_consistent),
        where=("postgresql", "psycopg", client),
        leaked=leaked,
        dangling=0,
        hung=hung,
        attacks="",
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
