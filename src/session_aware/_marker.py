"""Notice an owned unit that starts inside the body of another one: almost always a forgotten ``session=``.

A ContextVar holds the place, that is the thread or task, and the place holds a marker, never a session. Child tasks and
threads copy the context and with it the place, so a place knows whose it is, and a marker stops being active with its unit.
To set a ContextVar at each call would cost more than all else here; no token is used either, since generators and FastAPI's
dependencies are finished in another context than the one they were started in.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from contextvars import ContextVar
from threading import get_ident
from typing import TYPE_CHECKING, Final

from session_aware.exceptions import NestedSessionWarning

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["CURRENT", "LANE_VARIABLE", "NO_MARKER", "Marker", "NoMarker", "warn"]

LANE_VARIABLE: Final = "_session_aware_lane"
"""A variable that the code of every generated function closes over, and no other code."""

# No public call answers "is a loop running?" without raising, which would cost as much as a whole unit's begin.
_running_loop: Final = asyncio._get_running_loop  # noqa: SLF001 - see above

CURRENT: ContextVar[_Place | None] = ContextVar("session_aware", default=None)


class _Place:
    """One thread or task, and the innermost unit whose body runs there."""

    __slots__ = ("marker", "task", "thread")

    def __init__(self, thread: int, task: int) -> None:
        self.thread = thread
        self.task = task
        self.marker: Marker | None = None


class Marker:
    """The unit whose body runs, while it runs: ``with marker:`` brackets each stretch of the body."""

    __slots__ = ("_before", "_place", "factory", "is_active", "name")

    _place: _Place  # both from __enter__ on
    _before: Marker | None

    def __init__(self, name: str, factory: object, is_new_meant: bool = False) -> None:  # noqa: FBT001, FBT002 - runs at each call
        place = CURRENT.get()
        if place is not None and place.marker is not None and not is_new_meant:
            _warn_if_nested(place, place.marker, name, factory)
        self.name = name
        self.factory = factory
        self.is_active = True

    def __enter__(self) -> None:
        # At each entry, not once: a stream may be read, and a block ended, by another thread than began it.
        place = CURRENT.get()
        thread, task = get_ident(), 0 if _running_loop() is None else _task()
        if place is None or place.thread != thread or place.task != task:
            place = _Place(thread, task)
            CURRENT.set(place)
        self._place = place
        self._before = place.marker
        place.marker = self

    def __exit__(self, *_: object) -> None:
        place = self._place
        if place.marker is self:
            place.marker = self._before
        self._before = None


class NoMarker:
    """The marker of a call that owns nothing."""

    is_active = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


NO_MARKER: Final = NoMarker()


def _task() -> int:
    """Identify the running task, 0 without one. The id, not the task: a task holds its context, which holds us."""
    return 0 if _running_loop() is None else id(asyncio.current_task())


def _warn_if_nested(place: _Place, outer: Marker, name: str, factory: object) -> None:
    """Warn when a unit on ``factory`` is about to start inside the body of another one on the same factory."""
    # Equal, not identical: a factory that is a method is bound anew each time it is looked up.
    if outer.factory != factory or not outer.is_active:
        return
    if place.thread != get_ident() or place.task != _task():
        return
    msg = (
        f"{name} was called without 'session=' inside {outer.name}, so it opens a second connection and transaction: it "
        f"does not see the uncommitted work of {outer.name}, stays committed if that fails, and can wait for it for ever. "
        f"Write '{name}(..., session=session)', or give it Propagation.REQUIRES_NEW if a transaction of its own is meant."
    )
    warn(msg, NestedSessionWarning)


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of the innermost caller that is neither ours nor plumbing.

    An async session runs in a greenlet, whose frames end where it was started: what awaits it goes on in the parent.
    """
    frame: FrameType = sys._getframe(1)  # noqa: SLF001 - the way traceback and warnings go; skip_file_prefixes needs 3.12
    while _is_plumbing(frame) and (outer := frame.f_back or _frame_of_parent()) is not None and outer is not frame:
        frame = outer
    module = str(frame.f_globals.get("__name__"))
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, module, registry)


def _frame_of_parent() -> FrameType | None:
    greenlet = sys.modules.get("greenlet")
    parent = None if greenlet is None else greenlet.getcurrent().parent
    return None if parent is None else parent.gr_frame


def _is_plumbing(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__"))
    plumbing = ("session_aware._", "wrapt", "contextlib", "asyncio", "tenacity", "sqlalchemy")
    return module.startswith(plumbing) or LANE_VARIABLE in frame.f_code.co_freevars
