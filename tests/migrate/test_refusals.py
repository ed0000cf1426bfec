"""What is left alone, and the sentence that says so, in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.migrate.project import migrate

HEAD = """\
import functools
from contextlib import nullcontext
from airflow.utils.session import provide_session
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, sessionmaker
Sessions = sessionmaker()
"""


def refused(folder: Path, body: str, **others: str) -> list[str]:
    """Migrate ``shop.py`` and other modules; nothing may change."""
    files = {"shop.py": HEAD + body, **{f"{name}.py": source for name, source in others.items()}}
    outcome = migrate(folder, files)
    assert (outcome.changed, outcome.files) == (0, files)
    return list(outcome.refusals)


DANCE = "    with nullcontext(session) if session else Sessions() as session:\n        session.flush()\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "def f(session: Session | None = None):\n    return g(session)\n",
            "f: it opens no session in a known way: 'session' may be None, and what it does then is for you to say",
        ),
        (
            "def f(session: Session):\n    '''To do.'''\n    raise NotImplementedError\nf(s)\n",
            "f: it has no body: what implements it may take 'session' positionally",
        ),
        (
            "def f(a, session: Session):\n    session.flush()\n",
            "f: nothing in the tree calls it: who passes the session is not known",
        ),
        (
            "def outer():\n    def f(session: Session):\n        session.flush()\n    f(s)\n",
            "outer.<locals>.f: it is defined inside a function: move it out, or rewrite it by hand",
        ),
        (
            "@provide_session\ndef f(*args, session=None):\n    session.commit()\n",
            "f: it ends or begins the transaction: line 9 calls session.commit(), which is the owner's",
        ),
        (
            "@provide_session\ndef f(session: Session = None):\n    session = session or 1\n",
            "f: it binds 'session' anew: line 9",
        ),
        (
            "@provide_session\ndef f(session: Session = None):\n    return (row for row in session.scalars(1))\n",
            "f: it returns a generator expression: line 9 is read after the session is closed; return a list",
        ),
        (
            "@provide_session\nasync def f(session: Session):\n    pass\n",
            "f: its session is of the other kind: 'async def' is given AsyncSession, not Session",
        ),
        (
            "@provide_session\ndef f(session: AsyncSession):\n    pass\n",
            "f: its session is of the other kind: 'def' is given Session, not AsyncSession",
        ),
        (
            "@provide_session\ndef f(session: Session, *args):\n    pass\n",
            "f: it takes *args: without 'session' in front of them its calls would mean something else",
        ),
        (
            "@provide_session\ndef f(session: Session, /):\n    pass\n",
            "f: its 'session' is positional-only: callers may name theirs differently; rewrite it by hand",
        ),
        (
            "class C:\n    @provide_session\n    def __call__(self, session: Session):\n        pass\n",
            "C.__call__: it is a special method: Python calls it, with positional arguments",
        ),
        (
            "@app.task()\ndef f(session: Session):\n    session.flush()\n",
            "f: another decorator may call it: what '@app.task' passes to it is not known",
        ),
        (
            "@tasks[0]\n@provide_session\ndef f(session: Session):\n    session.flush()\n",
            "f: another decorator may call it: what '@...' passes to it is not known",
        ),
        (
            "@provide_session\n@read_session\ndef f(*, session: Session):\n    session.flush()\n",
            "f: several of its decorators give it a session: provide_session, read_session",
        ),
        (
            "@provide_session(level=1)\ndef f(*, session: Session):\n    session.flush()\n",
            "f: its decorator has options: '@provide_session(level=1)'; say as options of @auto_session_func what they mean",
        ),
        (
            f"def f(engine, session: Session | None = None):\n{DANCE.replace('Sessions()', 'Session(engine)')}",
            "f: it opens its session from something of its own: 'engine' is not known outside of it",
        ),
        (
            f"def f(session: Session | None = None):\n{DANCE.replace('session:', 'session:  # ours')}",
            "f: a comment stands in code that would go: line 8",
        ),
    ],
)
def test_reason_and_detail(body: str, message: str, tmp_path: Path) -> None:
    [found] = refused(tmp_path, body)
    assert found.partition(" ")[2] == message


F = "@provide_session\ndef f(a, session: Session = None):\n    session.flush()\n"
M = "class C:\n    @provide_session\n    def put(self, a, session: Session = None):\n        session.flush()\n"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (F + "g = f\n", "shop.py:10 uses it as a value, so its calls cannot be seen"),
        (F + "g = functools.partial(f, 1)\n", "shop.py:10 uses it as a value, so its calls cannot be seen"),
        (F + "f(*rows)\n", "shop.py:10 passes *args"),
        (F + "f(1, s, **rest)\n", "shop.py:10 passes 'session' positionally together with **kwargs"),
        (F + "getattr(shop, 'f')(1, s)\n", "shop.py:10 takes it by getattr"),
        (F + "shop = load()\nshop.f(1, session)\n", "shop.py:11 calls it, or something of its name, through a variable"),
    ],
)
def test_use_of_a_function_that_is_not_understood(body: str, why: str, tmp_path: Path) -> None:
    assert refused(tmp_path, body) == [f"shop.py:8: f: a use of it is not understood: {why}"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("C.put(C(), 1, s)\n", "shop.py:11 names it through its class"),
        ("class D(C): pass\nD.put(D(), 1, s)\n", "shop.py:12 names it through its class"),
        ("x.put(1, 2)\n", "shop.py:11 calls it through an object of unknown class, with what may be no session"),
        ("x.put(*rows)\n", "shop.py:11 calls it through an object of unknown class, with what may be no session"),
        (
            "class D:\n    def put(self): pass\nx.put(1, session)\n",
            "shop.py:13 calls it through an object of unknown class, and 2 definitions have its name",
        ),
        ("register(x.put)\n", "shop.py:11 uses it, or something of its name, as a value"),
        ("register(C().put)\n", "shop.py:11 uses it as a value, so its calls cannot be seen"),
    ],
)
def test_use_of_a_method_that_is_not_understood(body: str, why: str, tmp_path: Path) -> None:
    assert refused(tmp_path, M + body) == [f"shop.py:9: C.put: a use of it is not understood: {why}"]


def test_import_that_may_mean_two_things(tmp_path: Path) -> None:
    other = "try:\n    from shop import f\nexcept ImportError:\n    from there import f\nf(1, s)\n"
    why = "other.py:5 may mean it or something else"
    assert refused(tmp_path, F, other=other) == [f"shop.py:8: f: a use of it is not understood: {why}"]


def test_module_that_stands_in_two_places(tmp_path: Path) -> None:
    files = {"shop.py": HEAD + F, "old/shop.py": "", "other.py": "from shop import f\nf(1, s)\n"}
    why = "other.py:2 may mean it or something else"
    assert migrate(tmp_path, files).refusals == [f"shop.py:8: f: a use of it is not understood: {why}"]


def test_definition_that_stands_twice(tmp_path: Path) -> None:
    why = "it is defined more than once: line 8, line 11"
    assert refused(tmp_path, F + F) == [f"shop.py:8: f: {why}", f"shop.py:11: f: {why}"]


def test_base_from_outside_of_the_tree(tmp_path: Path) -> None:
    body = M.replace("C:", "C(Base):").replace("class", "from there import Base\nclass")
    why = "it may override a method from outside of the tree: of the base 'there.Base'"
    assert refused(tmp_path, body) == [f"shop.py:10: C.put: {why}"]


def test_base_without_a_name(tmp_path: Path) -> None:
    why = "it may override a method from outside of the tree: of the base '?'"
    assert refused(tmp_path, M.replace("C:", "C(make()):")) == [f"shop.py:9: C.put: {why}"]


def test_relative_that_is_left_alone(tmp_path: Path) -> None:
    body = M + "class D(C):\n    @app.task\n    def put(self, a, session: Session):\n        super().put(a, session)\n"
    assert refused(tmp_path, body) == [
        "shop.py:9: C.put: it belongs together with a method that is left alone: D.put at shop.py:13",
        "shop.py:13: D.put: another decorator may call it: what '@app.task' passes to it is not known",
    ]


def test_relative_with_the_session_elsewhere(tmp_path: Path) -> None:
    body = M + "class D(C):\n    @provide_session\n    def put(self, session: Session = None):\n        session.flush()\n"
    assert refused(tmp_path, body) == [
        "shop.py:9: C.put: it belongs together with a method that is left alone: D.put at shop.py:13",
        "shop.py:13: D.put: it belongs together with a method that is left alone: C.put at shop.py:9",
    ]


def test_decorator_that_passes_something_else(tmp_path: Path) -> None:
    own = (
        "def with_session(f):\n    return lambda *args: f(Session(), *args)\n@with_session\ndef f(session: Session): pass\n"
    )
    files = {"shop.py": HEAD + own}
    outcome = migrate(tmp_path, files, decorators=["shop.with_session"])
    why = "its decorator does not pass 'session' by name: '@with_session' at shop.py:7"
    assert (outcome.changed, outcome.refusals) == (0, [f"shop.py:10: f: {why}"])


@pytest.mark.parametrize(
    ("before", "line"),
    [
        ("def auto_session_func(f): pass\n", 7),
        ("auto_session_func = 1\n", 7),
        ("class auto_session_func: pass\n", 7),
        ("from there import auto_session_func\nauto_session_func(f)\n", 8),
    ],
)
def test_name_of_ours_that_means_something_else(before: str, line: int, tmp_path: Path) -> None:
    at = 8 + before.count("\n")
    why = f"a name is taken: 'auto_session_func' means something else in this module, and line {line} needs it"
    assert refused(tmp_path, before + F) == [f"shop.py:{at}: f: {why}"]


def test_sentinel_that_means_something_else(tmp_path: Path) -> None:
    before = "from airflow.utils.session import NEW_SESSION\ndef g(session: Session):\n    return session is NEW_SESSION\n"
    [found] = [one for one in refused(tmp_path, before + F) if ": f: " in one]
    assert found == "shop.py:11: f: a name is taken: 'NEW_SESSION' means something else in this module, and line 9 needs it"


def test_session_class_that_means_something_else(tmp_path: Path) -> None:
    body = "from airflow.utils.session import provide_session\nSession = 1\n@provide_session\ndef f(session=None): pass\n"
    why = "a name is taken: 'Session' means something else in this module; annotate 'session'"
    assert migrate(tmp_path, {"shop.py": body}).refusals == [f"shop.py:4: f: {why}"]


def test_async_session_class_that_means_something_else(tmp_path: Path) -> None:
    body = "AsyncSession = 1\n@provide_session\nasync def f(session=None): pass\n"
    why = "a name is taken: 'AsyncSession' means something else in this module; annotate 'session'"
    assert migrate(tmp_path, {"shop.py": body}).refusals == [f"shop.py:3: f: {why}"]


TWO = f"""\
Others = sessionmaker()
def f(session: Session | None = None):
{DANCE}def g(session: Session | None = None):
{DANCE.replace("Sessions", "Others")}"""


def test_two_factories_without_a_choice(tmp_path: Path) -> None:
    why = "its sessions come from another factory"
    assert refused(tmp_path, TWO) == [
        f"shop.py:8: f: {why}: 'Sessions'; configure() takes one, choose it by --factory",
        f"shop.py:11: g: {why}: 'Others'; configure() takes one, choose it by --factory",
    ]


def test_the_other_factory(tmp_path: Path) -> None:
    outcome = migrate(tmp_path, {"shop.py": HEAD + TWO}, factory="shop.Others")
    why = "its sessions come from another factory: 'Sessions'; configure() takes one, choose it by --factory"
    assert (outcome.changed, outcome.refusals) == (1, [f"shop.py:8: f: {why}"])


def test_file_that_is_no_python(tmp_path: Path) -> None:
    outcome = migrate(tmp_path, {"shop.py": "def f(:\n"})
    assert outcome.refusals == ["shop.py:1: shop.py: it cannot be read: SyntaxError: invalid syntax (<unknown>, line 1)"]


def test_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_bytes(b"x = '\xff'\n")
    [found] = migrate(tmp_path, {}).refusals
    assert found == "shop.py:1: shop.py: it cannot be read: SyntaxError: invalid or missing encoding declaration"


@pytest.mark.parametrize("source", ["db.session", "get_session()", "database.get_session()"])
def test_session_in_the_surroundings(source: str, tmp_path: Path) -> None:
    body = f"def f():\n    {source}.flush()\n    {source}.close()\n"
    said = "declare '*, session: Session = NEW_SESSION', use that, and let callers pass theirs on"
    assert refused(tmp_path, body) == [f"shop.py:7: f: it takes a session from its surroundings: '{source}'; {said}"]
