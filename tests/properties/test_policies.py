"""Properties of policies, plans and overrides that need no database."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session, sessionmaker

from session_aware import Propagation, PropagationError, SessionAwareService, SessionPolicy, override_session_factory
from session_aware._call.factory import find
from session_aware._call.plan import plan
from session_aware._unit.policy import merge
from session_aware._unit.request import Plan
from tests.properties.programs import policies

_quick = settings(deadline=None, derandomize=True, database=None)
_FIELDS = [field.name for field in dataclasses.fields(SessionPolicy)]


@_quick
@given(st.lists(policies, max_size=4))
def test_merged_policy_says_what_the_nearest_said(said: list[SessionPolicy]) -> None:
    merged = merge(*said)
    for name in _FIELDS:
        values = [value for policy in said if (value := getattr(policy, name)) is not None]
        assert getattr(merged, name) == (values[0] if values else None)


@_quick
@given(policies, policies, policies)
def test_merge_may_be_done_in_any_grouping(near: SessionPolicy, middle: SessionPolicy, far: SessionPolicy) -> None:
    assert merge(merge(near, middle), far) == merge(near, middle, far) == merge(near, merge(middle, far))


@_quick
@given(policies)
def test_silence_and_repetition_change_no_policy(policy: SessionPolicy) -> None:
    assert merge(policy, SessionPolicy()) == merge(SessionPolicy(), policy) == merge(policy, policy) == policy


@_quick
@given(policies, policies, st.sampled_from(_FIELDS))
def test_replacing_a_value_before_the_merge_or_after_it_is_the_same(
    near: SessionPolicy, far: SessionPolicy, name: str
) -> None:
    value = {name: getattr(near, name)}
    if value[name] is not None:
        only = SessionPolicy(**value)
        assert merge(only, far) == dataclasses.replace(far, **value)
        assert merge(near, far) == merge(only, dataclasses.replace(near, **{name: None}), far)


@_quick
@given(policies, st.booleans())
def test_every_call_has_one_plan_or_is_refused(policy: SessionPolicy, is_given: bool) -> None:
    refused = Propagation.REQUIRES_NEW if is_given else Propagation.MANDATORY
    if policy.propagation is refused:
        with pytest.raises(PropagationError):
            plan(policy, is_given=is_given, name="f")
        return
    chosen = plan(policy, is_given=is_given, name="f")
    assert (chosen is Plan.OPEN) is not is_given
    assert (chosen is Plan.SAVEPOINT) is (is_given and policy.propagation is Propagation.NESTED)
    assert chosen is not Plan.JOIN or policy.isolation_level is None


@_quick
@given(policies, st.booleans())
def test_read_only_never_changes_the_plan(policy: SessionPolicy, is_given: bool) -> None:
    if policy.propagation is (Propagation.REQUIRES_NEW if is_given else Propagation.MANDATORY):
        return
    variants = [dataclasses.replace(policy, read_only=value) for value in (None, False, True)]
    plans = {plan(variant, is_given=is_given, name="f") for variant in variants}
    assert len(plans) == 1


class _Base(SessionAwareService, session_factory=sessionmaker()):
    pass


class _Derived(_Base):
    pass


class _Other(SessionAwareService, session_factory=sessionmaker()):
    pass


_SERVICES = [None, _Base, _Derived, _Other]


@_quick
@given(st.lists(st.sampled_from(_SERVICES), max_size=5), st.sampled_from([_Base, _Derived, _Other]), st.booleans())
def test_innermost_override_that_fits_wins_and_none_outlives_its_block(
    overridden: list[type | None],
    called: type,
    read_only: bool,
) -> None:
    def factory() -> object:
        return find({}, {}, called, is_async=False, read_only=read_only, name="f")

    before = factory()
    expected: list[object] = [before]
    with ExitStack() as blocks:
        for service in overridden:
            maker: sessionmaker[Session] = sessionmaker()
            blocks.enter_context(override_session_factory(service, maker))
            expected.append(maker if service is None or issubclass(called, service) else expected[-1])
            assert factory() is expected[-1]
    assert factory() is before
