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
