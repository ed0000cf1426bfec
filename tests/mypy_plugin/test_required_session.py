from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mypy_plugin.checking import Project


def test_required_session_of_a_method_is_optional_for_callers(project: Project) -> None:
    project.write(
        "methods.py",
        """
        from sqlalchemy import orm
        forward: "Accounts"  # mypy analyses the module twice
        S = TypeVar("S", bound=Session)
        V = TypeVar("V", Session, AsyncSession)
        Alias = Session

        class Accounts(SessionAwareService):
            def open(self, owner: str, *, session: Session) -> int:
                return len(owner)
            async def aopen(self, owner: str, *, session: AsyncSession) -> int:
                return len(owner)
            @classmethod
            def count(cls, *, session: "Session") -> int:
                return 1
            @staticmethod
            def rate(*, session: orm.Session) -> int:
                return 1
            @contextmanager
            def context(self, *, session: Alias) -> Iterator[int]:
                yield 1
            @overload
            def get(self, key: int, *, session: Session) -> int: ...
            @overload
            def get(self, key: str, *, session: Session) -> str: ...
            def get(self, key: int | str, *, session: Session) -> int | str:
                return key
            def generic(self, *, session: S) -> S:
                return session
            def later(self, *, session: "Tenant") -> int:
                return 1
            def annotated(self, *, session: Annotated[Session, "x"]) -> int:
                return 1
            @auto_session_func(read_only=True)
            def decorated(self, *, session: Session) -> int:
                return 1
            if bool():
                def conditional(self, *, session: Session) -> int:
                    return 1
            else:
                def conditional(self, *, session: Session) -> int:
                    return 2
            def unclear(self, *, session: Any) -> int:
                return 1
            def valued(self, *, session: V) -> int:
                return 1
            def misspelt(self, *, session: Sesion) -> int:  # E: name-defined
                return 1
            def __init__(self, *, session: Session | None = None) -> None: ...

        class Tenant(Session): ...

        class Renamed(Accounts):
            def open(self, owner: str, *, session: Session) -> int:
                return super().open(owner, session=session)

        class Widened(Accounts):
            def open(self, owner: str, *, session: Session = NEW_SESSION) -> int:
                return 1

        class Opens(Protocol):
            def __call__(self, owner: str) -> int: ...

        class OpensInSession(Protocol):
            def __call__(self, owner: str, *, session: Session = ...) -> int: ...

        def use(opens: Opens, within: OpensInSession, callback: Callable[[str], int]) -> None: ...

        accounts = Accounts()
        accounts.open("ann") + accounts.count() + Accounts.count() + accounts.rate() + accounts.get(1)
        accounts.get("a").upper()
        accounts.generic()
        accounts.later()
        accounts.annotated()
        accounts.decorated()
        accounts.conditional()
        Renamed().open("ann")
        Widened().open("ann")
        use(accounts.open, accounts.open, accounts.open)
        with accounts.context() as number:
            number + 1
        accounts.open("ann", session=Session())
        accounts.open()  # E: call-arg
        accounts.open("ann", Session())  # E: call-arg
        accounts.open("ann", session=AsyncSession())  # E: arg-type
        accounts.open("ann", sesion=Session())  # E: call-arg
        accounts.unclear()  # E: call-arg
        accounts.valued()  # E: call-arg
        async def within() -> int:
            return await accounts.aopen("ann")
        """,
    )
    project.verify()


def test_required_session_of_a_decorated_function_is_optional_for_callers(project: Project) -> None:
    project.write(
        "functions.py",
        """
        @auto_session_func
        def bare(key: int, *, session: Session) -> int:
            return key

        @auto_session_func(read_only=True)
        async def options(key: int, *, session: AsyncSession) -> int:
            return key

        @auto_session_func
        def optional(key: int, *, session: Session | None) -> int:  # E: session-optional
            return key

        @auto_session_func
        def unclear(key: int, *, session: Any) -> int:
            return key

        class Plain:
            @auto_session_func
            def method(self, *, session: Session) -> int:
                return 1
            @overload
            @auto_session_func
            def get(self, key: int, *, session: Session) -> int: ...
            @overload
            @auto_session_func
            def get(self, key: str, *, session: Session) -> str: ...
            @auto_session_func
            def get(self, key: Any, *, session: Session) -> Any:
                return key

        def plain(*, session: Session) -> int:
            return 1

        wrapped = auto_session_func(plain)

        class Either:
            @overload
            def many(self, key: int, *, session: Session) -> int: ...
            @overload
            def many(self, key: str, *, session: Session) -> str: ...
            def many(self, key: Any, *, session: Session) -> Any:
                return key

        many = auto_session_func(Either().many)  # mypy asks no plugin about these

        bare(1)
        bare(1, session=Session())
        bare("a")  # E: arg-type
        wrapped()
        many(1)  # E: call-overload
        Plain().method()
        Plain().get(1)
        optional(1)  # E: call-arg
        unclear(1)  # E: call-arg
        plain()  # E: call-arg
        async def within() -> int:
            return await options(1)
        """,
    )
    project.verify()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="mypy 1 parses with the Python that it runs in")
def test_type_parameters_are_known_by_their_bounds(project: Project) -> None:
    project.write(
        "parameters.py",
        """
        class Accounts[C: Session](SessionAwareService):
            def own[S: Session](self, *, session: S) -> S:
                return session
            def of_class(self, *, session: C) -> C:
                return session
            def unbound[S](self, *, session: S) -> S:
                return session

        accounts = Accounts[Session]()
        accounts.own()
        accounts.of_class()
        accounts.unbound()  # E: call-arg
        """,
    )
    project.verify()
