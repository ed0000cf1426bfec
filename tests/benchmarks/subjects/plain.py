"""Code without a library: the raw call, what people write by hand, and what Airflow's decorator does."""

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tests.benchmarks._case import CALLS, Case
from tests.benchmarks._creation import creation_case
from tests.benchmarks._database import (
    aexpiring,
    ainsert_one,
    amaker,
    aselect_one,
    expiring,
    insert_one,
    maker,
    select_one,
)
from tests.benchmarks._service import Decorators, auto_cases, manual_cases, service

__all__ = ["SUBJECTS"]


def provide_session(function: Callable[..., Any]) -> Callable[..., Any]:
    """Do what Airflow documents of ``provide_session``, in our words: its package needs some 140 others.

    The decorator learns at decoration where ``session`` stands in the signature. A call that passes it, by name or by
    position, goes through; any other gets the thread's session, which is committed on return, rolled back on an exception,
    and closed.
    """
    position = list(inspect.signature(function).parameters).index("session")

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if "session" in kwargs or position < len(args):
            return function(*args, **kwargs)
        with _created_session() as session:
            return function(*args, session=session, **kwargs)

    return wrapper


_registry = scoped_session(maker)  # each thread uses one session again and again


@contextmanager
def _created_session() -> Iterator[Any]:
    session = _registry()
    try:
        yield session
        session.commit()
    except Exception:
        session.rollback()
        raise
    finally:
        session.close()


def _sync(maker: sessionmaker[Session]) -> type:
    class Sync:
        def empty(self, number: int) -> int:
            with maker.begin():
                return number

        @classmethod
        def of_class(cls, number: int) -> int:
            with maker.begin():
                return number

        @staticmethod
        def static(number: int) -> int:
            with maker.begin():
                return number

        def anything(self, number: int, *args: Any, **kwargs: Any) -> int:
            with maker.begin():
                return number

        def select(self, number: int) -> object:
            with maker.begin() as session:
                return select_one(session)

        def insert(self, number: int) -> None:
            with maker.begin() as session:
                insert_one(session)

        def stream(self, number: int) -> Iterator[int]:
            with maker.begin():
                yield from range(number)

        @contextmanager
        def block(self, number: int) -> Iterator[int]:
            with maker.begin():
                yield number

    return Sync


_Sync: Any = _sync(maker)
_Expiring: Any = _sync(expiring)


class ByHand(_Sync):
    """What keeps the promises of this library: no expiry; of the usual async forms the cheaper one, with one ``commit()``.

    An exception reaches the ``close()`` at the end of the block, which rolls back. ``amaker.begin()`` is the dearer form.
    """

    async def aempty(self, number: int) -> int:
        async with amaker() as session:
            await session.commit()
            return number

    async def aselect(self, number: int) -> object:
        async with amaker() as session:
            found = await aselect_one(session)
            await session.commit()
            return found

    async def ainsert(self, number: int) -> None:
        async with amaker() as session:
            await ainsert_one(session)
            await session.commit()

    async def astream(self, number: int) -> AsyncIterator[int]:
        async with amaker() as session:
            for one in range(number):
                yield one
            await session.commit()

    @asynccontextmanager
    async def ablock(self, number: int) -> AsyncIterator[int]:
        async with amaker() as session:
            yield number
            await session.commit()


class AsMostWriteIt(_Expiring):
    """What SQLAlchemy's documentation shows: ``maker.begin()``, whose objects expire at the commit."""

    async def aempty(self, number: int) -> int:
        async with aexpiring.begin():
            return number

    async def aselect(self, number: int) -> object:
        async with aexpiring.begin() as session:
            return await aselect_one(session)

    async def ainsert(self, number: int) -> None:
        async with aexpiring.begin() as session:
            await ainsert_one(session)

    async def astream(self, number: int) -> AsyncIterator[int]:
        async with aexpiring.begin():
            for one in range(number):
                yield one

    @asynccontextmanager
    async def ablock(self, number: int) -> AsyncIterator[int]:
        async with aexpiring.begin():
            yield number


class Either:
    """Both modes by hand: the method opens a session if it was given none."""

    def empty(self, number: int, *, session: Any = None) -> int:
        if session is None:
            with maker.begin() as session:  # noqa: PLR1704 - as people write it
                return self.empty(number, session=session)
        return number


class _Savepoint:
    """A transaction under way, in which savepoints are set by hand."""

    def __init__(self) -> None:
        self.session = maker()

    @contextmanager
    def begun(self) -> Iterator[None]:
        with self.session, self.session.begin():
            self.session.connection()
            yield

    def empty(self, number: int) -> int:
        with self.session.begin_nested():
            return number


class _Level:
    def empty(self, number: int) -> int:
        with maker.begin() as session:
            session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
            return number


_EACH = Decorators()
_AIRFLOW = Decorators(provide_session, None, None, None, None, None)
_BY_HAND = {"service": Either(), "session": maker()}
_Airflow = service(_AIRFLOW)
_savepoint = _Savepoint()
_OPTIONS = {
    "options: block, owned": Case("with maker.begin(): pass", {"maker": maker}, CALLS),
    "options: block, given": Case(
        "with nullcontext(session): pass", {"nullcontext": nullcontext, "session": _BY_HAND["session"]}, 200
    ),
    "options: isolation level": Case("service.empty(1)", {"service": _Level()}, CALLS),
    "options: savepoint": Case("service.empty(1)", {"service": _savepoint}, CALLS, around=_savepoint.begun),
}

SUBJECTS = {
    "raw call": {**manual_cases(service(_EACH), _EACH), **creation_case()},
    "by hand": {
        "manual: instance method": Case("service.empty(1, session=session)", _BY_HAND),
        **auto_cases(ByHand, _EACH),
        **_OPTIONS,
    },
    "as most write it": auto_cases(AsMostWriteIt, _EACH),
    "Airflow's way": {
        **manual_cases(_Airflow, _AIRFLOW),
        **auto_cases(_Airflow, _AIRFLOW),
        **creation_case(provide_session),
    },
}
