"""``_call.plan``: the decision of every call, as a table of every combination."""

from __future__ import annotations

import itertools

import pytest

from session_aware import PolicyConflictError, Propagation, PropagationError, SessionPolicy
from session_aware._call.plan import looks_at_given, plan
from session_aware._database.connections import check_isolation_level
from session_aware._unit.request import Plan

REFUSED = None

# (propagation, is a session given, isolation level) -> plan
TABLE = {
    (None, False, None): Plan.OPEN,
    (None, False, "SERIALIZABLE"): Plan.OPEN,
    (None, True, None): Plan.JOIN,
    (None, True, "SERIALIZABLE"): Plan.VERIFIED_JOIN,
    (Propagation.REQUIRED, False, None): Plan.OPEN,
    (Propagation.REQUIRED, False, "SERIALIZABLE"): Plan.OPEN,
    (Propagation.REQUIRED, True, None): Plan.JOIN,
    (Propagation.REQUIRED, True, "SERIALIZABLE"): Plan.VERIFIED_JOIN,
    (Propagation.REQUIRES_NEW, False, None): Plan.OPEN,
    (Propagation.REQUIRES_NEW, False, "SERIALIZABLE"): Plan.OPEN,
    (Propagation.REQUIRES_NEW, True, None): REFUSED,
    (Propagation.REQUIRES_NEW, True, "SERIALIZABLE"): REFUSED,
    (Propagation.NESTED, False, None): Plan.OPEN,
    (Propagation.NESTED, False, "SERIALIZABLE"): Plan.OPEN,
    (Propagation.NESTED, True, None): Plan.SAVEPOINT,
    (Propagation.NESTED, True, "SERIALIZABLE"): Plan.SAVEPOINT,
    (Propagation.MANDATORY, False, None): REFUSED,
    (Propagation.MANDATORY, False, "SERIALIZABLE"): REFUSED,
    (Propagation.MANDATORY, True, None): Plan.JOIN,
    (Propagation.MANDATORY, True, "SERIALIZABLE"): Plan.VERIFIED_JOIN,
}
COMBINATIONS = list(itertools.product([None, *Propagation], [False, True], [None, "SERIALIZABLE"], [None, False, True]))


def test_the_table_has_every_combination() -> None:
    assert set(TABLE) == {(propagation, is_given, level) for propagation, is_given, level, _ in COMBINATIONS}


@pytest.mark.parametrize(("propagation", "is_given", "level", "read_only"), COMBINATIONS)
def test_plan_is_what_the_table_says(
    propagation: Propagation | None, is_given: bool, level: str | None, read_only: bool | None
) -> None:
    policy = SessionPolicy(propagation=propagation, isolation_level=level, read_only=read_only)
    expected = TABLE[propagation, is_given, level]
    if expected is REFUSED:
        with pytest.raises(PropagationError):
            plan(policy, is_given=is_given, name="Accounts.open")
    else:
        assert plan(policy, is_given=is_given, name="Accounts.open") is expected


@pytest.mark.parametrize(
    ("wanted", "actual"),
    [
        ("SERIALIZABLE", "SERIALIZABLE"),
        ("REPEATABLE READ", "REPEATABLE_READ"),
        ("READ COMMITTED", "read committed"),
    ],
)
def test_level_that_is_kept_is_no_conflict(wanted: str, actual: str) -> None:
    check_isolation_level(wanted, actual, name="Accounts.open")


@pytest.mark.parametrize(("wanted", "actual"), [("SERIALIZABLE", "READ COMMITTED"), ("READ COMMITTED", "SERIALIZABLE")])
def test_level_that_would_be_ignored_is_a_conflict(wanted: str, actual: str) -> None:
    with pytest.raises(PolicyConflictError):
        check_isolation_level(wanted, actual, name="Accounts.open")


@pytest.mark.parametrize("isolation_level", [None, "SERIALIZABLE"])
@pytest.mark.parametrize("propagation", [None, *Propagation])
def test_only_levels_savepoints_and_refusals_look_at_a_given_session(
    propagation: Propagation | None, isolation_level: str | None
) -> None:
    policy = SessionPolicy(propagation=propagation, isolation_level=isolation_level)
    expected = isolation_level is not None or propagation in {Propagation.NESTED, Propagation.REQUIRES_NEW}
    assert looks_at_given(policy) is expected
