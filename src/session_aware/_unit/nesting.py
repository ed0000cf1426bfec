"""Find a forgotten ``session=`` by looking up the stack when a unit opens.

Two kinds of frame count: the body of a session-aware callable, whose code has a keyword-only parameter ``session`` that
holds a session in a transaction, and a frame in which an ``auto_session_ctx`` block is open. It makes no difference whether
the library or the caller began that transaction.

Nothing is recorded while a body runs; the frame of a block is recorded while the block is open. Coroutines that await each
other are linked by ``f_back``. Tasks, threads and suspended generators are not, so they need no rule to be exempt. An eager
task starts on the stack of the code that creates it, so the search ends at the first frame of the running task. The stack
of a greenlet ends where it was started, and the search continues where ``run_sync`` is awaited.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from weakref import ref

from sqlalchemy.orm import Session

from session_aware._database.events import OWNER_KEY
from session_aware._database.stack import LANE_VARIABLE, frame_of_parent, warn
from session_aware._unit.request import Asked
from session_aware._unit.shield import caller_of
from session_aware.exceptions import NestedSessionWarning

if TYPE_CHECKING:
    from types import FrameType

    from sqlalchemy.engine import URL

    from session_aware._unit.request import Request

__all__ = ["note_end", "note_start", "warn_if_nested"]

_OURS: Final = 4
"""How many frames, from that of ``warn_if_nested`` on, are never the caller's. Skipping them saves creating the objects."""

_FRAMES: Final = 10
"""How many frames are examined; two of them are the library's."""


class Block(Protocol):
    """The attributes that an open block needs.

    Attributes:
        name: Where it is.
        session: The session that it yields, sync or async; None before and after.
        frame: The frame that entered it, while it is open. The reference keeps other frames from getting the same id.
        outer: The block that was the innermost one in that frame before this one.
    """

    session: Any
    frame: FrameType | None
    outer: ref[Block] | None

    @property
    def name(self) -> str: ...


class Opening(Protocol):
    """The attributes that an opening unit needs: the decided call, and the factory of its session."""

    request: Request
    source: Any


# The references are weak, so that a generator nobody holds any more is collected together with its block.
_blocks: Final[dict[int, ref[Block]]] = {}
"""The innermost open block of each frame, by the id of the frame."""

_CONTEXTLIB: Final[object] = vars(contextlib)


def note_start(block: Block) -> None:
    """Record that a block is open in the frame that enters it, or in the caller of an ExitStack that enters it."""
    try:
        frame = sys._getframe(2)  # noqa: SLF001 - as warnings does
    except ValueError:  # a task may have no frame above it
        frame = sys._getframe(1)  # noqa: SLF001 - likewise
    while frame.f_globals is _CONTEXTLIB and frame.f_back is not None:
        frame = frame.f_back
    key = id(frame)
    block.frame, block.outer = frame, _blocks.get(key)
    _blocks[key] = ref(block, lambda died: _forget(key, died))


def _forget(key: int, block: ref[Block]) -> None:
    if _blocks.get(key) is block:
        del _blocks[key]


def note_end(block: Block) -> None:
    """Record that a block has ended."""
    key, block.frame = id(block.frame), None
    innermost = _blocks.get(key)
    if innermost is None or innermost() is not block:
        return  # the blocks of a frame may end out of order; _block_in skips those that have no frame any more
    if block.outer is None:
        del _blocks[key]
    else:
        _blocks[key] = block.outer


def warn_if_nested(opening: Opening, session: Session) -> None:
    """Warn if a body, or a block, on the same database is running further up the stack.

    Args:
        opening: The unit that opens.
        session: Its new session.
    """
    frame: FrameType | None
    try:
        frame = sys._getframe(_OURS)  # noqa: SLF001 - likewise
    except ValueError:  # in a greenlet of its own
        frame = frame_of_parent()
    for _ in range(_FRAMES):
        if frame is None:
            return
        if (_blocks or frame.f_code.co_kwonlyargcount) and (found := _session_in(frame)) is not None:
            name, outer = found
            if _is_same_database(opening, session, outer):
                if _is_of_this_task(frame):
                    _warn_of(opening, name)
                return
        frame = frame.f_back or frame_of_parent()


def _session_in(frame: FrameType) -> tuple[str, Session] | None:
    """Return the name and the session of a frame's block or body, if that session is in a transaction."""
    if _blocks and (block := _block_in(frame)) is not None:
        name, session = block.name, block.session
    else:
        code = frame.f_code
        keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        if "session" not in keyword_only or LANE_VARIABLE in code.co_freevars:
            return None
        name, session = code.co_qualname.rpartition("<locals>.")[2], cast("Any", frame.f_locals.get("session"))
    # By the type: mocks claim to be sessions, and NEW_SESSION raises an error for any attribute.
    asynchronous: Any = sys.modules.get("sqlalchemy.ext.asyncio")
    if asynchronous is not None and issubclass(type(session), asynchronous.AsyncSession):
        session = session.sync_session
    return (name, session) if issubclass(type(session), Session) and session.in_transaction() else None


def _block_in(frame: FrameType) -> Block | None:
    """Return the innermost block that is open in a frame."""
    reference = _blocks.get(id(frame))
    while reference is not None and (block := reference()) is not None:
        if block.frame is frame and block.session is not None:
            return block
        reference = block.outer
    return None


def _is_same_database(opening: Opening, session: Session, outer: Session) -> bool:
    """Say whether two sessions are on one engine, or on a sync and an async engine with the same URL."""
    owner: Any = outer.info.get(OWNER_KEY)
    # Equal, not identical: a factory that is a method is bound anew each time it is looked up.
    if owner is not None and owner.source == opening.source:
        return True
    if session.bind is None or outer.bind is None:
        return False
    one, other = session.bind.engine, outer.bind.engine
    if one.pool is other.pool:  # an engine and its twin with execution options share the pool
        return True
    if one.dialect.is_async is other.dialect.is_async:
        return False
    return _address(one.url) == _address(other.url) is not None


def _address(url: URL) -> tuple[object, ...] | None:
    """Return where a database is, without driver and user; None for one in memory, which belongs to one connection."""
    database = url.database or ""
    is_in_memory = not database or ":memory:" in database or url.query.get("mode") == "memory"
    if url.get_backend_name() == "sqlite" and is_in_memory:
        return None
    return url.get_backend_name(), url.host, url.port, database


def _is_of_this_task(found: FrameType) -> bool:
    """Say whether a frame belongs to the running task, which may have been started eagerly on another one's stack."""
    # No public call answers "is a loop running?" without raising.
    loop = asyncio._get_running_loop()  # noqa: SLF001 - see above
    task = None if loop is None else caller_of(asyncio.current_task(loop))
    first = None if task is None else getattr(task.get_coro(), "cr_frame", None)
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - likewise
    while frame is not None and frame is not found:
        if frame is first:
            return False
        frame = frame.f_back or frame_of_parent()
    return True


def _warn_of(opening: Opening, outer: str) -> None:
    name, asked = opening.request.name, opening.request.asked
    write = {
        Asked.WITHOUT: f"Write '{name.rpartition('.')[2]}(..., session=session)'",
        Asked.WITH_NONE: f"Pass the session of {outer} on to it, and to each call in between",
        Asked.AS_A_BLOCK: f"Write 'auto_session_ctx(session)' with the session of {outer}",
    }[asked]
    msg = (
        f"{name} was {asked.value} inside {outer}, so it opens a second connection and transaction: it does not see the "
        f"uncommitted work of {outer}, stays committed if that fails, and can wait for it for ever. {write}, or give it "
        "Propagation.REQUIRES_NEW if a transaction of its own is meant."
    )
    warn(msg, NestedSessionWarning)
