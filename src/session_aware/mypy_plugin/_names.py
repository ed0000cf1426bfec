"""Names of the library, which the plugin does not import, and names as the user wrote them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mypy.nodes import CallExpr, RefExpr

if TYPE_CHECKING:
    from mypy.nodes import Expression, TypeInfo

__all__ = ["CONSTRUCTION", "MAPPING", "MARK", "fullname_of", "is_marking", "is_service", "written"]

MARK: Final = "session_aware._declare.function.auto_session_func"
"""The decorator."""

MAPPING: Final = frozenset({"builtins.filter", "builtins.map"})
"""Functions that call their first argument while they are iterated over."""

_SERVICE: Final = "session_aware._declare.service.SessionAwareService"
_INTERNAL: Final = re.compile(r"@\d+$|-redefinition\d*$|'+$")

CONSTRUCTION: Final = frozenset(
    {
        "__attrs_init__",
        "__attrs_post_init__",
        "__attrs_pre_init__",
        "__class_getitem__",
        "__init__",
        "__init_subclass__",
        "__new__",
        "__post_init__",
        "__set_name__",
        "__setstate__",
        "__subclasshook__",
    }
)
"""The methods that the library never wraps. It repeats the library's list, because its import would import SQLAlchemy."""


def fullname_of(decorator: Expression) -> str:
    """Return the full name of a decorator, with or without options; empty if it has none."""
    if isinstance(decorator, CallExpr):
        decorator = decorator.callee
    return decorator.fullname if isinstance(decorator, RefExpr) else ""


def is_marking(decorator: Expression) -> bool:
    """Say whether a decorator is ``auto_session_func``."""
    return fullname_of(decorator) == MARK


def is_service(info: TypeInfo) -> bool:
    """Say whether a class derives from ``SessionAwareService``."""
    return info.has_base(_SERVICE)


def written(name: str) -> str:
    """Return a name without what mypy adds to it: ``Local@65`` of a function, ``session'`` of a second ``with`` block."""
    return _INTERNAL.sub("", name)
