"""What an author can ask of a unit, as frozen values: ``Propagation``, ``Retry``, ``SessionPolicy``."""

from __future__ import annotations

import dataclasses
import enum
import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, cast

from session_aware._database.faults import is_transient

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "FIELDS",
    "NO_POLICY",
    "Propagation",
    "Retry",
    "SessionPolicy",
    "merge",
]


class Propagation(enum.Enum):
    """Whether a call joins the session that it is given or owns a new one.

    ``REQUIRED`` (the default): join a given session; without one, own a new one.
    ``REQUIRES_NEW``: always own a new one; a given session raises ``PropagationError``. A nested call does not warn.
    ``NESTED``: set a SAVEPOINT in a given session around the body; without one, own a new one.
    ``MANDATORY``: join a given session; without one, raise ``PropagationError``.

    Example:
        @auto_session_func(propagation=Propagation.MANDATORY)
        def positions(self, *, session: Session = NEW_SESSION) -> list[str]: ...
    """

    REQUIRED = "required"
    REQUIRES_NEW = "requires_new"
    NESTED = "nested"
    MANDATORY = "mandatory"

    def __repr__(self) -> str:
        return f"Propagation.{self.name}"


Propagation.__module__ = "session_aware"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and how long to try an owned call again, with a fresh session for each attempt. Needs the extra ``retry``.

    Only a call that owns its transaction retries. Calls in manual mode, streams (generators) and the bodies of context
    managers do not. A cancellation, KeyboardInterrupt, ``CommitOutcomeUnknown`` or an error after the commit is never
    retried, whatever ``on`` says. Neither is an attempt that attached a detached object (``session.add(changed)``): its
    rollback undid the object's changes, so another attempt would commit without them. ``session.merge`` and new objects are
    fine. Between attempts the call waits for a random time from an exponentially growing range (full jitter). When it gives
    up, it raises the exception of the last attempt, with a note of the attempts and seconds. The body must be able to run
    again, because what it does outside of its transaction is not undone.

    Attributes:
        attempts: Calls in all, including the first; at least 1.
        timeout: Seconds after the start of the first attempt during which another one may start; more than 0.
        wait_initial: The longest first wait in seconds; each further one may be twice as long as the last. 0 or more.
        wait_max: The longest wait in seconds; at least ``wait_initial``.
        on: A function that says whether an exception is worth another attempt.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A value is out of its bounds.
        ModuleNotFoundError: tenacity is not installed.

    Example:
        class Shop(SessionAwareService, retry=Retry(attempts=5, timeout=10.0)): ...
    """

    attempts: int = 3
    timeout: float = 30.0
    wait_initial: float = 0.05
    wait_max: float = 2.0
    on: Callable[[BaseException], bool] = is_transient

    def __repr__(self) -> str:
        values = ((field.name, getattr(self, field.name), field.default) for field in dataclasses.fields(self))
        return f"Retry({', '.join(f'{name}={value!r}' for name, value, default in values if value != default)})"

    def __post_init__(self) -> None:
        numbers = {name: getattr(self, name) for name in ("attempts", "timeout", "wait_initial", "wait_max")}
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int if name == "attempts" else int | float):
                example = 3 if name == "attempts" else 2.0
                msg = f"Retry: {name}={value!r} is not a number. Write {name}={example}, for example."
                raise TypeError(msg)
        if not callable(cast("object", self.on)):
            msg = f"Retry: on={self.on!r} cannot be called. Write on=is_transient, or a function of the exception."
            raise TypeError(msg)
        if not (self.attempts >= 1 and self.timeout > 0 and 0 <= self.wait_initial <= self.wait_max < math.inf):
            msg = (
                f"{self!r}: out of bounds. Write attempts >= 1 (calls in all), timeout > 0 and "
                "0 <= wait_initial <= wait_max (seconds)."
            )
            raise ValueError(msg)
        if find_spec("tenacity") is None:
            msg = "Retry needs tenacity, which is not installed. Write: pip install 'session-aware[retry]'"
            raise ModuleNotFoundError(msg, name="tenacity")


Retry.__module__ = "session_aware"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionPolicy:
    """What the author of a callable wants of its transaction; ``None`` means "not set here".

    A value of the method wins over one of its class, and that over ``configure``. What is set nowhere is REQUIRED,
    read-write and at the engine's isolation level.

    Enter: a call without a session opens one from the factory and begins, unless the new session is already in a
    transaction. Exit: commit on return; on any ``BaseException`` roll back and re-raise it unchanged; always close.
    Nesting: a given session is joined and left alone (``NESTED``: a SAVEPOINT around the body). Threads and tasks: each
    call has its own session; a policy is immutable and may be shared. The attributes are keywords of the class statement,
    ``auto_session_func``, ``auto_session_ctx`` (without ``retry``) and ``configure``; none of them takes a
    ``SessionPolicy``.

    ``read_only`` and ``isolation_level`` apply to every connection that the session takes, also with several binds or
    shards: during the unit ``session.get_bind()`` returns each engine with execution options for them.

    Attributes:
        propagation: Whether to join or to own.
        read_only: Owned units open from the read factory if there is one, never commit, raise ``PolicyConflictError``
            on a flush of changes, and are READ ONLY in PostgreSQL, MySQL, MariaDB and SQLite.
        isolation_level: The level of the owned transaction, in SQLAlchemy's spelling (``"SERIALIZABLE"``). Joining a
            transaction of another level raises ``PolicyConflictError``, because SQLAlchemy would ignore the level with a
            warning. ``"AUTOCOMMIT"`` is for units that only read, so together with ``read_only=True``: a unit with one
            statement takes one round trip to the server instead of three. It has no transaction: each statement sees what
            is committed by then, and there are no locks, no ``SET LOCAL`` and no server-side cursors. Flushes, and
            constructs that write or lock, raise ``PolicyConflictError`` before they are sent. The text of a ``text()`` is
            not parsed: let the server refuse writes, by the rights of the user or ``default_transaction_read_only``.
        retry: For owned calls only, see ``Retry``. Streams and context managers are not retried.
        resolve_commit: If the outcome of COMMIT is unknown, ask PostgreSQL for the transaction's status on a new
            connection, so that the call succeeds or fails for certain. It costs a query before each COMMIT, and a
            transaction id for each unit that used its connection: give ``read_only=True`` to units that only read. Other
            databases cannot be asked, so there the outcome stays unknown. It also stays unknown if the server that ran the
            transaction cannot be asked, because a standby, promoted or not, may not have received it; and for a few units
            after a crash, because the server may give the ids of transactions that it lost to new ones. The answer covers
            the transaction of this server alone: what postgres_fdw writes on another one is committed there before.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: ``isolation_level`` is empty.
    """

    propagation: Propagation | None = None
    read_only: bool | None = None
    isolation_level: str | None = None
    retry: Retry | None = None
    resolve_commit: bool | None = None

    def __post_init__(self) -> None:
        propagation, read_only, retry, resolve_commit = cast(
            "tuple[object, ...]", (self.propagation, self.read_only, self.retry, self.resolve_commit)
        )
        if not isinstance(propagation, Propagation | None):
            msg = f"propagation={propagation!r} is not a Propagation. Write one of {', '.join(map(repr, Propagation))}."
            raise TypeError(msg)
        for name, value in {"read_only": read_only, "resolve_commit": resolve_commit}.items():
            if not isinstance(value, bool | None):
                msg = f"{name}={value!r} is not a bool. Write {name}=True or {name}=False."
                raise TypeError(msg)
        if not isinstance(retry, Retry | None):
            msg = f"retry={retry!r} is not a Retry. Write retry=Retry(attempts=3)."
            raise TypeError(msg)
        if self.isolation_level is not None:
            object.__setattr__(self, "isolation_level", _normal_level(self.isolation_level))


SessionPolicy.__module__ = "session_aware"


def _normal_level(level: object) -> str:
    if not isinstance(level, str):
        msg = f'isolation_level={level!r} is not a string. Write isolation_level="SERIALIZABLE", for example.'
        raise TypeError(msg)
    normal = level.replace("_", " ").strip().upper()
    if not normal:
        msg = f'isolation_level={level!r} names no level. Write isolation_level="SERIALIZABLE", for example.'
        raise ValueError(msg)
    return normal


NO_POLICY: Final = SessionPolicy()


FIELDS: Final = tuple(field.name for field in dataclasses.fields(SessionPolicy))
"""The names of the options that make a policy."""


def merge(*policies: SessionPolicy) -> SessionPolicy:
    """Return a policy with the first value that is set of each option; the nearest policy comes first."""
    said = [policy for policy in policies if policy is not NO_POLICY and policy != NO_POLICY]
    if len(said) < 2:  # noqa: PLR2004 - nothing to merge
        return said[0] if said else NO_POLICY
    values = {name: next((v for p in said if (v := getattr(p, name)) is not None), None) for name in FIELDS}
    return SessionPolicy(**values)
