"""Definitions and imports as they are then: annotations, parameters, comments, decorators."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tests.migrate.project import migrate

OLD = "from airflow.utils.session import provide_session\n"
NEW = "from session_aware import NEW_SESSION, auto_session_func\n"


def rewritten(folder: Path, before: str) -> str:
    """Migrate one module, in which everything is rewritten and nothing is left for a second time."""
    outcome = migrate(folder, {"shop.py": dedent(before)})
    assert outcome.refusals == []
    assert migrate(folder, outcome.files).changed == 0
    return outcome.files["shop.py"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("session: Session", "session: Session"),
        ("session: Session | None", "session: Session"),
        ("session: None | Session", "session: Session"),
        ("session: Optional[Session]", "session: Session"),
        ("session: typing.Optional[Session]", "session: Session"),
        ("session: 'Session'", "session: 'Session'"),
        ("session: 'Session | None'", 'session: "Session"'),
        ("session: Optional['Session']", 'session: "Session"'),
        ("session: 'Optional[orm.Session]'", 'session: "orm.Session"'),
        ("session: Tenant | None", "session: Tenant"),
        ("session: 'not an annotation'", "session: 'not an annotation'"),
        ("session: Session | Other", "session: Session | Other"),
        ("session", "session: Session"),
    ],
)
def test_annotation_keeps_its_own_class(before: str, after: str, tmp_path: Path) -> None:
    head = "from sqlalchemy.orm import Session\n"
    source = f"{OLD}{head}@provide_session\ndef f({before}=None): pass\n"
    assert rewritten(tmp_path, source) == f"{NEW}{head}@auto_session_func\ndef f(*, {after} = NEW_SESSION): pass\n"


@pytest.mark.parametrize(
    ("head", "annotation", "new"),
    [
        ("", "Session", "from sqlalchemy.orm import Session\n"),
        ("from sqlalchemy.orm import Query\n", "Session", ""),
        ("from sqlalchemy.orm import *\n", "Session", "from sqlalchemy.orm import Session\n"),
        ("from sqlmodel import Session\n", "Session", ""),
        ("if TYPE_CHECKING:\n    from sqlalchemy.orm import Session\n", '"Session"', ""),
        ("if typing.TYPE_CHECKING:\n    from sqlalchemy.orm import Session\n", '"Session"', ""),
    ],
)
def test_missing_annotation_is_added_with_its_import(head: str, annotation: str, new: str, tmp_path: Path) -> None:
    source = f"{OLD}{head}@provide_session\ndef f(session=None): pass\n"
    head = head.replace("Query", "Query, Session")
    imports = f"{NEW}{head}{new}" if not head.startswith("if") else f"{NEW}{head}"
    assert (
        rewritten(tmp_path, source) == f"{imports}@auto_session_func\ndef f(*, session: {annotation} = NEW_SESSION): pass\n"
    )


def test_missing_annotation_of_a_coroutine(tmp_path: Path) -> None:
    source = f"{OLD}@provide_session\nasync def f(session=None): pass\n"
    assert rewritten(tmp_path, source) == (
        f"{NEW}from sqlalchemy.ext.asyncio import AsyncSession\n"
        "@auto_session_func\nasync def f(*, session: AsyncSession = NEW_SESSION): pass\n"
    )


def test_subclass_of_session_is_a_session(tmp_path: Path) -> None:
    source = """
        from sqlalchemy.orm import Session
        class Tenant(Session): ...
        def f(session: Tenant): session.flush()
        f(Tenant())
    """
    assert "@auto_session_func\ndef f(*, session: Tenant = NEW_SESSION)" in rewritten(tmp_path, source)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def f(a, session): pass", "def f(a, *, session: Session = NEW_SESSION): pass"),
        ("def f(session, a): pass", "def f(a, *, session: Session = NEW_SESSION): pass"),
        ("def f(a, /, session): pass", "def f(a, /, *, session: Session = NEW_SESSION): pass"),
        ("def f(session, *, b): pass", "def f(*, b, session: Session = NEW_SESSION): pass"),
        ("def f(session, **kw): pass", "def f(*, session: Session = NEW_SESSION, **kw): pass"),
        ("def f(*, session, b): pass", "def f(*, session: Session = NEW_SESSION, b): pass"),
        ("def f(*a, session): pass", "def f(*a, session: Session = NEW_SESSION): pass"),
        ("def f(\n    session,\n): pass", "def f(\n    *,\n    session: Session = NEW_SESSION,\n): pass"),
        ("def f(\n    session\n): pass", "def f(\n    *,\n    session: Session = NEW_SESSION\n): pass"),
        (
            "def f(\n    session,  # one\n    a  # two\n): pass",
            "def f(\n    a,  # one\n    *,\n    session: Session = NEW_SESSION  # two\n): pass",
        ),
        (
            "def f(\n    session,  # one\n    a=1,  # two\n): pass",
            "def f(\n    a=1,  # two\n    *,\n    session: Session = NEW_SESSION,  # one\n): pass",
        ),
        (
            "def f(\n    a,  # one\n    # two\n    session=None,  # three\n    **kw,\n): pass",
            "def f(\n    a,  # one\n    # two\n    *,\n    session: Session = NEW_SESSION,  # three\n    **kw,\n): pass",
        ),
    ],
)
def test_parameter_moves_behind_the_star(before: str, after: str, tmp_path: Path) -> None:
    head = "from sqlalchemy.orm import Session\n"
    source = f"{OLD}{head}@provide_session\n{before}\n"
    assert rewritten(tmp_path, source) == f"{NEW}{head}@auto_session_func\n{after}\n"


def test_decorators_keep_their_order_and_comments(tmp_path: Path) -> None:
    before = """
        from sqlalchemy.orm import Session
        from contextlib import contextmanager
        from x import provide_session, other

        class C:
            # one
            @other  # two
            # three
            @provide_session  # four
            def f(self, *, session: Session): pass

            # five
            @staticmethod
            def g(session: Session): session.flush()

            @contextmanager
            def h(self, session: Session): yield session

        C.g(s)
        C().h(s)
    """
    after = """
        from sqlalchemy.orm import Session
        from contextlib import contextmanager
        from x import other
        from session_aware import NEW_SESSION, auto_session_func

        class C:
            # one
            @other  # two
            # three
            @auto_session_func  # four
            def f(self, *, session: Session = NEW_SESSION): pass

            # five
            @auto_session_func
            @staticmethod
            def g(*, session: Session = NEW_SESSION): session.flush()

            @auto_session_func
            @contextmanager
            def h(self, *, session: Session = NEW_SESSION): yield session

        C.g(session=s)
        C().h(session=s)
    """
    assert rewritten(tmp_path, before.lstrip("\n")) == dedent(after).lstrip("\n")


def test_relatives_are_rewritten_together(tmp_path: Path) -> None:
    before = """
        from abc import ABC, abstractmethod
        from sqlalchemy.orm import Session
        from session_aware import auto_session_func, NEW_SESSION
        from x import provide_session
        class A(ABC):
            @provide_session
            @abstractmethod
            def put(self, a, session: Session = None): pass
        class B(A):
            @provide_session
            def put(self, a, session: Session = None): super().put(a, session)
        class C(B):
            @auto_session_func
            def put(self, a, *, session: Session = NEW_SESSION): super().put(a, session)
        class D(C):
            def put(self, a): return None
        def g(a: A): a.put(1, s)
    """
    after = rewritten(tmp_path, before.lstrip("\n"))
    assert after.count("*, session: Session = NEW_SESSION") == 3
    assert after.count("super().put(a, session=session)") == 2
    assert after.endswith("a.put(1, session=s)\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""Doc."""\nimport a\n', '"""Doc."""\nimport a\nfrom session_aware import NEW_SESSION, auto_session_func\n'),
        ('"""Doc."""\n', '"""Doc."""\nfrom session_aware import NEW_SESSION, auto_session_func\n'),
        ("from session_aware import Retry\n", "from session_aware import NEW_SESSION, Retry, auto_session_func\n"),
        (
            "from session_aware import (\n    Retry,\n    configure,\n)\n",
            "from session_aware import (\n    NEW_SESSION,\n    Retry,\n    auto_session_func,\n    configure,\n)\n",
        ),
        (
            "from session_aware import NEW_SESSION, auto_session_func\n",
            "from session_aware import NEW_SESSION, auto_session_func\n",
        ),
        (
            "from session_aware import *\n",
            "from session_aware import *\nfrom session_aware import NEW_SESSION, auto_session_func\n",
        ),
        ("from x import provide_session\n", "from session_aware import NEW_SESSION, auto_session_func\n"),
        (
            "from x import (\n    provide_session,\n    y,\n)\n",
            "from x import (\n    y,\n)\nfrom session_aware import NEW_SESSION, auto_session_func\n",
        ),
        ("from .x import provide_session\n", "from session_aware import NEW_SESSION, auto_session_func\n"),
        ("from . import provide_session\n", "from session_aware import NEW_SESSION, auto_session_func\n"),
        (
            "from x import provide_session as p, provide_session\n",
            "from x import provide_session as p\nfrom session_aware import NEW_SESSION, auto_session_func\n",
        ),
        (
            "# Licence\n\nfrom typing import Optional\n\nimport a\n",
            "# Licence\n\nimport a\nfrom session_aware import NEW_SESSION, auto_session_func\n",
        ),
        (
            "from typing import Optional\n\nimport a\n",
            "import a\nfrom session_aware import NEW_SESSION, auto_session_func\n",
        ),
        (
            "from typing import Optional\n__all__ = ['Optional']\n",
            f"from typing import Optional\n{NEW}__all__ = ['Optional']\n",
        ),
        (
            "if 1:\n    from x import provide_session\n",
            "from session_aware import NEW_SESSION, auto_session_func\n\n\nif 1:\n    pass\n",
        ),
    ],
)
def test_imports_are_mended(before: str, after: str, tmp_path: Path) -> None:
    annotation = "Optional[orm.Session]" if "Optional" in before else "orm.Session"
    source = f"{before}@provide_session\ndef f(*, session: {annotation} = None): pass\n"
    assert rewritten(tmp_path, source) == f"{after}@auto_session_func\ndef f(*, session: orm.Session = NEW_SESSION): pass\n"


def test_names_that_other_modules_import_stay(tmp_path: Path) -> None:
    files = {
        "shop.py": OLD + "@provide_session\ndef f(*, session): pass\n",
        "star.py": "from x import provide_session\n@provide_session\ndef f(*, session): pass\n",
        "other.py": "from shop import provide_session\nfrom star import *\n",
    }
    outcome = migrate(tmp_path, files)
    assert outcome.refusals == []
    assert outcome.files["shop.py"].startswith(OLD + NEW)
    assert outcome.files["star.py"].startswith("from x import provide_session\n")


def test_sentinel_of_the_old_library_gives_way_beside_what_is_left_alone(tmp_path: Path) -> None:
    before = """
        from airflow.utils.session import NEW_SESSION, provide_session
        from sqlalchemy.orm import Session

        @provide_session
        def f(session: Session = NEW_SESSION): session.flush()

        @provide_session
        def g(session: Session = NEW_SESSION): session.commit()

        def h(): pass
    """
    outcome = migrate(tmp_path, {"shop.py": dedent(before).lstrip("\n")})
    assert outcome.refusals == [
        "shop.py:8: g: it ends or begins the transaction: line 8 calls session.commit(), which is the owner's"
    ]
    assert outcome.files["shop.py"] == dedent("""
        from airflow.utils.session import provide_session
        from sqlalchemy.orm import Session
        from session_aware import NEW_SESSION, auto_session_func

        @auto_session_func
        def f(*, session: Session = NEW_SESSION): session.flush()

        @provide_session
        def g(session: Session = NEW_SESSION): session.commit()

        def h(): pass
    """).lstrip("\n")
    assert migrate(tmp_path, outcome.files).changed == 0


def test_own_decorator_may_have_the_name_of_ours(tmp_path: Path) -> None:
    files = {
        "database.py": "def auto_session_func(f):\n    return lambda *a, **k: f(*a, **{'session': Session(), **k})\n",
        "shop.py": "from database import auto_session_func\n@auto_session_func\ndef f(*, session): pass\n",
        "more.py": "import database\n@database.auto_session_func\ndef f(*, session): pass\n",
    }
    outcome = migrate(tmp_path, files, decorators=["database.auto_session_func"])
    assert outcome.files["database.py"] == files["database.py"]
    new = "from sqlalchemy.orm import Session\n@auto_session_func\ndef f(*, session: Session = NEW_SESSION): pass\n"
    assert outcome.files["shop.py"] == NEW + new
    assert outcome.files["more.py"] == "import database\n" + NEW + new
    assert migrate(tmp_path, outcome.files, decorators=["database.auto_session_func"]).changed == 0


def test_functions_that_others_call_are_none_of_ours(tmp_path: Path) -> None:
    source = """
        from sqlalchemy.orm import Session
        from session_aware import NEW_SESSION, auto_session_func
        class C:
            def __init__(self, session: Session | None = None): self.session = session
        def test_it(session: Session): session.flush()
        def route(session: Session = Depends(scope)): session.flush()
        def required(*, session: Session): session.flush()
        def http(session: requests.Session | None = None): session.get()
        def unknown(session): session.get()
        def done(*, session: Session = NEW_SESSION): session.flush()
        @auto_session_func
        def decorated(*, session: Session | None = None): session.flush()
        def several(*session): session.flush()
    """
    outcome = migrate(tmp_path, {"shop.py": dedent(source)})
    assert (outcome.changed, outcome.refusals) == (0, [])


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-8-sig"])
def test_bytes_of_the_rest_stay(encoding: str, tmp_path: Path) -> None:
    head = "# -*- coding: latin-1 -*-\r\n" if encoding == "latin-1" else ""
    before = (
        head + OLD.replace("\n", "\r\n") + "x = 'é'\t# ü  \r\n@provide_session\r\ndef f(*, session: S): pass\r\n\x0c\r\n"
    )
    (tmp_path / "shop.py").write_bytes(before.encode(encoding))
    assert migrate(tmp_path, {}).changed == 1
    after = (
        before.replace(OLD.strip(), NEW.strip())
        .replace("provide_session", "auto_session_func")
        .replace(": S)", ": S = NEW_SESSION)")
    )
    assert (tmp_path / "shop.py").read_bytes() == after.encode(encoding)
