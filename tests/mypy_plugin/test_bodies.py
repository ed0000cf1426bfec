from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.mypy_plugin.checking import Project


def test_result_that_is_read_after_the_close_is_reported(project: Project) -> None:
    project.write(
        "lazy.py",
        """
        import abc
        T = TypeVar("T")
        Numbers = Iterator[int]

        def passes(func: T) -> T:
            return func

        class Accounts(SessionAwareService):
            def a(self, *, session: Session = NEW_SESSION) -> Iterator[int]:  # E: session-lazy-result
                return iter(session.scalars(select(1)))
            def b(self, *, session: Session = NEW_SESSION) -> "Query[int]":  # E: session-lazy-result
                return session.query(int)
            def c(self, *, session: Session = NEW_SESSION) -> Result[tuple[int]]:  # E: session-lazy-result
                return session.execute(select(1))
            def d(self, *, session: Session = NEW_SESSION) -> ScalarResult[int]:  # E: session-lazy-result
                return session.scalars(select(1))
            def e(self, *, session: Session = NEW_SESSION) -> Numbers:  # E: session-lazy-result
                return iter(session.scalars(select(1)))
            def f(self, *, session: Session = NEW_SESSION) -> "map[int]":  # E: session-lazy-result
                return map(int, session.scalars(select(1)))
            def g(self, *, session: Session = NEW_SESSION) -> Awaitable[None]:  # E: session-lazy-result
                async def later() -> None:
                    yield_ = 1
                return later()
            async def h(self, *, session: AsyncSession = NEW_SESSION) -> ScalarResult[int]:  # E: session-lazy-result
                rows: ScalarResult[int] = await session.scalars(select(1))
                return rows
            def i(self, *, session: Session = NEW_SESSION) -> Iterator[int]:  # E: session-lazy-result
                def inner() -> Iterator[int]:
                    yield 1
                return inner()
            def good(self, *, session: Session = NEW_SESSION) -> list[int]:
                return list(session.scalars(select(1)))
            def generator(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
                for row in session.scalars(select(1)):
                    yield row
            def delegates(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
                yield from session.scalars(select(1))
            @contextmanager
            def context(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
                yield 1
            async def agenerator(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]:
                yield 1
            @passes
            def unknown(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
                return iter([1])
            @abc.abstractmethod
            def abstract(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
                '''Yield numbers.'''
                raise NotImplementedError
            @property
            def forward(self) -> "Later":
                return Later()
            def earlier(self, *, session: Session = NEW_SESSION) -> "Later":
                return Later()
            def union(self, *, session: Session = NEW_SESSION) -> "Later | Iterator[int]":
                return Later()
            def plain(self) -> Iterator[int]:
                return iter([1])

        class Later: ...

        @auto_session_func
        def function(*, session: Session = NEW_SESSION) -> Iterator[int]:  # E: session-lazy-result
            return iter(session.scalars(select(1)))

        @auto_session_func
        async def coroutine(*, session: AsyncSession = NEW_SESSION) -> ScalarResult[int]:  # E: session-lazy-result
            rows: ScalarResult[int] = await session.scalars(select(1))
            return rows

        @auto_session_func
        async def many(*, session: AsyncSession = NEW_SESSION) -> list[int]:
            return list(await session.scalars(select(1)))

        @auto_session_func
        def implicit(*, session: Session = NEW_SESSION):  # type: ignore[no-untyped-def]
            return session.scalars(select(1))
        """,
    )
    project.verify()
    assert (
        'error: "Accounts.b" returns "Query" without being a generator: it is read after the session was closed. '
        "Return a list, or yield the rows  [session-lazy-result]" in project.output
    )


def test_ending_the_given_transaction_is_reported(project: Project) -> None:
    project.write(
        "owned.py",
        """
        class Accounts(SessionAwareService):
            def a(self, *, session: Session = NEW_SESSION) -> None:
                session.commit()  # E: session-owned
                session.rollback()  # E: session-owned
                with session.begin():  # E: session-owned
                    session.close()  # E: session-owned
                for row in [1]:
                    if row:
                        session.commit()  # E: session-owned
                def inner() -> None:
                    session.commit()  # E: session-owned
                inner()
                lambda: session.commit()  # E: session-owned
            async def b(self, *, session: AsyncSession = NEW_SESSION) -> None:
                await session.commit()  # E: session-owned
                async with session.begin():  # E: session-owned
                    pass
            def good(self, *, session: Session = NEW_SESSION) -> None:
                session.flush()
                with session.begin_nested() as savepoint:
                    savepoint.rollback()
                def inner(session: Session) -> None:
                    session.commit()
                other = lambda session: session.commit()
            def assigned(self, *, session: Session = NEW_SESSION) -> None:
                session = Session()
                session.commit()
            def bound(self, *, session: Session = NEW_SESSION) -> None:
                with Session() as session:
                    session.commit()
            def unpacked(self, *, session: Session = NEW_SESSION) -> None:
                session, other = Session(), 1
                session.commit()
            def walrus(self, *, session: Session = NEW_SESSION) -> None:
                (session := Session()).commit()
                session.commit()
            def looped(self, *, session: Session = NEW_SESSION) -> None:
                for session in [Session()]:
                    session.commit()
            def deleted(self, *, session: Session = NEW_SESSION) -> None:
                session.commit()
                del session
            def added(self, *, session: Session = NEW_SESSION) -> None:
                session += 1  # type: ignore[assignment, operator]
                session.commit()
            def unclear(self, *, session: Any = NEW_SESSION) -> None:
                session.commit()
            def own(self) -> None:
                with Session() as session:
                    session.commit()

        @auto_session_func
        def function(*, session: Session = NEW_SESSION) -> None:
            session.commit()  # E: session-owned

        def plain(*, session: Session) -> None:
            session.commit()
        """,
    )
    project.verify()
    assert (
        'error: "Accounts.a": "session.commit()" on a session that was given: whoever opened it ends its transaction. '
        'Remove the call. For a part that may fail alone write "with session.begin_nested():"  [session-owned]'
        in project.output
    )


def test_session_of_the_other_kind_is_reported(project: Project) -> None:
    project.write(
        "kinds.py",
        """
        from contextlib import AbstractAsyncContextManager
        import abc
        T = TypeVar("T")

        def passes(func: T) -> T:
            return func

        class Accounts(SessionAwareService):
            async def a(self, *, session: Session = NEW_SESSION) -> None: ...  # E: session-kind
            def b(self, *, session: AsyncSession = NEW_SESSION) -> None: ...  # E: session-kind
            async def c(self, *, session: Session = NEW_SESSION) -> AsyncIterator[int]:  # E: session-kind
                yield 1
            @contextmanager
            def d(self, *, session: AsyncSession = NEW_SESSION) -> Iterator[int]:  # E: session-kind
                yield 1
            def good(self, *, session: Session = NEW_SESSION) -> None: ...
            async def agood(self, *, session: AsyncSession = NEW_SESSION) -> None: ...
            async def agenerator(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]:
                yield 1
            @asynccontextmanager
            async def acontext(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]:
                yield 1
            @passes
            def unknown(self, *, session: AsyncSession = NEW_SESSION) -> None: ...
            @overload
            def both(self, a: int, *, session: AsyncSession = ...) -> Awaitable[int]: ...
            @overload
            def both(self, a: str, *, session: AsyncSession = ...) -> Awaitable[str]: ...
            async def both(self, a: Any, *, session: AsyncSession = NEW_SESSION) -> Any: ...

        class Declares(SessionAwareService):
            @abc.abstractmethod
            def rows(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]: ...
            @abc.abstractmethod
            def row(self, *, session: AsyncSession = NEW_SESSION) -> int: ...  # E: session-kind
            @abc.abstractmethod
            def begin(self, *, session: AsyncSession = NEW_SESSION) -> AbstractAsyncContextManager[int]: ...
            @abc.abstractmethod
            def later(self, *, session: AsyncSession = NEW_SESSION) -> Awaitable[int]: ...

        class Tenant(Session): ...
        class Unions(SessionAwareService):
            async def a(self, *, session: Session | Tenant = NEW_SESSION) -> None: ...  # E: session-kind
            def b(self, *, session: Annotated[AsyncSession, "x"] | None = None) -> None: ...  # E: session-kind
            async def c(self, *, session: Annotated[Session, "x"] = NEW_SESSION) -> None: ...  # E: session-kind
            def d(self, *, session: Session | AsyncSession = NEW_SESSION) -> None: ...
            def e(self, *, session: Annotated[Session | Tenant, "x"] = NEW_SESSION) -> None: ...

        @auto_session_func
        async def function(*, session: Session = NEW_SESSION) -> None: ...  # E: session-kind

        @auto_session_func()
        async def coroutine(*, session: AsyncSession = NEW_SESSION) -> None: ...

        async def own(*, session: Session) -> None: ...
        """,
    )
    project.verify()
    assert (
        'error: "Accounts.a": "async def" takes the AsyncSession of the factories, not "Session". '
        'Write "session: AsyncSession = NEW_SESSION"  [session-kind]' in project.output
    )
    assert (
        'error: "Accounts.b": "def" takes the Session of the factories, not "AsyncSession". '
        'Write "session: Session = NEW_SESSION", or "async def"  [session-kind]' in project.output
    )


def test_iterator_over_what_is_complete_is_not_lazy(project: Project) -> None:
    project.write(
        "complete.py",
        """
        class Accounts(SessionAwareService):
            def a(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
                session.info["seen"] = True
                return iter([1])
            def b(self, *, session: Session = NEW_SESSION) -> Iterator[object]:
                rows: list[object] = [row for row in session.new]
                if not rows:
                    return iter(())
                return reversed(rows)
            def c(self, *, session: Session = NEW_SESSION) -> Iterator[tuple[int, Any]]:
                return enumerate(session.scalars(select(1)).all())
            def d(self, *, session: Session = NEW_SESSION) -> Iterator[str]:
                return map(str, sorted(session.info))
            def e(self, *, session: Session = NEW_SESSION) -> Iterator[str]:  # E: session-lazy-result
                return map(str, session.scalars(select(1)))
            def f(self, *, session: Session = NEW_SESSION) -> Iterator[int]:  # E: session-lazy-result
                rows = session.scalars(select(1))
                return iter(rows)
            def g(self, is_new: bool, *, session: Session = NEW_SESSION) -> Iterator[int]:  # E: session-lazy-result
                if is_new:
                    return iter([1])
                return iter(session.scalars(select(1)))
        """,
    )
    project.verify()


def test_messages_name_what_the_user_wrote(project: Project) -> None:
    project.write(
        "names.py",
        """
        def local(engine: Engine) -> None:
            class Local(SessionAwareService):
                def open(self, *, session: Session = NEW_SESSION) -> None: ...
                def twice(self, *, session: Session = NEW_SESSION) -> None:
                    self.open()  # E: session-not-passed
            class Tenant(Session): ...
            class Second(SessionAwareService):
                async def kind(self, *, session: Tenant = NEW_SESSION) -> None: ...  # E: session-kind
            with Session(engine) as session:
                Local().open()  # E: session-not-passed
            with Session(engine) as session:
                Local().open()  # E: session-not-passed
            print(Second())
        @auto_session_func
        async def commits(*, session: AsyncSession = NEW_SESSION) -> None:
            await session.commit()  # E: session-owned
        """,
    )
    project.verify()
    assert '"Local.open" is called without the session "session"' in project.output
    assert 'not "Tenant"' in project.output
    assert 'write "async with session.begin_nested():"' in project.output
    assert "@" not in project.output
    assert "session'" not in project.output
