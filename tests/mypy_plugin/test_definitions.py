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

        from sqlalchemy import orm
        class Client: ...

        class Executes(Protocol):
            def execute(self) -> None: ...

        class Accounts(SessionAwareService):
            def __init__(self, session: Session) -> None: ...
            def __post_init__(self, session: Session) -> None: ...
            def rename(self, owner: str, session: Session) -> None: ...  # E: session-positional
            def close(self, session: Session = NEW_SESSION) -> None: ...  # E: session-positional
            @staticmethod
            def rate(session: str) -> None: ...
            def fetch(self, session: "Client | None" = None) -> None: ...
            def fetch_all(self, *, session: Client) -> None: ...
            def fetched(self, session: "Client | Session") -> None: ...  # E: session-positional
            def registry(self, session: "orm.scoped_session[Session]") -> None: ...  # E: session-positional
            def anything(self, session: Any) -> None: ...  # E: session-positional
            def duck(self, session: Executes) -> None: ...  # E: session-positional
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
        "The method is not wrapped, and every caller has to pass one. Write "
        '"def rename(..., *, session: Session = NEW_SESSION)"  [session-positional]' in project.output
    )
    assert (
        'error: "Accounts.close": parameter "session" must be keyword-only. '
        "A positional session collides with ordinary arguments. Write "
        '"def close(..., *, session: Session = NEW_SESSION)"  [session-positional]' in project.output
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
