"""Code without a library: the raw call, what people write by hand, and what Airflow's decorator does."""

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tests.benchmarks._case import Case
from tests.benchmarks._creation import creation_case
from tests.benchmarks._database import ainsert_one, amaker, aselect_one, insert_one, maker, select_one
from tests.benchmarks._service import Decorators, auto_cases, manual_cases, service

__all__ = ["SUBJECTS"]


def provide_session(function: Callable[..., Any]) -> Callable[..., Any]:
    """Do what Airflow documents of ``provide_session``, in our words: its package needs some 140 others.

    The decorator learns at decoration where ``session`` stands in the signature. A call that passes it, by name or by
    position, goes through; any other gets a session that is committed on return, rolled back on an exception, and closed.
    """
    position = list(inspect.signature(function).parameters).index("session")

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if "session" in kwargs or position < len(args):
            return function(*args, **kwargs)
        with _created_session() as session:
            return function(*args, session=session, **kwargs)

    return wrapper


@contextmanager
def _created_session() -> Iterator[Any]:
    session = maker()
    try:
        yield session
        session.commit()
    except Exception:
        session.rollback()
        raise
    finally:
        session.close()


class ByHand:
    """What SQLAlchemy's documentation shows, in each kind of callable."""

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

    async def aempty(self, number: int) -> int:
        async with amaker.begin():
            return number

    async def aselect(self, number: int) -> object:
        async with amaker.begin() as session:
            return await aselect_one(session)

    async def ainsert(self, number: int) -> None:
        async with amaker.begin() as session:
            await ainsert_one(session)

    def stream(self, number: int) -> Iterator[int]:
        with maker.begin():
            yield from range(number)

    async def astream(self, number: int) -> AsyncIterator[int]:
        async with amaker.begin():
            for one in range(number):
                yield one

    @contextmanager
    def block(self, number: int) -> Iterator[int]:
        with maker.begin():
            yield number

    @asynccontextmanager
    async def ablock(self, number: int) -> AsyncIterator[int]:
        async with amaker.begin():
            yield number


class Either:
    """Both modes by hand: the method opens a session if it was given none."""

    def empty(self, number: int, *, session: Any = None) -> int:
        if session is None:
            with maker.begin() as session:  # noqa: PLR1704 - as people write it
                return self.empty(number, session=session)
        return number


_EACH = Decorators()
_AIRFLOW = Decorators(provide_session, None, None, None, None, None)
_BY_HAND = {"service": Either(), "session": maker()}
_Airflow = service(_AIRFLOW)

SUBJECTS = {
    "raw call": {**manual_cases(service(_EACH), _EACH), **creation_case()},
    "by hand": {"manual: instance method": Case("service.empty(1, session=session)", _BY_HAND)} | auto_cases(ByHand, _EACH),
    "airflow's way": {
        **manual_cases(_Airflow, _AIRFLOW),
        **auto_cases(_Airflow, _AIRFLOW),
        **creation_case(provide_session),
    },
}
