"""The table of ``session-not-passed``: what is reported, what is right, and where the plugin must not speak."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from types import FrameType

    from tests.mypy_plugin.checking import Project

SERVICES: Final = """
from typing import TypedDict
from sqlalchemy.orm import sessionmaker
from session_aware import Propagation

Sessions = sessionmaker[Session]()
Others = sessionmaker[Session]()
Readers = sessionmaker[Session]()

class Accounts(SessionAwareService):
    def open(self, owner: str, *, session: Session = NEW_SESSION) -> int:
        return len(owner)
    @classmethod
    def count(cls, *, session: Session = NEW_SESSION) -> int:
        return 1
    def maybe(self, *, session: Session | None = None) -> int:  # E: session-optional
        return 1
    async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> int:
        return len(owner)
    def rows(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
        yield 1
    async def arows(self, *, session: AsyncSession = NEW_SESSION) -> AsyncIterator[int]:
        yield 1
    @contextmanager
    def block(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
        yield 1
    @auto_session_func(propagation=Propagation.REQUIRES_NEW)
    def apart(self, *, session: Session = NEW_SESSION) -> int:
        return 1
    @auto_session_func(propagation=Propagation.NESTED)
    def nested(self, *, session: Session = NEW_SESSION) -> int:
        return 1
    @auto_session_func(isolation_level="SERIALIZABLE")
    def strict(self, *, session: Session = NEW_SESSION) -> int:
        return 1
    @auto_session_func(read_only=True)
    def read(self, *, session: Session = NEW_SESSION) -> int:
        return 1
    def dry(self, *, session: Session = NEW_SESSION, is_commit: bool = True) -> int:
        return 1

class Audit(SessionAwareService, propagation=Propagation.REQUIRES_NEW):
    def log(self, *, session: Session = NEW_SESSION) -> int:
        return 1
    @auto_session_func(propagation=Propagation.REQUIRED)
    def join(self, *, session: Session = NEW_SESSION) -> int:
        return 1

def make() -> Session:
    return Others()

class Made(SessionAwareService):
    session_factory = staticmethod(make)
    def work(self, *, session: Session = NEW_SESSION) -> int:
        return 1

class DerivedAudit(Audit):
    pass

class Joined(Audit, propagation=Propagation.REQUIRED):
    pass

class Shop(SessionAwareService, session_factory=Sessions):
    def sell(self, *, session: Session = NEW_SESSION) -> int:
        return 1

class Warehouse(SessionAwareService, session_factory=Others, read_session_factory=Readers):
    def take(self, *, session: Session = NEW_SESSION) -> int:
        return 1
    @auto_session_func(read_only=True)
    def look(self, *, session: Session = NEW_SESSION) -> int:
        return 1

class Attribute(SessionAwareService):
    session_factory = Others
    def put(self, *, session: Session = NEW_SESSION) -> int:
        return 1

class Instance(SessionAwareService):
    def __init__(self, factory: sessionmaker[Session]) -> None:
        self.session_factory = factory
    def work(self, *, session: Session = NEW_SESSION) -> int:
        return 1
    def both(self, *, session: Session = NEW_SESSION) -> int:
        return self.work()  # E: session-not-passed

@auto_session_func
def audit(*, session: Session = NEW_SESSION) -> int:
    return 1

@auto_session_func(propagation=Propagation.REQUIRES_NEW, retry=None)
def audit_apart(*, session: Session = NEW_SESSION) -> int:
    return 1

@auto_session_func(session_factory=Others)
def audit_there(*, session: Session = NEW_SESSION) -> int:
    return 1

def _raw(*, session: Session = NEW_SESSION) -> int:
    return 1

class Options(TypedDict, total=False):
    propagation: Propagation

OPTIONS: Options = {"propagation": Propagation.REQUIRES_NEW}

@auto_session_func(**OPTIONS)
def by_options(*, session: Session = NEW_SESSION) -> int:
    return 1

apart = auto_session_func(propagation=Propagation.REQUIRES_NEW, retry=None)

@apart
def by_variable(*, session: Session = NEW_SESSION) -> int:
    return 1

print(auto_session_func(_raw))
called_apart = auto_session_func(propagation=Propagation.REQUIRES_NEW)(_raw)
called = auto_session_func(_raw)

accounts = Accounts()
alias = accounts.open
apart_alias = accounts.apart
"""

IMPORTS: Final = """
import asyncio
from concurrent.futures import Future
from dataclasses import dataclass
from contextlib import ExitStack
from functools import partial, partialmethod
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from session_aware import Propagation, after_commit
from services import (
    Accounts, Attribute, Audit, DerivedAudit, Instance, Joined, Others, Sessions, Shop, Warehouse,
    Made, OPTIONS, accounts, alias, apart_alias, audit, audit_apart, audit_there, by_options, by_variable, called,
    called_apart, make,
)
"""

CASES: Final = {
    "propagation": """
        def use(session: Session) -> None:
            accounts.apart()
            audit_apart()
            called_apart()
            by_options()
            by_variable()
            Audit().log()
            DerivedAudit().log()
            accounts.nested()  # E: session-not-passed
            Audit().join()  # E: session-not-passed
            Joined().log()  # E: session-not-passed
            called()  # E: session-not-passed
            audit()  # E: session-not-passed
            accounts.open("ann")  # E: session-not-passed
            accounts.open("ann", session=session)
        """,
    "other policies": """
        class Reads(SessionAwareService, read_only=True):
            def report(self, *, session: Session = NEW_SESSION) -> None:
                accounts.open("ann")
                accounts.read()  # E: session-not-passed
        class Strict(SessionAwareService, isolation_level="SERIALIZABLE"):
            def move(self, *, session: Session = NEW_SESSION) -> None:
                accounts.strict()  # E: session-not-passed
                accounts.open("ann")  # E: session-not-passed
        def use(session: Session) -> None:
            accounts.strict()
            accounts.read()  # E: session-not-passed
            accounts.dry()  # E: session-not-passed
            accounts.dry(is_commit=False)
        """,
    "factories": """
        class Own(SessionAwareService, session_factory=Sessions):
            def move(self, *, session: Session = NEW_SESSION) -> None:
                Shop().sell()  # E: session-not-passed
                Warehouse().take()
                Attribute().put()
                audit_there()
                audit()
                Instance(Others).work()
                self.move()  # E: session-not-passed
        class Same(SessionAwareService, session_factory=Others):
            def move(self, *, session: Session = NEW_SESSION) -> None:
                Shop().sell()
                Warehouse().take()  # E: session-not-passed
                Warehouse().look()
                Attribute().put()  # E: session-not-passed
                audit_there()  # E: session-not-passed
        class Unnamed(SessionAwareService):
            def move(self, *, session: Session = NEW_SESSION) -> None:
                Shop().sell()
                audit()  # E: session-not-passed
        @auto_session_func(session_factory=Others)
        def decorated(*, session: Session = NEW_SESSION) -> None:
            Shop().sell()
            Warehouse().take()  # E: session-not-passed
        def blocks() -> None:
            with Others() as s:
                Shop().sell()
                Warehouse().take()  # E: session-not-passed
                accounts.open("ann")  # E: session-not-passed
            with Others.begin() as s:
                Shop().sell()
                Warehouse().take()  # E: session-not-passed
            with auto_session_ctx(session_factory=Others) as s:
                Shop().sell()
                Warehouse().take()  # E: session-not-passed
            with auto_session_ctx() as s:
                Shop().sell()
                accounts.open("ann")  # E: session-not-passed
            with auto_session_ctx(session_factory=Sessions, **OPTIONS) as s:
                Shop().sell()
            with make() as s:
                Shop().sell()
                Made().work()  # E: session-not-passed
        def given(session: Session) -> None:
            with auto_session_ctx(session, session_factory=Sessions) as s:
                Warehouse().take()  # E: session-not-passed
        def both(session: Session) -> None:
            with Others() as other:
                Shop().sell()  # E: session-not-passed
        """,
    "objects of their own": """
        @dataclass
        class Store(SessionAwareService):
            session_factory: sessionmaker[Session]
            def put(self, *, session: Session = NEW_SESSION) -> None: ...
            def copy(self, to: "Store", *, session: Session = NEW_SESSION) -> None:
                to.put()
                self.put()  # E: session-not-passed
        class Tenant(SessionAwareService):
            @property
            def session_factory(self) -> sessionmaker[Session]:  # type: ignore[override]
                return Others
            def put(self, *, session: Session = NEW_SESSION) -> None: ...
        class Mixin:
            session_factory = Others
        class Mixed(Mixin, SessionAwareService):  # type: ignore[misc]
            def put(self, *, session: Session = NEW_SESSION) -> None: ...
        def helper(*, session: Session | None = None) -> None: ...
        def register(number: int) -> Callable[[Callable[[], int]], Callable[[], int]]:
            return lambda func: func
        class Several(SessionAwareService, session_factory=Sessions):
            def move(self, db: Session, *, session: Session = NEW_SESSION) -> None:
                Warehouse().take()  # E: session-not-passed
                helper()
            def mix(self, *, session: Session = NEW_SESSION) -> None:
                Mixed().put()
        def decorates(session: Session) -> Callable[[], int]:
            @register(accounts.open("ann"))  # E: session-not-passed
            def inner() -> int:
                return 1
            return inner
        own = auto_session_func(propagation=Propagation.REQUIRES_NEW)
        def background(func: Callable[[int], int]) -> Callable[[int], Future[int]]:
            raise NotImplementedError
        class Unnamed(SessionAwareService):
            def move(self, *, session: Session = NEW_SESSION) -> None:
                Mixed().put()
        class Desk(SessionAwareService):
            def __init__(self, tenant: Tenant) -> None:
                self.tenant = tenant
            def move(self, *, session: Session = NEW_SESSION) -> None:
                self.tenant.put()
                self.log()
                self.send()
            @own
            def log(self, *, session: Session = NEW_SESSION) -> None: ...
            def send(self, *, session: Session = NEW_SESSION) -> Future[int]:
                raise NotImplementedError
        """,
    "transactions that do not last": """
        def reads() -> None:
            with Sessions() as s:
                number = s.scalars(select(1)).one()
                Shop().sell()
                print(number)
        def writes() -> None:
            with Sessions() as s:
                s.execute(select(1))
                Shop().sell()  # E: session-not-passed
                s.commit()
                Shop().sell()  # E: session-not-passed
                s.commit()
                Shop().sell()
            with Sessions.begin() as s:
                s.execute(select(1))
                Shop().sell()  # E: session-not-passed
                s.rollback()
                Shop().sell()
        @contextmanager
        def transaction() -> Iterator[Session]:
            with Sessions.begin() as s:
                yield s
        def committed_elsewhere() -> None:
            with transaction() as s:
                s.execute(select(1))
                accounts.open("ann")  # E: session-not-passed
        def made() -> None:
            with make() as s:
                s.execute(select(1))
                accounts.open("ann")
            s = make()
            s.execute(select(1))
            accounts.open("ann")
        def inside_try() -> None:
            try:
                with Sessions.begin() as s:
                    accounts.open("ann")  # E: session-not-passed
                    if not s.new:
                        raise LookupError
                other = Sessions()
                accounts.open("ann")  # E: session-not-passed
                other.commit()
            except LookupError:
                print("none")
        class Database:
            maker: sessionmaker[Session] = Sessions
        def of_an_object(database: Database) -> None:
            with database.maker() as s:
                s.execute(select(1))
                accounts.open("ann")
            with {1: Sessions}[1]() as s:
                s.execute(select(1))
                accounts.open("ann")
            with {1: Sessions}[1]() as s:
                accounts.open("ann")  # E: session-not-passed
                s.commit()
        def other_engine(engine: Engine) -> None:
            with Session(engine) as s:
                Shop().sell()
                accounts.open("ann")  # E: session-not-passed
            with Sessions(bind=engine) as s:
                Shop().sell()
        def dry() -> None:
            with auto_session_ctx(session_factory=Sessions, is_commit=False) as s:
                Shop().sell()
        def failures(session: Session, is_right: bool) -> None:
            try:
                session.execute(select(1))
                accounts.open("ann")  # E: session-not-passed
            except ValueError:
                accounts.open("ann")
                raise
            finally:
                accounts.open("ann")
            try:
                accounts.open("ann")
            except ValueError:
                print("tried")
            if not is_right:
                accounts.open("ann")
                raise PermissionError
        def closed(session: Session, stack: ExitStack) -> None:
            with session:
                accounts.open("ann")  # E: session-not-passed
            accounts.open("ann")
        def begun(session: Session) -> None:
            with session.begin():
                accounts.open("ann")  # E: session-not-passed
            accounts.open("ann")
        def registered(session: Session, stack: ExitStack) -> None:
            stack.callback(session.close)
            accounts.open("ann")
        class Work:
            session: Session
            stack: ExitStack
            def __init__(self) -> None:
                accounts.open("ann")
                self.session = Sessions()
            def __enter__(self) -> None:
                accounts.open("ann")
            def keep(self) -> None:
                self.stack.enter_context(accounts.block())
                accounts.open("ann")  # E: session-not-passed
        def matched(session: Session, value: object) -> None:
            match value:
                case [int(), Session() as session]:
                    accounts.open("ann")
                case _:
                    pass
        def nested(session: Session, pairs: list[tuple[int, tuple[Session, int]]]) -> None:
            number, (session, *rest) = pairs[0]
            accounts.open("ann")
        def configured(session: Session) -> None:
            session.autoflush = False
            accounts.open("ann")  # E: session-not-passed
        def batches() -> None:
            with Sessions() as s:
                for row in s.scalars(select(1)):
                    Shop().sell()  # E: session-not-passed
                    s.commit()
        """,
    "later": """
        def use(session: Session, names: list[str]) -> object:
            first: Callable[[], int] = lambda: accounts.open("ann")
            after_commit(session, lambda: print(accounts.open("ann")))
            def inner() -> int:
                return accounts.open("ann")
            class Local:
                opened = accounts.open("ann")
                def method(self) -> int:
                    return accounts.open("ann")
            def default(number: int = accounts.open("ann")) -> int:
                return number
            later = partial(accounts.open, "ann")
            mapped = map(accounts.open, names)
            lazy = (accounts.open(name) for name in names)
            rows = accounts.rows()
            after_commit(session, partial(print, later, mapped, lazy, rows, first, inner, Local, default))
            return accounts.rows()
        async def ause(session: AsyncSession) -> None:
            await asyncio.gather(accounts.aopen("ann"), accounts.aopen("bob"))
            task = asyncio.create_task(accounts.aopen("ann"))
            await task
            async with asyncio.TaskGroup() as group:
                group.create_task(accounts.aopen("ann"))
            await asyncio.wait_for(accounts.aopen("ann"), 1)
            rows = accounts.arows()
            print(rows, list(map(accounts.aopen, ["ann"])))
        """,
    "on the spot": """
        class Table(DeclarativeBase): ...
        class Row(Table):
            __tablename__ = "row"
            number: Mapped[int] = mapped_column(primary_key=True)
        def use(session: Session, names: list[str]) -> Iterator[int]:
            [accounts.open(name) for name in names]  # E: session-not-passed
            {accounts.open(name) for name in names}  # E: session-not-passed
            {name: accounts.open(name) for name in names}  # E: session-not-passed
            print(max(accounts.open(name) for name in names))  # E: session-not-passed
            accounts.open("ann") if names else None  # E: session-not-passed
            print([row for row in accounts.rows()])  # E: session-not-passed
            print(list(accounts.rows()))  # E: session-not-passed
            for row in accounts.rows():  # E: session-not-passed
                print(row)
            with accounts.block() as block:  # E: session-not-passed
                print(block)
            with ExitStack() as stack:
                stack.enter_context(accounts.block())  # E: session-not-passed
            partial(accounts.open, "ann")()  # E: session-not-passed
            partial(accounts.open, "ann", session=session)()
            opens = partial(accounts.open, "ann")
            opens()  # E: session-not-passed
            opens(session=session)
            print(list(map(accounts.open, names)))  # E: session-not-passed
            print(list(map(partial(accounts.open, session=session), names)))
            for number in map(accounts.open, names):  # E: session-not-passed
                print(number)
            accounts.maybe()  # E: session-not-passed
            accounts.maybe(session=session)
            first = second = accounts.open("ann")  # E: session-not-passed
            first += accounts.open("ann")  # E: session-not-passed
            line = Row()
            line.number = accounts.open("ann")  # E: session-not-passed
            line.number, second = accounts.open("ann"), 1  # E: session-not-passed
            line.number += accounts.open("ann")  # E: session-not-passed
            print(line, first, second)
            yield from accounts.rows()  # E: session-not-passed
        async def ause(session: AsyncSession) -> None:
            await accounts.aopen("ann")  # E: session-not-passed
            await accounts.aopen("ann", session=session)
            async for row in accounts.arows():  # E: session-not-passed
                print(row)
            print([row async for row in accounts.arows()])  # E: session-not-passed
            await session.run_sync(lambda s: accounts.open("ann"))  # E: session-not-passed
            await session.run_sync(lambda s: accounts.open("ann", session=s))
            await session.run_sync(lambda session: accounts.open("ann"))  # E: session-not-passed
        """,
    "receivers": """
        T = TypeVar("T", bound=Accounts)
        class Bank(Accounts):
            open_ann = partialmethod(Accounts.open, "ann")
            def move(self, owner: str, *, session: Session = NEW_SESSION) -> int:
                super().open(owner)  # E: session-not-passed
                super(Bank, self).open(owner)
                super().apart()
                return self.open(owner)  # E: session-not-passed
            def apart(self, *, session: Session = NEW_SESSION) -> int:
                return super().apart()
            move_ann = partialmethod(move, "ann")
            given = partialmethod(move, "ann", session=NEW_SESSION)
        def generic(service: T, kind: type[T], session: Session) -> T:
            service.open("ann")  # E: session-not-passed
            service.open("ann", session=session)
            service.apart()
            kind().open("ann")  # E: session-not-passed
            return service
        def use(bank: Bank, session: Session, either: Bank | Accounts, unclear: Accounts | Any) -> None:
            unclear.open("ann")
            print(list(map(Accounts().open, ["ann"])))  # E: session-not-passed
            print(list(map({1: accounts}[1].open, ["ann"])))  # E: session-not-passed
            twice = accounts.open
            twice = accounts.open
            twice("ann")
            chosen = accounts.open if bank else accounts.open
            chosen("ann")
            kind: type[Accounts] = type(bank)
            kind.count()  # E: session-not-passed
            bank.move_ann()  # E: session-not-passed
            bank.move_ann(session=session)
            bank.given()
            either.open("ann")  # E: session-not-passed
            apart = accounts.apart
            apart()
            opened = accounts.open
            opened("ann")  # E: session-not-passed
            alias("ann")
            apart_alias()
        """,
    "sessions": """
        maker = sessionmaker[Session]()
        class Holder:
            def __init__(self, session: Session) -> None:
                self.session = session
            def use(self) -> None:
                accounts.open("ann")  # E: session-not-passed
                accounts.open("ann", session=self.session)
            def end(self) -> None:
                self.session.close()
                accounts.open("ann")
            @staticmethod
            def without() -> None:
                accounts.open("ann")
        class Two:
            def __init__(self, one: Session, two: Session) -> None:
                self.one, self.two = one, two
            def use(self) -> None:
                accounts.open("ann")
        def local(is_new: bool) -> None:
            accounts.open("ann")
            s = maker()
            accounts.open("ann")  # E: session-not-passed
            accounts.open("ann", session=s)
            try:
                accounts.open("ann")  # E: session-not-passed
            finally:
                s.close()
            accounts.open("ann")
        def branch(is_new: bool) -> None:
            if is_new:
                s = maker()
                print(s)
            accounts.open("ann")
        def rebound(session: Session) -> None:
            session = maker()
            accounts.open("ann")  # E: session-not-passed
        def rebound_twice(session: Session) -> None:
            for session in [maker(), maker()]:
                print(session)
            accounts.open("ann")
        def deleted(session: Session, other: list[int]) -> None:
            accounts.open("ann")  # E: session-not-passed
            del other[0], session, other
            accounts.open("ann")
        def closed(session: Session) -> None:
            for _ in range(2):
                accounts.open("ann")
                session.close()
        def block() -> None:
            with maker() as session:
                accounts.open("ann")  # E: session-not-passed
                session.close()
                accounts.open("ann")
            with maker() as session:
                session = maker()
                accounts.open("ann")
        def entered(session: Session) -> None:
            with session as s:
                accounts.open("ann")  # E: session-not-passed
        async def amaker() -> AsyncSession:
            return AsyncSession()
        async def awaited() -> None:
            s = await amaker()
            await accounts.aopen("ann")  # E: session-not-passed
            await s.close()
        open_here = maker()
        accounts.open("ann")  # E: session-not-passed
        open_here.close()
        accounts.open("ann")
        def fixture(session_aware_session: Session) -> None:
            accounts.open("ann")
        async def afixture(session_aware_async_session: AsyncSession) -> None:
            await accounts.aopen("ann")
        """,
}


def calls_of_the_plugin(project: Project, number: int) -> int:
    """Check a function with a number of calls, and count what the plugin's own functions are called."""
    calls = "".join(f"    x{index} = accounts.open('ann')  # E: session-not-passed\n" for index in range(number))
    project.write(f"many_{number}.py", f"from services import accounts\n\ndef use(session: Session) -> None:\n{calls}")
    counted = 0

    def count(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event == "call" and "mypy_plugin" in frame.f_code.co_filename

    sys.setprofile(count)
    try:
        project.verify()
    finally:
        sys.setprofile(None)
    return counted


def test_time_is_linear_in_the_calls_of_a_function(project: Project) -> None:
    project.write("services.py", SERVICES)
    project.verify()
    few = calls_of_the_plugin(project, 50)
    (project.folder / "many_50.py").unlink()
    many = calls_of_the_plugin(project, 500)
    assert 500 < few < many < 10.5 * few


@pytest.mark.parametrize("case", CASES)
def test_finding_is_true_or_is_not_made(case: str, project: Project) -> None:
    project.write("services.py", SERVICES)
    project.write("uses.py", textwrap.dedent(IMPORTS) + textwrap.dedent(CASES[case]))
    project.verify()
    path = project.folder / "uses.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    project.verify()  # the services are read from the cache now
