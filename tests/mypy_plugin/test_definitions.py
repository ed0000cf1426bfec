from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.mypy_plugin.checking import Project


def test_positional_session_is_reported(project: Project) -> None:
    project.write(
        "positional.py",
        """
        T = TypeVar("T")

        def passes(func: T) -> T:
            return func

        class Accounts(SessionAwareService):
            def __init__(self, session: Session) -> None: ...
            def __post_init__(self, session: Session) -> None: ...
            def rename(self, owner: str, session: Session) -> None: ...  # E: session-positional
            def close(self, session: Session = NEW_SESSION) -> None: ...  # E: session-positional
            @staticmethod
            def rate(session: str) -> None: ...  # E: session-positional
            def good(self, *, session: Session = NEW_SESSION) -> None: ...
            def other(self, *session: Session) -> None: ...
            def keywords(self, **session: Session) -> None: ...
            @passes
            def unknown(self, session: Session) -> None: ...
            if bool():
                def conditional(self, session: Session) -> None: ...  # E: session-positional
            else:
                def conditional(self, session: Session) -> None: ...  # E: session-positional
            try:
                import missing  # type: ignore[import-not-found]
            except ImportError:
                def fallback(self, session: Session) -> None: ...  # E: session-positional
            class Nested:
                def method(self, session: Session) -> None: ...

        @auto_session_func
        def function(session: Session) -> None: ...  # E: session-positional

        class Plain:
            @auto_session_func(read_only=True)
            def method(self, session: Session) -> None: ...  # E: session-positional
            def own(self, session: Session) -> None:
                session.commit()

        @auto_session_func
        @passes
        def under_another(session: Session) -> None: ...
        """,
    )
    project.verify()
    assert (
        'error: "Accounts.rename": parameter "session" must be keyword-only. '
        "A positional session collides with ordinary arguments. Write "
        '"def rename(..., *, session: Session = NEW_SESSION)"  [session-positional]' in project.output
    )
    assert 'error: "Plain.method": parameter' in project.output


def test_optional_session_is_reported(project: Project) -> None:
    project.write(
        "optional.py",
        """
        Maybe = Optional[Session]

        class Accounts(SessionAwareService):
            def a(self, *, session: Session | None = None) -> None: ...  # E: session-optional
            def b(self, *, session: Optional[Session] = None) -> None: ...  # E: session-optional
            def c(self, *, session: "Union[None, Session]" = None) -> None: ...  # E: session-optional
            def d(self, *, session: Maybe = None) -> None: ...  # E: session-optional
            async def e(self, *, session: Annotated[AsyncSession | None, "x"] = None) -> None: ...  # E: session-optional
            def good(self, *, session: Session = NEW_SESSION) -> None: ...
            def unclear(self, *, session: Session | Engine | None = None) -> None: ...
            def any(self, *, session: Any = None) -> None: ...
            def none(self, *, session: None = None) -> None: ...
            def bare(self, *, session: Annotated = None) -> None: ...  # type: ignore[valid-type]
            def untyped(self, *, session=None): ...  # type: ignore[no-untyped-def]

        @auto_session_func
        def function(*, session: Session | None = None) -> None: ...  # E: session-optional

        @auto_session_func
        def overall(*, session: Session | AsyncSession = NEW_SESSION) -> None: ...

        def own(*, session: Session | None = None) -> None: ...

        class Declares:
            def plain(self, *, session: Session | None = None) -> None: ...
            @auto_session_func
            def decorated(self, *, session: Session | None = None) -> None: ...  # E: session-optional
            def without(self) -> None: ...

        class Overrides(Declares, SessionAwareService):
            def plain(self, *, session: Session | None = None) -> None: ...
            @auto_session_func
            def decorated(self, *, session: Session | None = None) -> None: ...
            def without(self, *, session: Session | None = None) -> None: ...  # E: session-optional

        class Decorated(Declares):
            @auto_session_func
            def plain(self, *, session: Session | None = None) -> None: ...
            @auto_session_func
            def decorated(self, *, session: Session | None = None) -> None: ...
            @auto_session_func
            def without(self, *, session: Session | None = None) -> None: ...  # E: session-optional
        """,
    )
    project.verify()
    assert (
        'error: "Accounts.a": the body always gets a session. Write "session: Session = NEW_SESSION" instead of '
        '"Session | None", and nothing has to be narrowed  [session-optional]' in project.output
    )


def test_session_of_the_other_kind_is_reported(project: Project) -> None:
    project.write(
        "kinds.py",
        """
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
                return await session.scalars(select(1))
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
            return await session.scalars(select(1))

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


def test_decorated_function_without_a_session_is_reported(project: Project) -> None:
    project.write(
        "missing.py",
        """
        T = TypeVar("T")

        def passes(func: T) -> T:
            return func

        def hides(func: Callable[..., T]) -> Callable[[], T]:
            return lambda: func(session=None)

        def opens(func: Callable[..., T]) -> Callable[..., T]:
            return func

        class Loose(Protocol):
            def __call__(self, *args: Any, **kwargs: Any) -> int: ...

        def loose(func: object) -> Loose:
            return takes_all

        def takes_all(*args: Any, **kwargs: Any) -> int:
            return 1

        @auto_session_func
        def a(key: int) -> None: ...  # E: session-missing
        @auto_session_func(read_only=True)
        def b(key: int) -> None: ...  # E: session-missing
        @auto_session_func
        async def c() -> None: ...  # E: session-missing
        @auto_session_func
        @contextmanager
        def d() -> Iterator[int]:  # E: session-missing
            yield 1
        @auto_session_func
        def e(**kwargs: Any) -> None: ...  # E: session-missing
        @auto_session_func
        @hides
        def inner() -> None: ...  # E: session-missing
        @auto_session_func
        def good(*, session: Session = NEW_SESSION) -> None: ...
        @auto_session_func
        @contextmanager
        def context(*, session: Session = NEW_SESSION) -> Iterator[int]:
            yield 1
        @auto_session_func
        @hides
        def hidden(*, session: Session = NEW_SESSION) -> None: ...
        @auto_session_func
        @opens
        def anything() -> None: ...
        @auto_session_func
        @loose
        def instance() -> None: ...

        class Accounts(SessionAwareService):
            @auto_session_func(read_only=True)
            def method(self) -> None: ...  # E: session-missing

        class Plain:
            @auto_session_func
            @classmethod
            def method(cls) -> None: ...  # E: session-missing
            @staticmethod
            @auto_session_func
            def static() -> None: ...  # E: session-missing

        def plain() -> None: ...
        wrapped = auto_session_func(plain)  # E: session-missing
        called = auto_session_func(lambda: 1)  # E: session-missing
        klass = auto_session_func(Plain)
        through = auto_session_func(takes_all)
        generic: Callable[[Callable[[T], int]], None] = auto_session_func  # type: ignore[assignment]
        any: Any = None
        unknown = auto_session_func(any)
        """,
    )
    project.verify()
    assert (
        'error: "a": there is no parameter "session", so no session can be given. '
        'Write "*, session: Session = NEW_SESSION", or remove "auto_session_func"  [session-missing]' in project.output
    )
    assert 'error: "Accounts.method": there is' in project.output


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
        'error: "Accounts.a": "session.commit()" on a session that was given: who opened it ends its transaction. '
        'Remove the call. For a part that may fail alone write "with session.begin_nested():"  [session-owned]'
        in project.output
    )
