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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast
from weakref import ref

from sqlalchemy.orm import Session, scoped_session

from session_aware._database.connections import engines_of
from session_aware._database.events import OWNER_KEY
from session_aware._database.stack import LANE_VARIABLE, frame_of_parent, warn
from session_aware._unit.request import Asked
from session_aware.exceptions import NestedSessionWarning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from sqlalchemy.engine import URL

    from session_aware._unit.request import Request

__all__ = ["Outer", "note_end", "note_start", "outer_sessions", "warn_if_same_database"]

_OURS: Final = 4
"""How many frames, from that of ``outer_sessions`` on, are never the caller's. Skipping them saves creating the objects."""

_SEARCH: Final = range(10)
"""As many frames are examined; two of them are the library's."""

_SEARCH_OF_RETRY: Final = range(13)
"""Some more are the library's, and tenacity's, in a call with ``retry``."""


class Block(Protocol):
    """The attributes that an open block needs.

    Attributes:
        name: Where it is.
        session: The session that it yields, sync or async; None before and after.
        frame: The frame that entered it, while it is open. The reference keeps other frames from getting the same id.
    """

    session: Any
    frame: FrameType | None

    @property
    def name(self) -> str: ...


class Opening(Protocol):
    """The attributes that an opening unit needs: the decided call, the factory of its session, and its async session."""

    request: Request
    source: Any
    entered: Any


class Outer(NamedTuple):
    """A body or a block further up the stack whose session is in a transaction."""

    name: str
    session: Session
    is_async: bool


# The references are weak, so that a generator nobody holds any more is collected together with its block.
_blocks: Final[dict[int, list[ref[Block]]]] = {}
"""The open blocks of each frame, by the id of the frame; the innermost one is the last."""

_CONTEXTLIB: Final = cast("object", vars(contextlib))


def note_start(block: Block) -> None:
    """Record that a block is open in the frame that enters it, or in the caller of an ExitStack that enters it."""
    try:
        frame = sys._getframe(2)  # noqa: SLF001 - as warnings does
    except ValueError:  # a task may have no frame above it
        frame = sys._getframe(1)  # noqa: SLF001 - likewise
    while frame.f_globals is _CONTEXTLIB and frame.f_back is not None:
        frame = frame.f_back
    key = id(frame)
    block.frame = frame
    _blocks.setdefault(key, []).append(ref(block, lambda died: _forget(key, died)))


def _forget(key: int, entry: ref[Block]) -> None:
    entries = _blocks[key]
    entries.remove(entry)
    if not entries:
        del _blocks[key]


def note_end(block: Block) -> None:
    """Record that a block has ended; the blocks of a frame may end out of order."""
    key, block.frame = id(block.frame), None
    for entry in _blocks.get(key, []):
        if entry() is block:
            _forget(key, entry)
            return


def outer_sessions(opening: Opening) -> list[Outer]:
    """Return the sessions in a transaction that bodies and blocks further up the stack have, the nearest one first.

    Before the factory is called: it may wait for a connection that one of them holds. So a session from the same factory is
    warned of at once.

    Args:
        opening: The unit that opens.
    """
    found: list[Outer] = []
    frame: FrameType | None
    try:
        frame = sys._getframe(_OURS)  # noqa: SLF001 - likewise
    except ValueError:  # in a greenlet of its own
        frame = frame_of_parent()
    is_block_open = bool(_blocks)
    for _ in _SEARCH if opening.request.policy.retry is None else _SEARCH_OF_RETRY:
        if frame is None and (frame := frame_of_parent()) is None:
            break
        code = frame.f_code
        may_be_a_body = code.co_kwonlyargcount and "session" in code.co_varnames and LANE_VARIABLE not in code.co_freevars
        if (is_block_open or may_be_a_body) and (here := list(_sessions_in(frame))):
            if not _is_of_this_task(frame):
                break
            found += here
        frame = frame.f_back
    for outer in found:
        owner: Any = outer.session.info.get(OWNER_KEY)
        # Equal, not identical: a factory that is a method is bound anew each time it is looked up.
        if owner is not None and owner.source == opening.source:
            _warn_of(opening, outer, is_other_kind=False)
            return []
    return found


def warn_if_same_database(opening: Opening, session: Session, found: list[Outer]) -> None:
    """Warn if the new session of a unit is on the database of one of those that were found."""
    for outer in found:
        if session.bind is not None and _is_same_database(session, outer.session):
            # Inside run_sync a synchronous session is at hand.
            is_other_kind = outer.is_async and opening.entered is None and frame_of_parent() is None
            _warn_of(opening, outer, is_other_kind=is_other_kind)
            return


def _sessions_in(frame: FrameType) -> Iterator[Outer]:
    """Yield what the blocks of a frame, and its body, have in a transaction."""
    for entry in reversed(_blocks.get(id(frame), [])):
        block = entry()
        if block is not None and (outer := _outer(block.name, block.session)) is not None:
            yield outer
    code = frame.f_code
    keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    if "session" in keyword_only and LANE_VARIABLE not in code.co_freevars:
        name = code.co_qualname.rpartition("<locals>.")[2]
        if (outer := _outer(name, frame.f_locals.get("session"))) is not None:
            yield outer


def _outer(name: str, session: Any) -> Outer | None:  # noqa: ANN401 - a session, a registry, or a stand-in for one
    # By the type: mocks claim to be sessions, and NEW_SESSION raises an error for any attribute.
    asynchronous: Any = sys.modules.get("sqlalchemy.ext.asyncio")
    registries = (scoped_session,) if asynchronous is None else (scoped_session, asynchronous.async_scoped_session)
    if issubclass(type(session), registries):
        if not session.registry.has():
            return None
        session = session.registry()
    is_async = asynchronous is not None and issubclass(type(session), asynchronous.AsyncSession)
    if is_async:
        session = session.sync_session
    is_begun = issubclass(type(session), Session) and session.in_transaction()
    return Outer(name, session, is_async) if is_begun else None


def _is_same_database(session: Session, outer: Session) -> bool:
    """Say whether two sessions are on one engine, or on a sync and an async engine with the same URL."""
    assert session.bind is not None  # noqa: S101 - the caller has looked
    one = session.bind.engine
    for other in engines_of(outer):
        if one.pool is other.pool:  # an engine and its twin with execution options share the pool
            return True
        if one.dialect.is_async is not other.dialect.is_async and _address(one.url) == _address(other.url) is not None:
            return True
    return False


def _address(url: URL) -> tuple[object, ...] | None:
    """Return where a database is, without driver and user; None where the URL does not tell."""
    database = url.database or ""
    if url.get_backend_name() == "sqlite":
        is_in_memory = not database or ":memory:" in database or url.query.get("mode") == "memory"
        return None if is_in_memory else ("sqlite", str(Path(database).absolute()))  # in memory it belongs to one connection
    return (url.get_backend_name(), url.host, url.port, database) if url.host and database else None


def _is_of_this_task(found: FrameType) -> bool:
    """Say whether a frame belongs to the running task, which may have been started eagerly on another one's stack."""
    # No public call answers "is a loop running?" without raising.
    loop = asyncio._get_running_loop()  # noqa: SLF001 - see above
    task = None if loop is None else asyncio.current_task(loop)
    if task is None:
        return True
    first = getattr(task.get_coro(), "cr_frame", None)
    if first is None:  # such as an async generator's anext(), which has no frame to compare with
        return False
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - likewise
    while frame is not None and frame is not found:
        if frame is first:
            return False
        frame = frame.f_back or frame_of_parent()
    return True


def _warn_of(opening: Opening, outer: Outer, *, is_other_kind: bool) -> None:
    name, asked = opening.request.name, opening.request.asked
    call = name.rpartition(".")[2]
    write = {
        Asked.WITHOUT: f"Write '{call}(..., session=session)'",
        Asked.WITH_NONE: f"Pass the session of {outer.name} on to it, and to each call in between",
        Asked.AS_A_BLOCK: f"Write 'auto_session_ctx(session)' with the session of {outer.name}",
    }[asked]
    if is_other_kind:  # what is synchronous cannot use an AsyncSession
        write = (
            f"Write 'async with auto_session_ctx(session)' with the session of {outer.name}"
            if asked is Asked.AS_A_BLOCK
            else f"Write 'await session.run_sync(lambda joined: {call}(..., session=joined))'"
        )
    msg = (
        f"{name} was {asked.value} inside {outer.name}, so it opens a second connection and transaction: it does not see "
        f"the uncommitted work of {outer.name}, stays committed if that fails, and can wait for it for ever. {write}, or "
        "give it Propagation.REQUIRES_NEW if a transaction of its own is meant."
    )
    warn(msg, NestedSessionWarning)
