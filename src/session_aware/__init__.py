"""Write the query, let the caller decide about the transaction: SQLAlchemy sessions for service methods.

A method declares a keyword-only ``session``. A caller that passes one keeps the transaction; for a caller that omits it the
library opens a session, begins, commits, rolls back on any exception and closes. Start with ``SessionAwareService``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from session_aware._after_commit import after_commit
    from session_aware._configure import configure
    from session_aware._context import auto_session_ctx
    from session_aware._describe import CallableDescription, Description, describe
    from session_aware._factory import override_session_factory
    from session_aware._faults import is_transient
    from session_aware._function import auto_session_func
    from session_aware._observe import UnitRecord
    from session_aware._policy import Propagation, Retry, SessionPolicy
    from session_aware._sentinel import NEW_SESSION
    from session_aware._service import SessionAwareService
    from session_aware.exceptions import (
        CommitOutcomeUnknown,
        EndedSessionWarning,
        NestedSessionWarning,
        PoisonedTransactionError,
        PolicyConflictError,
        PropagationError,
        SessionAwareError,
        SessionFactoryError,
        SessionOwnershipError,
        SessionParameterError,
    )

__all__ = [
    "NEW_SESSION",
    "CallableDescription",
    "CommitOutcomeUnknown",
    "Description",
    "EndedSessionWarning",
    "NestedSessionWarning",
    "PoisonedTransactionError",
    "PolicyConflictError",
    "Propagation",
    "PropagationError",
    "Retry",
    "SessionAwareError",
    "SessionAwareService",
    "SessionFactoryError",
    "SessionOwnershipError",
    "SessionParameterError",
    "SessionPolicy",
    "UnitRecord",
    "after_commit",
    "auto_session_ctx",
    "auto_session_func",
    "configure",
    "describe",
    "is_transient",
    "override_session_factory",
]

# Lazy (PEP 562): whoever names session_aware.mypy_plugin or the pytest plugin must not pay for SQLAlchemy's import.
_HOMES = {
    "NEW_SESSION": "_sentinel",
    "Propagation": "_policy",
    "Retry": "_policy",
    "SessionAwareService": "_service",
    "SessionPolicy": "_policy",
    "UnitRecord": "_observe",
    "after_commit": "_after_commit",
    "auto_session_ctx": "_context",
    "auto_session_func": "_function",
    "CallableDescription": "_describe",
    "Description": "_describe",
    "configure": "_configure",
    "describe": "_describe",
    "is_transient": "_faults",
    "override_session_factory": "_factory",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module 'session_aware' has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(import_module(f"session_aware.{_HOMES.get(name, 'exceptions')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
