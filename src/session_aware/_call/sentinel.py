"""``NEW_SESSION``: the default that says "open a session for this call"."""

from __future__ import annotations

from typing import Final, Never, cast

from session_aware.exceptions import SessionParameterError

__all__ = ["NEW", "NEW_SESSION", "is_given"]


class _NewSession:
    """The type of ``NEW_SESSION``, the default of a ``session`` parameter.

    ``def open(self, owner: str, *, session: Session = NEW_SESSION)`` lets a caller omit ``session``; the library then opens
    one, and the body never sees ``NEW_SESSION``. Passing ``session=NEW_SESSION`` is the same as omitting it and says that a
    transaction of its own is meant. There is one such object; it keeps its identity through copy and pickle, and raises
    ``SessionParameterError`` where it is used as a session.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "NEW_SESSION"

    def __reduce__(self) -> str:
        return "NEW_SESSION"

    def __getattr__(self, name: str) -> Never:
        if name.startswith("__"):  # copy, inspect and mock probe for protocols and expect an AttributeError
            raise AttributeError(name)
        msg = (
            f"NEW_SESSION.{name}: this function ran with the placeholder instead of a session, so nothing ever wrapped it. "
            "Only the methods that a SessionAwareService subclass has when its class statement ends, and functions under "
            "@auto_session_func, get a session. Write '@auto_session_func' above the function, derive its class from "
            "SessionAwareService, or pass 'session='."
        )
        raise SessionParameterError(msg)


_NewSession.__module__ = "session_aware"

# Never is assignable to Session, AsyncSession and their subclasses alike and, unlike Any, spreads nothing.
NEW_SESSION: Final[Never] = cast("Never", _NewSession())
"""Default of a ``session`` parameter: ``def open(self, *, session: Session = NEW_SESSION)``.

In every type checker the parameter has the type of the session inside the body, and the argument is optional at the call
site. Passing it is the same as omitting the argument. Never pass it to ``auto_session_ctx``: write ``None`` there.
"""

NEW: Final = cast("object", NEW_SESSION)  # an expression of type Never makes what follows unreachable for mypy


def is_given(session: object) -> bool:
    """Say whether the caller passed a session: neither ``None`` nor ``NEW_SESSION``. Its truth value does not matter."""
    return session is not None and session is not NEW
