"""cloudpickle and dill take a class of ``__main__`` apart, and put it together in a process that has never seen it."""

from __future__ import annotations

import copy
import functools
import importlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, SessionAwareService, auto_session_func, configure
from session_aware._call import lane
from tests.services import Accounts

PROGRAM = """
import contextlib, functools, sys
import {pickler} as pickler
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from session_aware import NEW_SESSION, Propagation, SessionAwareService, auto_session_func


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper


class Accounts(SessionAwareService):
    def __init__(self, name: str) -> None:
        self.name = name

    def of_object(self, x: int, *, session: Session = NEW_SESSION) -> object:
        return self.name, x, session.in_transaction()

    @classmethod
    def of_class(cls, x: int, *, session: Session = NEW_SESSION) -> object:
        return cls.__name__, x, session.in_transaction()

    @staticmethod
    def of_nobody(x: int, *, session: Session = NEW_SESSION) -> object:
        return x, session.in_transaction()

    @logged
    def decorated(self, x: int, *, session: Session = NEW_SESSION) -> object:
        return self.name, x, session.in_transaction()

    @auto_session_func(propagation=Propagation.NESTED)
    def marked(self, x: int, *, session: Session = NEW_SESSION) -> object:
        return self.name, x, session.in_transaction()

    @logged
    @auto_session_func
    def decorated_above(self, x: int, *, session: Session = NEW_SESSION) -> object:
        return self.name, x, session.in_transaction()

    if sys.version_info < (3, 14):  # which cannot unpickle the partialmethod of a plain class either
        partial = functools.partialmethod(of_object, 1)

    def stream(self, x: int, *, session: Session = NEW_SESSION):
        yield self.name, x, session.in_transaction()

    @contextlib.contextmanager
    def held(self, x: int, *, session: Session = NEW_SESSION):
        yield self.name, x, session.in_transaction()

    async def awaited(self, x: int, *, session: AsyncSession = NEW_SESSION) -> object:
        return self.name, x, session.in_transaction()

    async def astream(self, x: int, *, session: AsyncSession = NEW_SESSION):
        yield self.name, x, session.in_transaction()


class Below(Accounts):
    def of_object(self, x: int, *, session: Session = NEW_SESSION) -> object:
        return super().of_object(x, session=session)


@auto_session_func
def free(x: int, *, session: Session = NEW_SESSION) -> object:
    return x, session.in_transaction()


accounts = Below("ann")
callables = accounts.of_object, Below.of_class, Below.of_nobody, accounts.of_nobody, accounts.stream, free
with open(sys.argv[1], "wb") as file:
    pickler.dump((Below, accounts, *callables), file)
"""
READER = """
import asyncio, sys
import {pickler} as pickler
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from session_aware import PropagationError, Propagation, configure

with open(sys.argv[1], "rb") as file:
    Below, accounts, of_object, of_class, of_nobody, of_object_nobody, stream, free = pickler.load(file)
configure(
    session_factory=sessionmaker(create_engine("sqlite://")),
    async_session_factory=async_sessionmaker(create_async_engine("sqlite+aiosqlite://")),
)
seen = ("ann", 1, True)
decorated = accounts.decorated, accounts.marked, accounts.decorated_above
for one in (of_object, accounts.of_object, Below("ann").of_object, *decorated):
    assert one(1) == seen, one
assert sys.version_info >= (3, 14) or accounts.partial() == seen
assert next(stream(1)) == next(accounts.stream(1)) == seen
with accounts.held(1) as value:
    assert value == seen
for one in (of_class, Below.of_class, accounts.of_class):
    assert one(1) == ("Below", 1, True)
for one in (of_nobody, of_object_nobody, Below.of_nobody, accounts.of_nobody, free):
    assert one(1) == (1, True), one


async def awaited():
    return await accounts.awaited(1), [one async for one in accounts.astream(1)]


assert asyncio.run(awaited()) == (seen, [seen])
with Session(create_engine("sqlite://")) as given:
    assert accounts.of_object(1, session=given) == ("ann", 1, False)
    assert accounts.marked(1, session=given) == seen  # in a SAVEPOINT
    given.rollback()
    configure(propagation=Propagation.REQUIRES_NEW)
    for one in (accounts.of_object, Below.of_class, Below.of_nobody, of_class, free):
        try:
            one(1, session=given)
        except PropagationError:
            pass
        else:
            raise AssertionError(one)
print("seen")
"""


USED_SESSIONS = """
import {pickler}
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session, sessionmaker
from session_aware import NEW_SESSION, auto_session_func

class Own(Session):
    pass

def engine():
    return create_engine("sqlite://")

called = []
maker = sessionmaker()

@auto_session_func(session_factory=lambda: Own(engine()))
def work(*, session: Session = NEW_SESSION):
    return session.scalar(text("SELECT 1"))

@auto_session_func(session_factory=maker)
def empty(*, session: Session = NEW_SESSION):
    return 1

for _ in range(2):
    again, other, made = {pickler}.loads({pickler}.dumps((work, Own, maker)))
    assert work() == again() == 1
    event.listen(other, "after_begin", lambda *_: called.append("begun"))
    auto_session_func(session_factory=lambda: other(engine()))(work.__wrapped__)()
    assert made.class_ is not None and empty() == 1
assert called
"""

NO_DILL = pytest.mark.skipif(sys.version_info >= (3, 15), reason="dill reads co_lnotab, gone in Python 3.15")
PICKLERS = ["cloudpickle", pytest.param("dill", marks=NO_DILL)]
has_lane = pytest.mark.skipif(not lane.IS_ON, reason="the lane is switched off by SESSION_AWARE_LANE=off")


class Here(SessionAwareService):
    @staticmethod
    def static(*, session: Session = NEW_SESSION) -> int:
        return 1


class Opener:
    def __call__(self, *, session: Session = NEW_SESSION) -> int:
        return 1


@auto_session_func
@functools.lru_cache
def cached(*, session: Session = NEW_SESSION) -> int:
    return 1


@has_lane
def test_what_stands_in_a_class_goes_by_value_and_copies_are_the_same() -> None:
    for value in (vars(Here)["static"], vars(Here)["static"].__func__.__dict__["__session_aware__"]):
        made, arguments, *_ = value.__reduce_ex__(4)
        assert type(made(*arguments)) is type(value)
    made_of_object: Any = auto_session_func(Opener())
    assert copy.copy(made_of_object) is copy.deepcopy(made_of_object) is made_of_object
    assert pickle.loads(pickle.dumps(cached)) is cached


@has_lane
def test_class_that_only_a_function_knows_goes_by_value() -> None:
    class Local(SessionAwareService):
        def own(self, *, session: Session = NEW_SESSION) -> bool:
            return session.in_transaction()

    cloudpickle: Any = importlib.import_module("cloudpickle")  # has no types
    configure(session_factory=sessionmaker())
    lane = vars(Local)["own"]
    again = cloudpickle.loads(cloudpickle.dumps(Local))
    assert vars(again)["own"] is not lane  # cloudpickle has set it again
    assert again().own() is True


def test_copy_of_a_bound_dispatching_method_is_bound_to_the_copy() -> None:
    bound = Accounts().dispatched
    copied = copy.deepcopy(bound)
    assert type(copied) is type(bound)
    assert copied is not bound


def run(file: Path, program: str, *arguments: str) -> str:
    file.write_text(program)
    command = [sys.executable, "-W", "error::UserWarning", str(file), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@has_lane
@pytest.mark.parametrize("pickler", PICKLERS)
def test_services_of_main_work_in_another_process(pickler: str, tmp_path: Path) -> None:
    said = []
    for name, program in (("writer.py", PROGRAM), ("reader.py", READER)):
        said.append(run(tmp_path / name, program.replace("{pickler}", pickler), str(tmp_path / "pickled")))
    assert said == ["", "seen\n"]


def test_class_of_sessions_that_only_a_function_knows_goes_by_value_after_a_unit() -> None:
    class Local(Session):
        pass

    @auto_session_func(session_factory=sessionmaker(class_=Local))
    def run(*, session: Session = NEW_SESSION) -> type[Session]:
        return type(session)

    cloudpickle: Any = importlib.import_module("cloudpickle")  # has no types
    made = run()
    assert issubclass(made, Local)
    assert cloudpickle.loads(cloudpickle.dumps(made)) is made


@has_lane
@pytest.mark.parametrize("pickler", PICKLERS)
def test_class_of_sessions_that_units_have_used_is_pickled_as_before(pickler: str, tmp_path: Path) -> None:
    assert run(tmp_path / "program.py", USED_SESSIONS.replace("{pickler}", pickler)) == ""
