"""Which unit a plan asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from session_aware._joined import Joined, Savepoint
from session_aware._owned import Owned
from session_aware._plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from session_aware._request import Request, Unit

__all__ = ["new_unit"]

_UNITS: Final[dict[Plan, Callable[[Request], Unit]]] = {
    Plan.JOIN: Joined,
    Plan.SAVEPOINT: Savepoint,
    Plan.VERIFIED_JOIN: Joined,
}


def new_unit(request: Request) -> Unit:
    """Return the unit that the plan asks for."""
    if request.plan is Plan.OPEN:  # by far the most, and a member's hash is a Python call
        return Owned(request)
    return _UNITS[request.plan](request)
