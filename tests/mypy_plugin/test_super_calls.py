from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.mypy_plugin.checking import Project


def test_overloads_generics_and_inheritance_are_followed(project: Project) -> None:
    project.write(
        "shapes.py",
        """
        T = TypeVar("T")
        S = TypeVar("S", bound=Session)

        class Repository(SessionAwareService, Generic[T]):
            @overload
            def get(self, key: int, *, session: Session = ...) -> T: ...
            @overload
            def get(self, key: str, *, session: Session = ...) -> None: ...
            def get(self, key: int | str, *, session: Session = NEW_SESSION) -> T | None:
                return None
            @overload
            def mixed(self, key: int, *, session: Session = ...) -> T: ...
            @overload
            def mixed(self, key: str) -> None: ...
            def mixed(self, key: int | str, *, session: Session = NEW_SESSION) -> T | None:
                return None
            @overload
            def either(self, key: int, *, session: Session = ...) -> T: ...
            @overload
            def either(self, key: str, *, session: AsyncSession = ...) -> None: ...
            def either(self, key: int | str, *, session: Any = NEW_SESSION) -> T | None:
                return None
            def chain(self, *, session: Session = NEW_SESSION) -> Self:
                return self.chain(session=session)

        class Users(Repository[str]):
            def load(self, *, session: Session = NEW_SESSION) -> str:
                self.get("a")  # E: session-not-passed
                self.mixed(1)
                self.mixed("a")
                self.either(1)
                self.chain()  # E: session-not-passed
                return self.get(1)  # E: session-not-passed

        def generic(session: S, users: Users | Repository[int]) -> S:
            Users().load()  # E: session-not-passed
            return session
        """,
    )
    project.verify()


def test_super_calls_are_found_in_the_tree(project: Project) -> None:
    project.write(
        "bases.py",
        """
        class Base(SessionAwareService):
            def open(self, owner: str, *, session: Session = NEW_SESSION) -> int:
                return 1
            def required(self, *, session: "Session") -> int:
                return 1
        """,
    )
    project.write(
        "supers.py",
        """
        from bases import Base
        T = TypeVar("T")

        def passes(func: T) -> T:
            return func

        class Mixin:
            def mixed(self, *, session: Session = NEW_SESSION) -> None: ...

        class Local(Base, Mixin):
            @classmethod
            def count(cls, *, session: Session = NEW_SESSION) -> int:
                return 1
            @passes
            def unknown(self, *, session: Session = NEW_SESSION) -> int:
                return 1
            @overload
            def many(self, a: int, *, session: Session = ...) -> int: ...
            @overload
            def many(self, a: str, *, session: Session = ...) -> int: ...
            def many(self, a: Any, *, session: Session = NEW_SESSION) -> int:
                return 1
            def optional(self, *, session: Session | None = None) -> int:  # E: session-optional
                return 1
            attribute: Callable[[], None]

        class Derived(Local):
            def __init__(self) -> None:
                super().__init__()
            def open(self, owner: str, *, session: Session = NEW_SESSION) -> int:
                super().open(owner, **{"session": session})
                super().open(owner, session=NEW_SESSION)
                super(Derived, self).open(owner)
                super().attribute()
                super().missing()  # E: misc
                return super().open(owner)  # E: session-not-passed
            def required(self, *, session: Session) -> int:
                def inner() -> int:
                    return super(Derived, self).required(session=session)
                class Nested(Base):
                    def open(self, owner: str, *, session: Session = NEW_SESSION) -> int:
                        return super().open(owner)  # E: session-not-passed
                return super().required()  # E: session-not-passed
            @classmethod
            def count(cls, *, session: Session = NEW_SESSION) -> int:
                return super().count()  # E: session-not-passed
            def unknown(self, *, session: Session = NEW_SESSION) -> int:
                return super().unknown()  # E: session-not-passed
            def many(self, a: Any, *, session: Session = NEW_SESSION) -> int:
                return super().many(a)  # E: session-not-passed
            def optional(self, *, session: Session = NEW_SESSION) -> int:  # E: override
                super().optional()  # E: session-not-passed
                return 1
            def mixed(self, *, session: Session = NEW_SESSION) -> None:
                super().mixed()  # E: session-not-passed
            def sessionless(self) -> int:
                return super().open("ann")
            def untyped(self, session=None):  # E: session-positional, no-untyped-def
                return super().open("ann")
        """,
    )
    project.verify()


def test_findings_leave_the_choice_of_overloads_alone(project: Project) -> None:
    project.write(
        "overloads.py",
        """
        from typing import Literal, assert_type

        class Accounts(SessionAwareService):
            def open(self, owner: str, *, session: Session = NEW_SESSION) -> int:
                return 1

        @overload
        def many(*, a: int, session: Session = NEW_SESSION, flag: Literal[True] = True) -> int: ...
        @overload
        def many(*, a: int, session: Session = NEW_SESSION, flag: Literal[False]) -> str: ...
        @auto_session_func
        def many(*, a: int, session: Session = NEW_SESSION, flag: bool = True) -> Any: ...

        @overload
        def takes(a: int, b: int) -> int: ...
        @overload
        def takes(a: int, b: str) -> str: ...
        def takes(a: Any, b: Any) -> Any: ...

        def use(accounts: Accounts, session: Session) -> None:
            assert_type(many(a=1), int)  # E: session-not-passed
            assert_type(many(a=1, flag=False), str)  # E: session-not-passed
            int(accounts.open("ann"))  # E: session-not-passed
            assert_type(takes(accounts.open("ann"), "x"), str)  # E: session-not-passed
            assert_type(takes(1, many(a=1, flag=False)), str)  # E: session-not-passed
            max(accounts.open("ann"), 1)  # E: session-not-passed
            dict(a=accounts.open("ann"))  # E: session-not-passed
            sum([accounts.open("ann") for _ in "ab"])  # E: session-not-passed
            print(sorted([accounts.open("ann")]), sum(accounts.open("ann") for _ in "ab"))  # E: session-not-passed
        """,
    )
    project.verify()
