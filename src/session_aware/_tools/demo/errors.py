"""What stops the demo."""

from __future__ import annotations

__all__ = ["DemoError", "first_line"]


class DemoError(Exception):
    """A problem that the user of the demo can put right; the message says what and how."""


def first_line(error: Exception) -> str:
    """Return what an error says first: SQLAlchemy goes on with the statement, drivers with hints."""
    return str(error).partition("\n")[0] or type(error).__name__
