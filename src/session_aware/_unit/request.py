"""The decision about a call: what it does with its session, and under which policy."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from session_aware.exceptions import SessionFactoryError, SessionParameterError

if TYPE_CHECKING:
    from session_aware._unit.policy import SessionPolicy

__all__ = ["JOIN", "OPEN", "Asked", "Plan", "Request", "refuse_other_session"]


class Plan(enum.Enum):
    """What a call does with a given session, or without one."""

    JOIN = "run the body in the given session and touch nothing"
    VERIFIED_JOIN = "the same, after the given transaction's isolation level was checked"
    SAVEPOINT = "run the body in a SAVEPOINT of the given session, its isolation level checked"
    OPEN = "own: open, begin, commit or roll back, close"

    __hash__ = object.__hash__  # Enum's is a Python function, which each call would pay for


# For code that runs at each call: before Python 3.12, looking a member up on its class costs a call.
JOIN: Final = Plan.JOIN
OPEN: Final = Plan.OPEN


class Asked(enum.Enum):
    """How a unit was requested. The warning about a forgotten session depends on it."""

    WITHOUT = "called without 'session='"
    WITH_NONE = "called without a session"  # None was passed, or it is the default and nothing was
    AS_A_BLOCK = "entered without a session"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Request:
    """The decision about one kind of call, which follows from its policies. Calls share it, concurrent ones too.

    The source of the session is passed separately: it is the given session or, with ``OPEN``, the factory.
    """

    plan: Plan
    name: str
    policy: SessionPolicy
    commits: bool
    asked: Asked = Asked.WITHOUT
    is_suspendable: bool = False  # a suspended generator or context manager may be garbage-collected


def refuse_other_session(request: Request, session: object, wanted: str) -> NoReturn:
    """Report a session that is not of the kind the callable needs."""
    found = type(session).__name__
    article = "an" if wanted == "AsyncSession" else "a"
    if request.plan is not Plan.OPEN:
        msg = f"{request.name}: it needs {article} {wanted}, but 'session' is of type {found}. Write 'session=' with one."
        raise SessionParameterError(msg)
    keyword, maker = ("session_factory", "sessionmaker(engine)")
    if wanted == "AsyncSession":
        keyword, maker = ("async_session_factory", "async_sessionmaker(async_engine)")
    msg = f"{request.name}: it needs {article} {wanted}, but its {keyword} returned {found}. Write '{keyword}={maker}'."
    raise SessionFactoryError(msg)
