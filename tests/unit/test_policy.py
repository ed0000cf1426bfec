"""``_policy``: frozen values, what they accept, and how they are merged."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from session_aware import Propagation, Retry, SessionPolicy
from session_aware._unit.configuration import NO_SETTINGS
from session_aware._unit.policy import NO_POLICY


def test_policy_says_nothing_by_default() -> None:
    assert SessionPolicy() == NO_POLICY == SessionPolicy(propagation=None, read_only=None, isolation_level=None)


def test_policy_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SessionPolicy().read_only = True  # type: ignore[misc] # this is the point


def test_policy_takes_keywords_only() -> None:
    positional: Any = SessionPolicy
    with pytest.raises(TypeError, match="positional"):
        positional(Propagation.REQUIRED)


def test_replace_keeps_the_other_values() -> None:
    policy = SessionPolicy(propagation=Propagation.NESTED, read_only=True, isolation_level="SERIALIZABLE")
    changed = dataclasses.replace(policy, read_only=False)
    assert changed == SessionPolicy(propagation=Propagation.NESTED, read_only=False, isolation_level="SERIALIZABLE")


def test_policy_survives_pickle_and_copy() -> None:
    policy = SessionPolicy(propagation=Propagation.NESTED, read_only=True, isolation_level="SERIALIZABLE")
    assert pickle.loads(pickle.dumps(policy)) == policy == copy.deepcopy(policy)
    assert hash(copy.copy(policy)) == hash(policy)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "repeatable read", "REPEATABLE_READ", "  Repeatable_Read "])
def test_isolation_level_is_normalised(level: str) -> None:
    assert SessionPolicy(isolation_level=level).isolation_level == "REPEATABLE READ"


@pytest.mark.parametrize("level", ["", "  ", "_"])
def test_empty_level_is_refused(level: str) -> None:
    with pytest.raises(ValueError, match="names no level"):
        SessionPolicy(isolation_level=level)


@pytest.mark.parametrize("keywords", [{"propagation": "required"}, {"read_only": 1}, {"isolation_level": 3}])
def test_value_of_a_wrong_type_is_refused(keywords: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        SessionPolicy(**keywords)


def test_replace_checks_the_new_value() -> None:
    with pytest.raises(ValueError, match="names no level"):
        dataclasses.replace(SessionPolicy(), isolation_level="")


def test_settings_say_nothing_by_default() -> None:
    assert NO_SETTINGS.policy is NO_POLICY
    assert dict(NO_SETTINGS.factories) == {}


def test_retry_shows_what_differs_from_its_defaults() -> None:
    assert (repr(Retry()), repr(Retry(attempts=5, wait_max=1.0))) == ("Retry()", "Retry(attempts=5, wait_max=1.0)")


def test_propagation_shows_as_it_is_written() -> None:
    assert [repr(one) for one in Propagation] == [
        "Propagation.REQUIRED",
        "Propagation.REQUIRES_NEW",
        "Propagation.NESTED",
        "Propagation.MANDATORY",
    ]
