from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.mypy_plugin.checking import Project

SERVICE = """
class Accounts(SessionAwareService):
    def open(self, owner: str, *, session: Session = NEW_SESSION) -> int:
        return len(owner)
    async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> int:
        return len(owner)
    @classmethod
    def count(cls, *, session: Session = NEW_SESSION) -> int:
        return 0
    @staticmethod
    def rate(*, session: Session = NEW_SESSION) -> int:
        return 0
    def plain(self, owner: str) -> int:
        return len(owner)
accounts = Accounts()
"""


def test_call_without_the_session_in_scope_is_reported(project: Project) -> None:
    project.write(
        "calls.py",
        SERVICE
        + """
class Bank(SessionAwareService):
    def move(self, *, session: Session = NEW_SESSION) -> None:
        accounts.open("ann")  # E: session-not-passed
        accounts.count()  # E: session-not-passed
        Accounts.count()  # E: session-not-passed
        Accounts.open(accounts, "ann")  # E: session-not-passed
        Accounts.rate()  # E: session-not-passed
        [accounts.open(name) for name in ("ann", "bob")]  # E: session-not-passed
        accounts.open("ann", session=session)
        accounts.open(session=session, owner="ann")
    async def amove(self, *, session: AsyncSession = NEW_SESSION) -> None:
        await accounts.aopen("ann")  # E: session-not-passed
        await accounts.aopen("ann", session=session)

def plain(db: Session) -> None:
    accounts.open("ann")  # E: session-not-passed

@auto_session_func
def decorated(*, session: Session = NEW_SESSION) -> None:
    decorated()  # E: session-not-passed
    decorated(session=session)
""",
    )
    project.verify()
    assert (
        'error: "Accounts.open" is called without the session "session" that is in scope: it opens a second transaction. '
        'Write "session=session", or "session=NEW_SESSION" if that is meant  [session-not-passed]' in project.output
    )
    assert 'Write "session=db", or' in project.output


def test_session_of_an_enclosing_function_is_in_scope(project: Project) -> None:
    project.write(
        "enclosing.py",
        SERVICE
        + """
def outer(session: Session) -> Callable[[], int]:
    def inner() -> int:
        return accounts.open("ann")  # E: session-not-passed
    def own(session: Session) -> int:
        return accounts.open("ann", session=session)
    class Local:
        def method(self) -> int:
            return accounts.open("ann")  # E: session-not-passed
    first: Callable[[], int] = lambda: accounts.open("ann")  # E: session-not-passed
    return inner
""",
    )
    project.verify()


def test_session_of_a_with_block_is_in_scope(project: Project) -> None:
    project.write(
        "blocks.py",
        SERVICE
        + """
def outer(engine: Engine) -> None:
    accounts.open("ann")
    with Session(engine) as s, open("x") as f:
        accounts.open("ann")  # E: session-not-passed
        if f:
            accounts.open("ann")  # E: session-not-passed
        accounts.open("ann", session=s)
    accounts.open("ann")
    with auto_session_ctx() as s:
        accounts.open("ann")  # E: session-not-passed

async def aouter(engine: Engine) -> None:
    async with auto_session_ctx() as s:
        await accounts.aopen("ann")  # E: session-not-passed
        accounts.open("ann")
    with open("x") as f:
        accounts.open("ann")

with auto_session_ctx() as s:
    accounts.open("ann")  # E: session-not-passed
accounts.open("ann")
""",
    )
    project.verify()


def test_plugin_abstains_where_no_session_could_be_passed(project: Project) -> None:
    project.write(
        "abstains.py",
        SERVICE
        + """
class Tenant(Session):
    pass

@auto_session_func
def of_tenant(*, session: Tenant = NEW_SESSION) -> None: ...

class Own:
    def open(self, owner: str, *, session: str = "", timeout: int = 0) -> None: ...
    def __getitem__(self, key: str, *, session: Session = NEW_SESSION) -> None: ...
    def decorate(self, func: Callable[[], None], *, session: Session = NEW_SESSION) -> None: ...

def unrelated(*, timeout: int = 0) -> None: ...

def outer(session: Session, maybe: Any, **options: Any) -> None:
    accounts.open("ann", **options)
    accounts.open("ann", session=NEW_SESSION)
    accounts.plain("ann")
    of_tenant()
    maybe.open("ann")
    Own().open("ann")
    Own()["an operator takes no keywords"]
    own = Own()
    @own.decorate
    def decorated() -> None: ...
    unrelated()
    (lambda: 1)()
    {"open": accounts.open}["open"]("ann")

def optional(session: Session | None, *sessions: Session) -> None:
    accounts.open("ann")

def other(engine: Engine) -> None:
    with Session(engine) as s:
        def later() -> None:
            accounts.open("ann")
        first = lambda: accounts.open("ann")
    with Session(engine), Session(engine) as (a):
        pass
    holder = Own()
    with Session(engine) as holder.session:  # type: ignore[attr-defined]
        accounts.open("ann")

async def sync_only(session: Session) -> None:
    await accounts.aopen("ann")

def untyped(session):  # type: ignore[no-untyped-def]
    accounts.open("ann")

class Body:
    opened = accounts.open("ann")
""",
    )
    project.verify()


def test_aliases_bound_methods_and_callback_protocols_are_known_by_their_signature(project: Project) -> None:
    project.write(
        "callbacks.py",
        SERVICE
        + """
class Opens(Protocol):
    def __call__(self, owner: str, *, session: Session = ...) -> int: ...

class Plain(Protocol):
    def __call__(self, owner: str) -> int: ...

class Holder:
    def __init__(self, opens: Opens) -> None:
        self.opens = opens
        self.bound = accounts.open

opened = accounts.open

def use(callback: Opens, plain: Plain, holder: Holder, session: Session) -> None:
    callback("ann")  # E: session-not-passed
    callback("ann", session=session)
    plain("ann")
    local = accounts.open
    local("ann")  # E: session-not-passed
    opened("ann")  # E: session-not-passed
    holder.opens("ann")  # E: session-not-passed
    holder.bound("ann")  # E: session-not-passed
    class_method = Accounts.count
    class_method()  # E: session-not-passed
    @auto_session_func
    def nested(*, session: Session = NEW_SESSION) -> None: ...
    nested()  # E: session-not-passed
    nested(session=session)

use(accounts.open, accounts.open, Holder(accounts.open), session=Session())
""",
    )
    project.verify()


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
                self.mixed(1)  # E: session-not-passed
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
                return super().unknown()
            def many(self, a: Any, *, session: Session = NEW_SESSION) -> int:
                return super().many(a)
            def optional(self, *, session: Session = NEW_SESSION) -> int:  # E: override
                super().optional()
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
