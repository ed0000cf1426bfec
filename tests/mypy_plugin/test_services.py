from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.mypy_plugin.checking import Project


def test_class_that_is_no_service_keeps_its_signatures(project: Project) -> None:
    project.write(
        "plain.py",
        """
        class Mixin:
            def mixed(self, *, session: Session) -> int:
                return 1

        class Accounts(Mixin, SessionAwareService):
            class Nested:
                def own(self, *, session: Session) -> int:
                    return 1

        Mixin().mixed()  # E: call-arg
        Accounts().mixed()  # E: call-arg
        Accounts.Nested().own()  # E: call-arg
        """,
    )
    project.verify()


def test_service_is_recognised_through_modules_aliases_and_functions(project: Project) -> None:
    project.write("package/__init__.py", "")
    project.write(
        "package/base.py", "class Base(SessionAwareService): ...\nRenamed = Base\nNumber = int\nEither = Base | int\n"
    )
    project.write(
        "package/use.py",
        """
        import session_aware
        from package import base
        from package.base import Base, Number, Renamed
        T = TypeVar("T")

        class One(Base):
            def one(self, *, session: Session) -> int:
                return 1
        class Two(base.Renamed, Generic[T]):
            def two(self, *, session: Session) -> int:
                return 1
        class Three(session_aware.SessionAwareService):
            def three(self, *, session: Session) -> int:
                return 1
        class Four(Two[int]):
            def four(self, *, session: Session) -> int:
                return 1
        class Five(Number):
            def five(self, *, session: Session) -> int:
                return 1
        def local() -> int:
            class Local(Base):
                def six(self, *, session: Session) -> int:
                    return 1
            class Lower(Local):
                def seven(self, *, session: Session) -> int:
                    return super().six()  # E: session-not-passed
            return Lower().six() + Lower().seven()

        One().one() + Two[int]().two() + Three().three() + Four().two() + Four().four()
        Five().five()  # E: call-arg
        """,
    )
    project.verify()


def test_import_cycles_are_followed(project: Project) -> None:
    project.write(
        "one.py",
        """
        import two
        class Base(SessionAwareService):
            def open(self, *, session: "two.Tenant") -> "two.Derived":
                return two.Derived()
        def use() -> None:
            two.Derived().derived()
            two.Derived().open()
        """,
    )
    project.write(
        "two.py",
        """
        import one
        class Derived(one.Base):
            def derived(self, *, session: "Tenant") -> int:
                super().open()  # E: session-not-passed
                self.open()  # E: session-not-passed
                return 1
        class Tenant(Session): ...
        Derived().derived()
        one.Base().open().derived()
        """,
    )
    project.verify()


def test_stub_files_are_rewritten_like_sources(project: Project) -> None:
    project.write(
        "stubbed.pyi",
        """
        class Accounts(SessionAwareService):
            def open(self, owner: str, *, session: Session) -> int: ...
            def rows(self, *, session: Session = ...) -> Iterator[int]: ...
        """,
    )
    project.write("use.py", "from stubbed import Accounts\nAccounts().open('ann')\nAccounts().open()  # E: call-arg\n")
    project.verify()
