"""Write the query, let the caller decide about the transaction: SQLAlchemy sessions for service methods.

A method declares a keyword-only ``session``. A caller that passes one keeps the transaction. For a caller that omits it,
the library opens a session, begins, commits, rolls back on any exception and closes. Start with ``SessionAwareService``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from session_aware._call.block import auto_session_ctx
    from session_aware._call.factory import override_session_factory
    from session_aware._call.sentinel import NEW_SESSION
    from session_aware._database.after_commit import after_commit
    from session_aware._database.faults import is_transient
    from session_aware._declare.configure import configure
    from session_aware._declare.function import auto_session_func
    from session_aware._declare.service import SessionAwareService
    from session_aware._tools.describe import CallableDescription, Description, describe
    from session_aware._unit.configuration import UnitRecord
    from session_aware._unit.policy import Propagation, Retry, SessionPolicy
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

# Lazy (PEP 562), so that naming session_aware.mypy_plugin or the pytest plugin does not import SQLAlchemy.
_MODULES = {
    "CallableDescription": "_tools.describe",
    "Description": "_tools.describe",
    "NEW_SESSION": "_call.sentinel",
    "Propagation": "_unit.policy",
    "Retry": "_unit.policy",
    "SessionAwareService": "_declare.service",
    "SessionPolicy": "_unit.policy",
    "UnitRecord": "_unit.configuration",
    "after_commit": "_database.after_commit",
    "auto_session_ctx": "_call.block",
    "auto_session_func": "_declare.function",
    "configure": "_declare.configure",
    "describe": "_tools.describe",
    "is_transient": "_database.faults",
    "override_session_factory": "_call.factory",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module 'session_aware' has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(import_module(f"session_aware.{_MODULES.get(name, 'exceptions')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
