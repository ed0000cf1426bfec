"""Names of the library, which the plugin does not import, and names as the user wrote them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy.nodes import TypeInfo

__all__ = ["CONSTRUCTION", "is_service", "written"]

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


def is_service(info: TypeInfo) -> bool:
    """Say whether a class derives from ``SessionAwareService``."""
    return info.has_base(_SERVICE)


def written(name: str) -> str:
    """Return a name without what mypy adds to it: ``Local@65`` of a function, ``session'`` of a second ``with`` block."""
    return _INTERNAL.sub("", name)
