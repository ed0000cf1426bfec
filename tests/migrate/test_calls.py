"""Calls of what becomes keyword-only: found through imports, scopes, classes and objects."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tests.migrate.project import HEAD, migrate, migrated

SHOP = """\
from airflow.utils.session import provide_session
from sqlalchemy.orm import Session


@provide_session
def rename(number, name, session: Session = None):
    session.flush()


class Accounts:
    @provide_session
    def close(self, number, session: Session = None):
        session.flush()

    @staticmethod
    @provide_session
    def count(session: Session = None):
        session.flush()

    @classmethod
    @provide_session
    def load(cls, session: Session = None):
        session.flush()


class Special(Accounts):
    pass


accounts = Accounts()
typed: Accounts | None = None
"""


def moved(folder: Path, before: str, name: str = "app/caller.py", **others: str) -> str:
    """Migrate a caller of ``app.shop``, where everything is rewritten, and return it."""
    more = {f"app/{other}.py": source for other, source in others.items()}
    files = {"app/__init__.py": "", "app/shop.py": SHOP, **more, name: dedent(before)}
    outcome = migrate(folder, files)
    assert outcome.refusals == []
    assert outcome.files["app/shop.py"].count("*, session: Session = NEW_SESSION") == 4
    assert migrate(folder, outcome.files).changed == 0
    return outcome.files[name]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from app.shop import rename\nrename(1, 'a', s)\n", "rename(1, 'a', session=s)\n"),
        ("from app.shop import rename as r\nr(1, 'a', s)\n", "r(1, 'a', session=s)\n"),
        ("from .shop import rename\nrename(1, 'a', s)\n", "rename(1, 'a', session=s)\n"),
        ("from . import shop\nshop.rename(1, 'a', s)\n", "shop.rename(1, 'a', session=s)\n"),
        ("import app.shop\napp.shop.rename(1, 'a', s)\n", "app.shop.rename(1, 'a', session=s)\n"),
        ("import app.shop as x\nx.rename(1, 'a', s)\n", "x.rename(1, 'a', session=s)\n"),
        ("from app.shop import *\nrename(1, 'a', s)\n", "rename(1, 'a', session=s)\n"),
        ("from app.again import rename\nrename(1, 'a', s)\n", "rename(1, 'a', session=s)\n"),
        ("from app.all import rename\nrename(1, 'a', s)\n", "rename(1, 'a', session=s)\n"),
        ("def g(s):\n    from app.shop import rename\n    rename(1, 'a', s)\n", "    rename(1, 'a', session=s)\n"),
        ("from app.shop import rename\nf = lambda s: rename(1, 'a', s)\n", "f = lambda s: rename(1, 'a', session=s)\n"),
        ("from app.shop import accounts\naccounts.close(1, s)\n", "accounts.close(1, session=s)\n"),
        ("from app.shop import typed\ntyped.close(1, s)\n", "typed.close(1, session=s)\n"),
        ("from app.shop import Accounts\nAccounts().close(1, s)\n", "Accounts().close(1, session=s)\n"),
        ("from app.shop import Special\nSpecial().close(1, s)\n", "Special().close(1, session=s)\n"),
        ("from app.shop import Accounts\nAccounts.count(s)\n", "Accounts.count(session=s)\n"),
        ("from app.shop import Special\nSpecial.count(s)\n", "Special.count(session=s)\n"),
        ("from app.shop import Accounts\nAccounts.load(s)\n", "Accounts.load(session=s)\n"),
        ("import app.shop\napp.shop.Special.load(s)\n", "app.shop.Special.load(session=s)\n"),
        (
            "from app.shop import Accounts\ndef g(a: Accounts): a.close(1, s)\n",
            "def g(a: Accounts): a.close(1, session=s)\n",
        ),
        (
            "from app.shop import Accounts\ndef g(a: 'Accounts'): a.close(1, s)\n",
            "def g(a: 'Accounts'): a.close(1, session=s)\n",
        ),
        ("from app.shop import Accounts\ndef g():\n    a = Accounts()\n    a.close(1, s)\n", "    a.close(1, session=s)\n"),
        (
            "from app.shop import Accounts\nclass D(Accounts):\n    def g(self): self.close(1, s)\n",
            "    def g(self): self.close(1, session=s)\n",
        ),
        (
            "from app.shop import Accounts\nclass D(Accounts):\n    def g(self): super().close(1, s)\n",
            "    def g(self): super().close(1, session=s)\n",
        ),
        ("def g(thing, session): thing.close(1, session)\n", "def g(thing, session): thing.close(1, session=session)\n"),
        ("def g(thing): thing.close(1, thing.db_session)\n", "def g(thing): thing.close(1, session=thing.db_session)\n"),
        ("things[0].close(1, session)\n", "things[0].close(1, session=session)\n"),
    ],
)
def test_call_is_found(before: str, after: str, tmp_path: Path) -> None:
    others = {"again": "from app.shop import rename\n", "all": "from .again import *\nfrom other import *\n"}
    assert moved(tmp_path, before, **others).endswith(after)


@pytest.mark.parametrize(
    "caller",
    [
        "from app.shop import rename\nrename(1, 'a')\nrename(1, 'a', session=s)\nrename(1, **rest)\n",
        "from elsewhere import rename\nrename(1, 'a', s)\n",
        "import elsewhere\nelsewhere.rename(1, 'a', s)\nelsewhere.close(1, s)\n",
        "def rename(a, b, c): ...\nrename(1, 'a', s)\n",
        "def g(rename): rename(1, 'a', s)\n",
        "from app.shop import rename\ndef g(rename): rename(1, 'a', s)\n",
        "class Door:\n    def close(self): ...\n    def g(self): self.close(1, s)\n",
        "class Door:\n    def close(self): ...\nDoor.close\n",
        "thing.close()\n",
        "thing.rename(1, 'a', b)\n",
        "getattr(thing, 'other')\ngetattr(thing, name)\n",
        "'rename, close'\n",
        "thing[rename]()\n",
    ],
)
def test_other_call_stays(caller: str, tmp_path: Path) -> None:
    assert moved(tmp_path, caller) == caller


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("f(s, 1, 2)", "f(1, 2, session=s)"),
        ("f(s, 1, b=2)", "f(1, b=2, session=s)"),
        ("f(s, a=1, b=2)", "f(session=s, a=1, b=2)"),
        ("f(\n    s,  # one\n    1,  # two\n)", "f(\n    1,  # two\n    session=s,  # one\n)"),
        ("f(\n    s,\n    1\n)", "f(\n    1,\n    session=s\n)"),
        ("f(None, 1)", "f(1)"),
        ("f(1, s)", "f(s, session=1)"),
        ("f((s), f(s, 1))", "f(f(1, session=s), session=(s))"),
        ("'é'; f(s, 'é', f(s, 'é'))", "'é'; f('é', f('é', session=s), session=s)"),
        ("f(s)", "f(session=s)"),
        ("f(None)", "f()"),
    ],
)
def test_arguments_keep_their_order_and_lines(before: str, after: str, tmp_path: Path) -> None:
    definition = "def f(session: Session, a=0, b=0):\n    session.flush()\n"
    new = "@auto_session_func\ndef f(a=0, b=0, *, session: Session = NEW_SESSION):\n    session.flush()\n"
    assert migrated(tmp_path, f"{definition}{before}\n") == f"{new}{after}\n"


def test_last_none_goes_with_its_comma(tmp_path: Path) -> None:
    definition = "def f(a, session: Session):\n    session.flush()\n"
    new = "@auto_session_func\ndef f(a, *, session: Session = NEW_SESSION):\n    session.flush()\n"
    assert migrated(tmp_path, f"{definition}f(1, None)\n") == f"{new}f(1)\n"


def test_function_that_only_calls_itself_is_left_alone(tmp_path: Path) -> None:
    outcome = migrate(tmp_path, {"shop.py": HEAD + "def f(session: Session):\n    f(session)\n"})
    assert outcome.refusals == ["shop.py:6: f: nothing in the tree calls it: who passes the session is not known"]


def test_name_of_a_package_wins_over_one_in_it(tmp_path: Path) -> None:
    files = {
        "app/__init__.py": "from app.shop import rename\n",
        "app/shop.py": SHOP,
        "main.py": "import app\napp.rename(1, 'a', s)\napp.missing(s)\n",
    }
    assert migrate(tmp_path, files).files["main.py"] == "import app\napp.rename(1, 'a', session=s)\napp.missing(s)\n"


def test_imports_in_a_circle_end(tmp_path: Path) -> None:
    files = {"a.py": "from b import f\n", "b.py": "from a import f\nf(1, s)\n", "shop.py": SHOP + "rename(1, 'a', s)\n"}
    assert migrate(tmp_path, files).refusals == []


def test_global_names_are_those_of_the_module(tmp_path: Path) -> None:
    caller = "from app.shop import accounts\ndef g(s):\n    global accounts\n    accounts.close(1, s)\n"
    assert moved(tmp_path, caller).endswith("    accounts.close(1, session=s)\n")


def test_names_bound_in_other_ways_are_variables(tmp_path: Path) -> None:
    caller = """
        def g(things, s):
            match things:
                case [rename, *_]:
                    rename(1, 'a', s)
                case {"x": close}:
                    close(1, s)
                case [*rename]:
                    rename(1, 'a', s)
            try:
                pass
            except ValueError as rename:
                rename(1, 'a', s)
    """
    assert moved(tmp_path, caller) == dedent(caller)
