"""Which unit a plan asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from session_aware._joined import Joined, Savepoint
from session_aware._owned import Owned
from session_aware._plan import Plan

if TYPE_CHECKING:
    from session_aware._unit import Unit

__all__ = ["UNITS"]

UNITS: Final[dict[Plan, type[Unit]]] = {
    Plan.JOIN: Joined,
    Plan.VERIFIED_JOIN: Joined,
    Plan.SAVEPOINT: Savepoint,
    Plan.OPEN: Owned,
}
"""Each is made of the request and of the source of its session."""
