"""Decide what one call does with its session, or without one. This needs no I/O and no SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from session_aware._unit.policy import Propagation
from session_aware._unit.request import Plan
from session_aware.exceptions import PolicyConflictError, PropagationError

if TYPE_CHECKING:
    from session_aware._unit.policy import SessionPolicy

__all__ = ["looks_at_given", "plan"]


def plan(policy: SessionPolicy, is_given: bool, name: str) -> Plan:  # noqa: FBT001 - runs at each call
    """Decide what a call does.

    Args:
        policy: The merged policy of the call.
        is_given: Whether the caller passed a session.
        name: The callable's qualified name, for the message.

    Raises:
        PropagationError: ``MANDATORY`` without a session, ``REQUIRES_NEW`` with one.
        PolicyConflictError: AUTOCOMMIT for a call that may write.
    """
    if policy.isolation_level == "AUTOCOMMIT" and policy.read_only is not True:
        msg = (
            f"{name}: its isolation level is AUTOCOMMIT, which leaves no transaction to commit or roll back, and it is not "
            'read_only. Write read_only=True beside it, or a level with transactions, such as "SERIALIZABLE".'
        )
        raise PolicyConflictError(msg)
    match policy.propagation:
        case None:  # first, because it is the usual case
            pass
        case Propagation.MANDATORY if not is_given:
            msg = (
                f"{name}: no session was given, and its propagation is MANDATORY: it may only run in its caller's "
                f"transaction. Write '{name.rpartition('.')[2]}(..., session=session)', or give it Propagation.REQUIRED."
            )
            raise PropagationError(msg)
        case Propagation.REQUIRES_NEW if is_given:
            msg = (
                f"{name}: a session was given, and its propagation is REQUIRES_NEW: it always commits a transaction of its "
                f"own, so the given one would be ignored. Leave out 'session=', or give it Propagation.REQUIRED or NESTED."
            )
            raise PropagationError(msg)
        case Propagation.NESTED if is_given:
            return Plan.SAVEPOINT
        case Propagation.REQUIRED | Propagation.MANDATORY | Propagation.NESTED | Propagation.REQUIRES_NEW:
            pass
        case _:  # pragma: no cover - mypy proves that no member is left
            assert_never(policy.propagation)
    if not is_given:
        return Plan.OPEN
    return Plan.JOIN if policy.isolation_level is None else Plan.VERIFIED_JOIN


def looks_at_given(policy: SessionPolicy) -> bool:
    """Say whether a call with a session may have more to do than to run the body in it."""
    return policy.isolation_level is not None or policy.propagation in {Propagation.NESTED, Propagation.REQUIRES_NEW}
