"""Other people's decorators above and beneath @auto_session_func in a service."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, SessionAwareService, auto_session_func

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

maker = sessionmaker(create_engine("sqlite://"))
calls: list[str] = []


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        calls.append(function.__name__)
        return function(*args, **kwargs)

    return wrapper


def _is_read_only(session: Session) -> bool:
    return bool(session.info["session_aware"].is_read_only)


class Decorated(SessionAwareService, session_factory=maker):
    @logged
    @auto_session_func(read_only=True)
    def method(self, *, session: Session = NEW_SESSION) -> bool:
        return _is_read_only(session)

    @classmethod
    @logged
    @auto_session_func(read_only=True)
    def of_class(cls, *, session: Session = NEW_SESSION) -> bool:
        return _is_read_only(session)

    @staticmethod
    @logged
    @auto_session_func(read_only=True)
    def of_nobody(*, session: Session = NEW_SESSION) -> bool:
        return _is_read_only(session)

    @logged
    @auto_session_func(read_only=True)
    def stream(self, *, session: Session = NEW_SESSION) -> Iterator[bool]:
        yield _is_read_only(session)

    @auto_session_func(read_only=True)
    @logged
    def above(self, *, session: Session = NEW_SESSION) -> bool:
        return _is_read_only(session)


def test_policy_and_factory_hold_beneath_and_above_other_decorators() -> None:
    calls.clear()
    one = Decorated()
    assert [one.method(), Decorated.of_class(), one.of_nobody(), next(one.stream()), one.above()] == [True] * 5
    assert calls == ["method", "of_class", "of_nobody", "stream", "above"]


def test_methods_taken_from_another_object_keep_its_factory() -> None:
    other = Decorated()

    class Borrows(SessionAwareService):
        method = other.method
        above = other.above
        function = Decorated.above

    class Owns(Borrows, session_factory=maker):
        pass

    assert Borrows().method()
    assert Borrows().above()
    assert Owns().function()
