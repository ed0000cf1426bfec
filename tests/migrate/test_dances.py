"""The shapes of ``if session is None``: those that are known, and those that look alike and are not."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tests.migrate.project import HEAD, migrate, migrated

AFTER = """\
@auto_session_func
def f(a, *, session: Session = NEW_SESSION):
    session.add(a)
    return a
"""

KNOWN = {
    "it calls itself": """
        if session is None:
            with Sessions.begin() as session:
                return f(a, session)
        session.add(a)
        return a
    """,
    "it calls itself, then commits": """
        if not session:
            with Sessions() as session:
                result = f(a, session=session)
                session.commit()
                return result
        session.add(a)
        return a
    """,
    "twins": """
        if session is None:
            with Sessions() as session, session.begin():
                session.add(a)
                return a
        else:
            session.add(a)
            return a
    """,
    "twins, one commits": """
        if session is None:
            with Sessions() as session:
                session.add(a)
                session.commit()
                return a
        else:
            session.add(a)
            return a
    """,
    "null context": """
        with nullcontext(session) if session is not None else Sessions() as session:
            session.add(a)
            return a
    """,
    "null context, the other way round": """
        with (
            Sessions.begin() if session is None else contextlib.nullcontext(session)
        ) as session:
            session.add(a)
            return a
    """,
    "flag and choice": """
        own = session is None
        session = Sessions() if own else session
        try:
            session.add(a)
            if own:
                session.commit()
            return a
        except:
            if own:
                session.rollback()
            raise
        finally:
            if own:
                session.close()
    """,
    "flag and or": """
        own = session is None
        session = session or Sessions()
        try:
            session.add(a)
        except Exception:
            if own:
                session.rollback()
            raise
        else:
            if own:
                session.commit()
        finally:
            if own:
                session.close()
        return a
    """,
    "flag and if": """
        own = session is None
        if own:
            session = Sessions()
        try:
            session.add(a)
            return a
        finally:
            if own:
                session.close()
    """,
    "flag that is set": """
        own = False
        if session is None:
            session = Sessions()
            own = True
        try:
            session.add(a)
            return a
        finally:
            if own:
                session.close()
    """,
}


def function(body: str) -> str:
    return "def f(a, session: Session = None):\n" + "".join(
        f"    {line}" if line.strip() else line for line in dedent(body).lstrip("\n").splitlines(keepends=True)
    )


@pytest.mark.parametrize("body", KNOWN.values(), ids=KNOWN)
def test_known_shape_goes(body: str, tmp_path: Path) -> None:
    assert migrated(tmp_path, function(body)) == AFTER


UNKNOWN = {
    "another function is called": """
        if session is None:
            with Sessions() as session:
                return g(a, session)
    """,
    "with something else": """
        if session is None:
            with Sessions() as session:
                return f(1, session)
    """,
    "through another object": """
        if session is None:
            with Sessions() as session:
                return other.f(a, session)
    """,
    "it returns no call": """
        if session is None:
            with Sessions() as session:
                return 1
    """,
    "work before": """
        prepare()
        if session is None:
            with Sessions() as session:
                return f(a, session)
    """,
    "more than the call": """
        if session is None:
            with Sessions() as session:
                prepare()
                return f(a, session)
    """,
    "another name is returned": """
        if session is None:
            with Sessions() as session:
                one = f(a, session)
                return two
    """,
    "two contexts": """
        if session is None:
            with Sessions() as session, lock:
                return f(a, session)
    """,
    "no known factory": """
        if session is None:
            with Sessions as session:
                return f(a, session)
    """,
    "a factory without a name": """
        if session is None:
            with factories[0]() as session:
                return f(a, session)
    """,
    "twins that differ": """
        if session is None:
            with Sessions() as session:
                session.add(a)
        else:
            session.merge(a)
    """,
    "no null context": """
        with scope(session) if session is not None else Sessions() as session:
            session.add(a)
    """,
    "another choice": """
        with nullcontext(session) if a else Sessions() as session:
            session.add(a)
    """,
    "another name": """
        with nullcontext(session) if session else Sessions() as s:
            s.add(a)
    """,
    "a session on the object": """
        with nullcontext(session) if session else 1 as session:
            session.add(a)
    """,
    "it is never closed": """
        own = session is None
        session = Sessions() if own else session
        try:
            session.add(a)
        finally:
            pass
    """,
    "errors go on": """
        own = session is None
        session = Sessions() if own else session
        try:
            session.add(a)
        except Exception:
            if own:
                session.rollback()
        finally:
            if own:
                session.close()
    """,
    "some errors": """
        own = session is None
        session = Sessions() if own else session
        try:
            session.add(a)
        except ValueError:
            if own:
                session.rollback()
            raise
        finally:
            if own:
                session.close()
    """,
    "a return that does not commit": """
        own = session is None
        session = Sessions() if own else session
        try:
            if a:
                return
            session.add(a)
            if own:
                session.commit()
        finally:
            if own:
                session.close()
    """,
    "a return that does not reach the else": """
        own = session is None
        session = Sessions() if own else session
        try:
            return session.add(a)
        except Exception:
            if own:
                session.rollback()
            raise
        else:
            if own:
                session.commit()
        finally:
            if own:
                session.close()
    """,
    "another else": """
        own = session is None
        session = Sessions() if own else session
        try:
            session.add(a)
        except Exception:
            if own:
                session.rollback()
            raise
        else:
            log()
        finally:
            if own:
                session.close()
    """,
    "work after the commit": """
        own = session is None
        session = Sessions() if own else session
        try:
            session.add(a)
            if own:
                session.commit()
            log()
        finally:
            if own:
                session.close()
    """,
    "another use of the flag": """
        own = session is None
        session = Sessions() if own else session
        try:
            session.add(a)
            log(own)
        finally:
            if own:
                session.close()
    """,
    "another test": """
        own = session is None
        session = Sessions() if a else session
        try:
            session.add(a)
        finally:
            if own:
                session.close()
    """,
    "another flag": """
        own = a
        session = session or Sessions()
        try:
            session.add(a)
        finally:
            if own:
                session.close()
    """,
    "more in the if": """
        own = False
        if session is None:
            session = Sessions()
            own = True
            log()
        try:
            session.add(a)
        finally:
            if own:
                session.close()
    """,
    "something between": """
        own = session is None
        log()
        try:
            session.add(a)
        finally:
            if own:
                session.close()
    """,
    "no try": """
        own = session is None
        session = Sessions() if own else session
        session.add(a)
    """,
    "several statements in a line": """
        own = session is None; session = Sessions() if own else session
        try:
            session.add(a)
        finally:
            if own:
                session.close()
    """,
    "several statements in a line of the block": """
        with nullcontext(session) if session else Sessions() as session:
            session.add(a); session.flush()
    """,
}


@pytest.mark.parametrize("body", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_shape_stays(body: str, tmp_path: Path) -> None:
    outcome = migrate(tmp_path, {"shop.py": HEAD + function(body)})
    why = "it opens no session in a known way: 'session' may be None, and what it does then is for you to say"
    assert (outcome.changed, outcome.refusals) == (0, [f"shop.py:6: f: {why}"])


def test_coroutine_method_that_calls_itself(tmp_path: Path) -> None:
    before = """
        from sqlalchemy.ext.asyncio import AsyncSession

        class C:
            async def f(self, a, b=1, *, session: AsyncSession | None = None):
                \"\"\"Do it.\"\"\"
                if session is None:
                    async with Sessions() as session:
                        result = await self.f(a, b=b, session=session)
                        await session.commit()
                        return result
                # the work
                await session.flush()
    """
    after = """
        from sqlalchemy.ext.asyncio import AsyncSession

        class C:
            @auto_session_func
            async def f(self, a, b=1, *, session: AsyncSession = NEW_SESSION):
                \"\"\"Do it.\"\"\"
                # the work
                await session.flush()
    """
    assert migrated(tmp_path, before) == dedent(after)


def test_function_with_arguments_that_it_cannot_pass_on_by_name(tmp_path: Path) -> None:
    body = """\
        def f(session: Session = None, **rest):
            if not session:
                with Sessions() as session:
                    return f(session)
    """
    assert len(migrate(tmp_path, {"shop.py": HEAD + dedent(body)}).refusals) == 1


def test_unannotated_function_without_a_dance_is_none_of_ours(tmp_path: Path) -> None:
    body = "def fetch(url, session=None):\n    return (session or requests).get(url)\n"
    outcome = migrate(tmp_path, {"shop.py": HEAD + body})
    assert (outcome.changed, outcome.refusals) == (0, [])


def test_session_of_an_engine_is_recognised(tmp_path: Path) -> None:
    before = """\
        def f(session=None):
            with Session(engine) if session is None else nullcontext(session) as session:
                session.flush()
    """
    assert (
        migrated(tmp_path, before) == "@auto_session_func\ndef f(*, session: Session = NEW_SESSION):\n    session.flush()\n"
    )


def test_comments_around_what_goes_stay(tmp_path: Path) -> None:
    before = """
        def f(session: Session | None = None):
            # one
            own = session is None

            # two
            session = session or Sessions()
            # three
            try:
                # four
                session.flush()  # five
            finally:
                if own:
                    session.close()
            # six
            log()
    """
    after = """
        @auto_session_func
        def f(*, session: Session = NEW_SESSION):
            # one
            # two
            # three
            # four
            session.flush()  # five
            # six
            log()
    """
    assert migrated(tmp_path, before) == dedent(after)
