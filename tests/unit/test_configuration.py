"""``_configuration`` and ``configure``: what holds for the whole process."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import sessionmaker

from session_aware import Propagation, SessionFactoryError, SessionPolicy, configure
from session_aware._unit import configuration
from session_aware._unit.configuration import NO_SETTINGS
from session_aware._unit.policy import NO_POLICY

MAKER = sessionmaker()


def test_nothing_is_configured_at_first() -> None:
    assert configuration.settings is NO_SETTINGS


def test_what_is_not_named_stays_as_it_was() -> None:
    configure(session_factory=MAKER, propagation=Propagation.NESTED)
    configure(read_only=True)
    settings = configuration.settings
    assert settings.policy == SessionPolicy(propagation=Propagation.NESTED, read_only=True)
    assert dict(settings.factories) == {"session_factory": MAKER}


def test_explicit_none_takes_a_setting_back() -> None:
    configure(session_factory=MAKER, propagation=Propagation.NESTED, read_only=True, isolation_level="SERIALIZABLE")
    configure(session_factory=None, propagation=None, isolation_level=None)
    settings = configuration.settings
    assert settings.policy == SessionPolicy(read_only=True)
    assert dict(settings.factories) == {}


def test_call_without_arguments_changes_nothing() -> None:
    configure(session_factory=MAKER)
    before = configuration.settings
    configure()
    assert configuration.settings == before


def test_each_factory_has_its_keyword() -> None:
    other = async_sessionmaker()
    configure(
        session_factory=MAKER, read_session_factory=MAKER, async_session_factory=other, async_read_session_factory=other
    )
    assert dict(configuration.settings.factories) == {
        "session_factory": MAKER,
        "read_session_factory": MAKER,
        "async_session_factory": other,
        "async_read_session_factory": other,
    }


def test_refused_factory_changes_nothing() -> None:
    configure(session_factory=MAKER)
    with pytest.raises(SessionFactoryError):
        configure(read_only=True, session_factory=async_sessionmaker())  # type: ignore[arg-type] # this is the point
    assert configuration.settings.policy == SessionPolicy()
    assert dict(configuration.settings.factories) == {"session_factory": MAKER}


def test_refused_policy_changes_nothing() -> None:
    with pytest.raises(ValueError, match="names no level"):
        configure(session_factory=MAKER, isolation_level="")
    assert configuration.settings is NO_SETTINGS


def test_policy_that_says_nothing_is_the_one_that_calls_compare_with() -> None:
    configure(observer=print)
    assert configuration.settings.policy is NO_POLICY
    configure(read_only=True)
    configure(read_only=None)
    assert configuration.settings.policy is NO_POLICY


def test_configured_factories_cannot_be_changed_in_place() -> None:
    configure(session_factory=MAKER)
    with pytest.raises(TypeError):
        configuration.settings.factories["session_factory"] = None  # type: ignore[index] # this is the point
