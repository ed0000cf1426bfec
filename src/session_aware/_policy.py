"""What an author may want of a unit, as frozen values: ``Propagation``, ``SessionPolicy``, the settings of one place."""

from __future__ import annotations

import dataclasses
import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

__all__ = [
    "NO_POLICY",
    "NO_SETTINGS",
    "AsyncSessionFactory",
    "Propagation",
    "SessionFactory",
    "SessionPolicy",
    "Settings",
    "merge",
]

_S_co = TypeVar("_S_co", bound="Session", covariant=True)
_A_co = TypeVar("_A_co", bound="AsyncSession", covariant=True)


class SessionFactory(Protocol[_S_co]):
    """Anything that returns a new ``Session`` when called without arguments, such as a ``sessionmaker``."""

    def __call__(self) -> _S_co: ...


class AsyncSessionFactory(Protocol[_A_co]):
    """Anything that returns a new ``AsyncSession`` when called without arguments, such as an ``async_sessionmaker``."""

    def __call__(self) -> _A_co: ...


class Propagation(enum.Enum):
    """Whether a call joins the session that it is given or owns a new one.

    ``REQUIRED`` (the default): join a given session, own a new one otherwise.
    ``REQUIRES_NEW``: always own; a given session is a ``PropagationError``. A nested call is deliberate: no warning.
    ``NESTED``: a SAVEPOINT of the given session around the body; without one, own.
    ``MANDATORY``: a session must be given, else ``PropagationError``.
    """

    REQUIRED = "required"
    REQUIRES_NEW = "requires_new"
    NESTED = "nested"
    MANDATORY = "mandatory"

    def __repr__(self) -> str:
        return f"Propagation.{self.name}"


Propagation.__module__ = "session_aware"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionPolicy:
    """What the author of a callable wants of its transaction; ``None`` means "not said here".

    Method over class over ``configure``; what nobody says is REQUIRED, read-write, at the engine's isolation level.

    Enter: a call without a session opens one from the factory and begins, unless the factory's new session already is
    in a transaction. Exit: commit on return; on any ``BaseException`` roll back and re-raise it unchanged; always close.
    Nesting: a given session is joined and left alone (``NESTED``: a SAVEPOINT around the body). Threads and tasks: each
    call has its own session; a policy is immutable and may be shared. Change one with ``dataclasses.replace``.

    Attributes:
        propagation: Whether to join or to own.
        read_only: Owned units open from the read factory if there is one, never commit, raise ``PolicyConflictError``
            on a flush of changes, and are READ ONLY in PostgreSQL, MySQL, MariaDB and SQLite.
        isolation_level: Of the owned transaction, in SQLAlchemy's spelling (``"SERIALIZABLE"``). Joining a transaction
            of another level is a ``PolicyConflictError``, since SQLAlchemy would ignore the level with a warning.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: ``isolation_level`` is empty or ``"AUTOCOMMIT"``, which has no transaction to own.
    """

    propagation: Propagation | None = None
    read_only: bool | None = None
    isolation_level: str | None = None

    def __post_init__(self) -> None:
        propagation, read_only = cast("tuple[object, object]", (self.propagation, self.read_only))
        if not isinstance(propagation, Propagation | None):
            msg = f"propagation={propagation!r} is not a Propagation. Write one of {', '.join(map(repr, Propagation))}."
            raise TypeError(msg)
        if not isinstance(read_only, bool | None):
            msg = f"read_only={read_only!r} is not a bool. Write read_only=True or read_only=False."
            raise TypeError(msg)
        if self.isolation_level is not None:
            object.__setattr__(self, "isolation_level", _normal_level(self.isolation_level))


SessionPolicy.__module__ = "session_aware"


def _normal_level(level: object) -> str:
    if not isinstance(level, str):
        msg = f'isolation_level={level!r} is not a string. Write isolation_level="SERIALIZABLE", for example.'
        raise TypeError(msg)
    normal = level.replace("_", " ").strip().upper()
    if normal in {"", "AUTOCOMMIT"}:
        msg = (
            f"isolation_level={level!r} leaves no transaction to commit or roll back. Write a level with transactions, such "
            'as "SERIALIZABLE", or use an AUTOCOMMIT engine outside of session-aware calls.'
        )
        raise ValueError(msg)
    return normal


NO_POLICY: Final = SessionPolicy()


class Settings(NamedTuple):
    """What one place (``configure``, a class statement, a decorator, a block) says: a policy and factories by keyword."""

    policy: SessionPolicy = NO_POLICY
    factories: Mapping[str, object] = MappingProxyType({})


NO_SETTINGS: Final = Settings()
_FIELDS: Final = tuple(field.name for field in dataclasses.fields(SessionPolicy))


def merge(*policies: SessionPolicy) -> SessionPolicy:
    """Return the policy in which every value is the first that was said, nearest first."""
    said = [policy for policy in policies if policy != NO_POLICY]
    if len(said) < 2:  # noqa: PLR2004 - nothing to merge
        return said[0] if said else NO_POLICY
    values = {name: next((v for p in said if (v := getattr(p, name)) is not None), None) for name in _FIELDS}
    return SessionPolicy(**values)
