"""Each guide's "before" becomes its "after", and both leave the same rows."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import text

from session_aware import configure
from tests.migrate.project import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDES: Final = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")

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
    [section] = [one for one in re.split(r"\n#{2,3} ", GUIDES) if re.match(rf"From .*{title}", one)]
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


DECORATOR: Final = ["shop.database.with_session"]


@pytest.mark.parametrize(
    ("title", "decorators"),
    [("given none", []), ("of your own", DECORATOR), ("Airflow", []), ("Rucio", [])],
)
def test_before_becomes_after(title: str, decorators: list[str], tmp_path: Path) -> None:
    before, after = guide(title)
    files = {"shop/__init__.py": "", "shop/accounts.py": before}
    outcome = migrate(tmp_path, files, decorators=decorators)
    assert outcome.refusals == []
    assert outcome.files["shop/accounts.py"] == after
    again = migrate(tmp_path, outcome.files, decorators=decorators)
    assert (again.changed, again.refusals) == (0, [])


def test_session_in_the_surroundings_is_reported_and_kept(tmp_path: Path) -> None:
    before, after = guide("in the surroundings")
    outcome = migrate(tmp_path, {"accounts.py": before})
    said = "declare '*, session: Session = NEW_SESSION', use that, and let callers pass theirs on"
    assert outcome.refusals == [
        f"accounts.py:6: rename: it takes a session from its surroundings: 'db.session'; {said}",
        f"accounts.py:10: rename_all: it takes a session from its surroundings: 'db.session'; {said}",
    ]
    assert outcome.changed == 0
    assert migrate(tmp_path, {"accounts.py": after}).refusals == []


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


def test_guides_name_every_known_source() -> None:
    assert len(re.findall(r"^### From ", GUIDES, re.MULTILINE)) == 5
