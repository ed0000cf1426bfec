"""Declare a callable as a program wants it: the form, the policies of method and class, the factory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from session_aware import SessionAwareService, SessionPolicy, auto_session_func
from tests.properties.programs import Form, How

__all__ = ["Role", "declared", "keywords"]


class Role(NamedTuple):
    """What a callable does: once as a method with an owner, once without."""

    owned: Callable[..., Any]
    bare: Callable[..., Any]


_made: dict[object, Callable[..., Any]] = {}


def declared(role: Role, how: How, factory: Mapping[str, object]) -> Callable[..., Any]:
    """Return the callable, bound to its object or class where it has one.

    Args:
        role: Its body.
        how: Its form and policies.
        factory: The factory, by its keyword.
    """
    key = (role, how.form, how.policy, how.of_class, *factory.items())
    if key not in _made:
        _made[key] = _declare(role, how, factory)
    return _made[key]


def _declare(role: Role, how: How, factory: Mapping[str, Any]) -> Callable[..., Any]:
    if how.form is Form.FUNCTION:
        decorate: Any = auto_session_func(**factory, **keywords(how.policy))
        function: Callable[..., Any] = decorate(role.bare)
        return function

    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        return function if how.policy == SessionPolicy() else auto_session_func(**keywords(how.policy))(function)

    class Service(SessionAwareService, **factory, **keywords(how.of_class)):
        instance = decorated(role.owned)
        of_class = classmethod(decorated(role.owned))
        static = staticmethod(decorated(role.bare))

    bound: dict[Form, Callable[..., Any]] = {
        Form.INSTANCE: Service().instance,
        Form.CLASS: Service.of_class,
        Form.STATIC: Service.static,
    }
    return bound[how.form]


def keywords(policy: SessionPolicy) -> dict[str, Any]:
    """Write a policy as the keywords that say it."""
    return {
        "propagation": policy.propagation,
        "read_only": policy.read_only,
        "isolation_level": policy.isolation_level,
    }
