"""Random programs, performed by the library on real databases, against the model.

Compared are the whole order of events (session opened, BEGIN, SAVEPOINT, RELEASE, ROLLBACK TO, COMMIT, ROLLBACK, session
closed, nested warning, item of a stream, how each call ended, by the identity of the exception), the committed rows, and
that no session and no connection is left.

The default is a fixed set of programs. For a long run with other ones each time:

    PROPERTIES_EXAMPLES=20000 python -m pytest tests/properties
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

from session_aware import Propagation, SessionPolicy
from session_aware._unit import nesting
from tests.properties.houses import House, async_house, sync_house
from tests.properties.programs import Body, Call, Fail, Finish, How, Misuse, Read, Stream, Try, Write, programs
from tests.servers.postgresql import PostgreSQL

_EXAMPLES = os.environ.get("PROPERTIES_EXAMPLES")
_performance = settings(
    max_examples=int(_EXAMPLES or 150),
    derandomize=_EXAMPLES is None,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

_nested = How(policy=SessionPolicy(propagation=Propagation.NESTED), is_given=True)
_read_only = How(policy=SessionPolicy(read_only=True))
# What a long run once found, and what a short one may miss.
_release_failed: Body = (Call(How(), (Write(), Try((Call(_nested, (Try((Fail(),)),)),)))),)
_read_only_ended: Body = (Call(_read_only, (Misuse(is_commit=False),)), Call(How(), (Write(),)))
_closed_early: Body = (Read((Stream(How(), ((Write(),), (Write(),)), catches=False, finish=Finish.CLOSE),), (0,)),)


@pytest.fixture(autouse=True)
def _far_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look up the whole stack: the frames of the player lie between a body and the next one."""
    monkeypatch.setattr(nesting, "_SEARCH", range(100_000))


@pytest.fixture(scope="session", params=["sqlite", "psycopg"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    def server() -> PostgreSQL:
        found = request.getfixturevalue("postgresql")
        assert isinstance(found, PostgreSQL)
        return found

    with sync_house(request.param, tmp_path_factory.mktemp("lanes"), server) as made:
        yield made


@pytest.fixture(scope="session", params=["aiosqlite", "psycopg", "asyncpg"])
def asynchronous_house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    def server() -> PostgreSQL:
        found = request.getfixturevalue("postgresql")
        assert isinstance(found, PostgreSQL)
        return found

    with async_house(request.param, tmp_path_factory.mktemp("lanes"), server) as made:
        yield made


@_performance
@given(program=programs)
@example(program=_release_failed)
@example(program=_read_only_ended)
@example(program=_closed_early)
def test_programs_end_as_the_model_says(house: House, program: Body) -> None:
    seen, expected = house.perform(program)
    assert seen.log == expected.log
    assert seen.rows == expected.rows
    assert seen.left == expected.left


@_performance
@given(program=programs)
@example(program=_release_failed)
@example(program=_read_only_ended)
@example(program=_closed_early)
def test_async_programs_end_as_the_model_says(asynchronous_house: House, program: Body) -> None:
    seen, expected = asynchronous_house.perform(program)
    assert seen.log == expected.log
    assert seen.rows == expected.rows
    assert seen.left == expected.left
