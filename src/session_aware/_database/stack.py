"""The stack of the caller: warnings point to a line that the user can change."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["LANE_VARIABLE", "frame_of_parent", "warn"]

LANE_VARIABLE: Final = "_session_aware_lane"
"""A variable that the code of every generated function closes over, and no other code."""


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of the innermost caller that is neither the library nor plumbing below it.

    An async session runs in a greenlet, whose stack ends where it was started; the search continues in the parent greenlet.
    """
    frame: FrameType = sys._getframe(1)  # noqa: SLF001 - the way traceback and warnings go; skip_file_prefixes needs 3.12
    while _is_plumbing(frame) and (outer := frame.f_back or frame_of_parent()) is not None and outer is not frame:
        frame = outer
    module = str(frame.f_globals.get("__name__"))
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, module, registry)


def frame_of_parent() -> FrameType | None:
    """Return the frame that awaits the current greenlet; None outside of a greenlet."""
    greenlet = sys.modules.get("greenlet")
    parent = None if greenlet is None else greenlet.getcurrent().parent
    return None if parent is None else parent.gr_frame


def _is_plumbing(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__"))
    plumbing = ("session_aware._", "wrapt", "contextlib", "asyncio", "tenacity", "sqlalchemy")
    return module.startswith(plumbing) or LANE_VARIABLE in frame.f_code.co_freevars
