"""The manual's page on migrating: what stands before and after leaves the same rows, and its traps are as it says."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import session_aware
from session_aware import (
    NEW_SESSION,
    Propagation,
    PropagationError,
    SessionAwareError,
    SessionAwareService,
    SessionFactoryError,
    SessionOwnershipError,
    SessionParameterError,
    auto_session_func,
    configure,
    describe,
)
from tests.ledger import Account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases import SyncDatabase

PAGE: Final = Path(session_aware.__file__).parent.joinpath("manual", "migrating.md").read_text(encoding="utf-8")

OLD: Final = '''
"""The idioms in our own words: what a project had before."""

from contextlib import contextmanager
from functools import wraps
from types import SimpleNamespace

from sqlalchemy import create_engine
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.pool import StaticPool

engine = create_engine("sqlite://", poolclass=StaticPool)
Sessions = sessionmaker(engine)
registry = scoped_session(Sessions)
db = SimpleNamespace(session=registry)


def with_session(func):
    @wraps(func)
    def wrapper(*args, **kwargs):
        if "session" in kwargs or "session" in func.__code__.co_varnames[: len(args)]:
            return func(*args, **kwargs)
        with Sessions.begin() as new:
            return func(*args, session=new, **kwargs)

    return wrapper


def stream_session(func):
    @wraps(func)
    def wrapper(*args, **kwargs):
        with Sessions() as new:
            yield from func(*args, **{"session": new, **kwargs})

    return wrapper


provide_session = transactional_session = read_session = with_session
NEW_SESSION = None
'''


def guide(title: str) -> tuple[str, str]:
    """Return what stands before and after beneath a heading that contains ``title``."""
    [section] = [one for one in re.split(r"\n## ", PAGE) if re.match(rf"From .*{title}", one)]
    before, after = re.findall(r"^```py\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return before, after


@contextmanager
def loaded(source: str) -> Iterator[tuple[ModuleType, ModuleType]]:
    """Run a guide's code on an SQLite database of its own, in a project that defines what it imports."""
    names = ["shop", "shop.database", "airflow", "airflow.utils", "airflow.utils.session"]
    names += ["rucio", "rucio.db", "rucio.db.sqla", "rucio.db.sqla.session"]
    old = ModuleType("shop.database")
    exec(OLD, vars(old))  # noqa: S102 - the test's own words
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setitem(sys.modules, name, old)
        with old.engine.begin() as connection:
            connection.execute(text("CREATE TABLE account (id INTEGER PRIMARY KEY, name TEXT)"))
            connection.execute(text("INSERT INTO account VALUES (1, 'ann'), (2, 'bob')"))
        configure(session_factory=old.Sessions)
        module = ModuleType("accounts")
        exec(compile(source, "accounts.py", "exec", dont_inherit=True), vars(module))  # noqa: S102 - likewise
        yield old, module
        old.registry.remove()
        old.engine.dispose()


def rows(old: ModuleType) -> list[tuple[int, str]]:
    with old.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text("SELECT id, name FROM account ORDER BY id"))]


@pytest.mark.parametrize("title", ["given none", "of your own", "Airflow", "in the surroundings"])
@pytest.mark.parametrize("which", [0, 1], ids=["before", "after"])
def test_rows_are_the_same_before_and_after(title: str, which: int) -> None:
    with loaded(guide(title)[which]) as (old, module):
        accounts = module.Accounts() if hasattr(module, "Accounts") else module
        accounts.rename_all({1: "eve", 2: "mal"})
        assert rows(old) == [(1, "eve"), (2, "mal")]
        with pytest.raises(LookupError), old.Sessions.begin() as session:
            if title != "in the surroundings" or which:
                accounts.rename(1, "ann", session=session)
            raise LookupError
        assert rows(old) == [(1, "eve"), (2, "mal")]


@pytest.mark.parametrize("which", [0, 1], ids=["before", "after"])
def test_rows_of_rucio_are_the_same_before_and_after(which: int) -> None:
    with loaded(guide("Rucio")[which]) as (old, module):
        module.rename(1, "eve")
        assert (module.count(), list(module.names())) == (2, ["eve", "bob"])
        with old.Sessions() as session:
            module.rename(2, "mal", session=session)
            assert (module.count(session=session), list(module.names(session=session))) == (2, ["eve", "mal"])
            session.rollback()
        assert rows(old) == [(1, "eve"), (2, "bob")]


def test_page_has_five_ways() -> None:
    assert len(re.findall(r"^## From ", PAGE, re.MULTILINE)) == 5


# What to look out for.


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[scoped_session[Session]]:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.sqlite'}", connect_args={"timeout": 0})
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE account (id INTEGER PRIMARY KEY, name TEXT)"))
        connection.execute(text("INSERT INTO account VALUES (1, 'ann'), (2, 'bob')"))
    registry = scoped_session(sessionmaker(engine))
    configure(session_factory=registry.session_factory)
    yield registry
    registry.remove()
    engine.dispose()


@auto_session_func
def names(*, session: Session = NEW_SESSION) -> Iterator[str]:
    yield from session.scalars(text("SELECT name FROM account ORDER BY id"))


@auto_session_func
def handed_on(*, session: Session = NEW_SESSION) -> Iterator[str]:
    return names(session=session)


@auto_session_func
def streamed_on(*, session: Session = NEW_SESSION) -> Iterator[str]:
    yield from names(session=session)


@auto_session_func
def rename(name: str, *, session: Session = NEW_SESSION) -> None:
    session.execute(text("UPDATE account SET name = :name WHERE id = 1"), {"name": name})


@auto_session_func
def rename_in_two_steps(*, session: Session = NEW_SESSION) -> None:
    rename("eve", session=session)
    session.commit()
    rename("mal", session=session)


@auto_session_func(read_only=True)
def locking(*, session: Session = NEW_SESSION) -> None:
    session.execute(select(Account).with_for_update())


@auto_session_func(read_only=True)
def filling(*, session: Session = NEW_SESSION) -> None:
    session.execute(text("CREATE TEMPORARY TABLE wanted AS SELECT 1"))


@auto_session_func(propagation=Propagation.MANDATORY)
def required(*, session: Session = NEW_SESSION) -> None:
    rename("eve", session=session)


class Helped(SessionAwareService):
    def _load(self, session: Session, number: int) -> str:
        return str(session.scalar(text("SELECT name FROM account WHERE id = :id"), {"id": number}))

    def both(self, *, session: Session = NEW_SESSION) -> list[str]:
        return [self._load(session, 1), self._load(session, 2)]


@pytest.mark.usefixtures("registry")
def test_a_stream_is_not_handed_on_but_yielded_from() -> None:
    with pytest.raises(SessionAwareError, match="generator"):
        handed_on()
    assert list(streamed_on()) == ["ann", "bob"]


@pytest.mark.usefixtures("registry")
def test_a_session_that_was_required_is_so_by_mandatory() -> None:
    with pytest.raises(PropagationError):
        required()


@pytest.mark.usefixtures("registry")
def test_a_commit_in_the_middle_is_refused() -> None:
    with pytest.raises(SessionOwnershipError):
        rename_in_two_steps()


@pytest.mark.usefixtures("registry")
def test_a_private_helper_keeps_its_positional_session_and_show_names_it() -> None:
    assert Helped().both() == ["ann", "bob"]
    assert any("_load" in finding for finding in describe(Helped).findings)


def test_a_positional_session_is_refused_with_a_default_or_below_the_decorator() -> None:
    def load(session: Session) -> None: ...

    def load_optional(self: object, session: Session | None = None) -> None: ...

    with pytest.raises(SessionParameterError):
        auto_session_func(load)
    with pytest.raises(SessionParameterError):
        type("Refused", (SessionAwareService,), {"load": load_optional})


def test_a_registry_has_a_session_of_its_own_which_is_passed(registry: scoped_session[Session]) -> None:
    registry.execute(text("UPDATE account SET name = 'eve' WHERE id = 1"))
    assert list(names()) == ["ann", "bob"]
    with pytest.raises(OperationalError, match="locked"):
        rename("mal")
    assert list(names(session=registry())) == ["eve", "bob"]
    rename("mal", session=registry())
    assert list(names(session=registry())) == ["mal", "bob"]
    with pytest.raises(SessionFactoryError):
        configure(session_factory=registry)


def test_a_function_that_reads_is_not_read_only_if_it_locks_or_fills_a_table(postgres: SyncDatabase) -> None:
    configure(session_factory=sessionmaker(postgres.engine))
    for body in (locking, filling):
        with pytest.raises(InternalError, match="read-only transaction"):
            body()
