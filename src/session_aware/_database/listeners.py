"""Listen to SQLAlchemy's events in every version from 2.0.0 on, at the cost of those sessions alone that are listened to.

A listener on ``Session`` would cost every session of the process, and ``event.listen`` on one session costs a third of an
empty unit. So for each class of sessions the library has a subclass with class listeners of its own, and lends the events of
that subclass to the sessions that it hears: they stay of their own class, and their ``dispatch`` is that of the subclass.
Listeners of the class and of ``Session`` count there as well, registered before or later.

Lending saves time, too. SQLAlchemy looks up each event of a new session anew, and finds the same objects for every session
of a class that has no listeners of its own. They are lent with the rest. (A question for SQLAlchemy: could a new session
share the events of its class until it gets a listener? It saves 46,000 instructions of 329,000 of an empty unit, 2.1.9.)

Three private names are used, ``_for_class``, ``listeners`` and ``parent_listeners``, which every version since 2.0.0 has.
Without the first or the last, and for a class that refuses to have a subclass, the library listens to all sessions of the
class.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from types import new_class
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from sqlalchemy import event
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, SessionEvents

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import SessionTransaction

    F = TypeVar("F", bound="Callable[..., object]")

__all__ = ["engine_without_options", "hear", "hear_last", "heard", "listen", "put_back", "savepoint_around", "unlisten"]

_HEARD: Final = "_session_aware_heard"
_LENT: Final = "_session_aware_lent"
_NAMES: Final = [name for name, value in vars(SessionEvents).items() if callable(value) and not name.startswith("_")]

_MODULES: Final = ("after_commit", "events")
_listeners: Final[list[tuple[str, Callable[..., object]]]] = []
"""The library's listeners, each with the name of its event. Objects are passed raw."""


class _Silent:
    """Keeps a subclass of the library from those who count the subclasses of their class in ``__init_subclass__``."""

    __slots__ = ()

    def __init_subclass__(cls, **_: object) -> None:
        pass


class _Lent(NamedTuple):
    """What the library lends to the sessions of one class.

    Attributes:
        of: That class. A class with a copy of its attributes has this object as well, and is not meant.
        cls: The subclass whose class listeners are the library's; None if there is none.
        events: What SQLAlchemy finds for each event of a session of that subclass.
        own: What it finds for a session of the class itself. A session with listeners of its own has others.
    """

    of: type[Session]
    cls: type[Session] | None
    events: dict[str, Any]
    own: dict[str, Any]

    def __reduce__(self) -> tuple[object, ...]:
        return type(None), ()  # cloudpickle and dill take classes apart; another process lends anew


def heard(name: str, *, is_last: bool = False) -> Callable[[F], F]:
    """Register a listener of the library for the event of that name, to come before those of other code.

    Args:
        name: The name of the event.
        is_last: Whether ``hear_last`` may put it after those of other code, which SQLAlchemy offers for no class.
    """

    def register(listener: F) -> F:
        _listeners.append((name, partial(_call_unless_later, name, listener) if is_last else listener))
        return listener

    return register


def _call_unless_later(name: str, listener: Callable[..., object], session: Session, *args: object) -> None:
    if listener not in getattr(session.dispatch, name).listeners:
        listener(session, *args)


def hear(session: Session) -> None:
    """Call the library's listeners for this session from now on; a second call does nothing."""
    own = vars(session)
    if _HEARD in own:
        return
    cls = session.__class__  # not type(), for a session behind a proxy
    lent: _Lent | None = vars(cls).get(_LENT)
    if lent is None or lent.of is not cls:
        lent = _lend(cls)
    if lent.cls is not None:
        events = _dispatch_of(lent.cls)
        for name, found in lent.events.items():
            setattr(events, name, found)
        if (before := own.get("dispatch")) is not None:
            _keep(before, events, lent)
        own["dispatch"] = events
    own[_HEARD] = True


def hear_last(session: Session, name: str, listener: Callable[..., object]) -> None:
    """Call a registered listener after those of other code that listens to this session by now. The session is heard."""
    if len(getattr(session.dispatch, name)) > 1:  # else it is the only one
        event.listen(session, name, listener)


def _keep(before: Any, events: Any, lent: _Lent) -> None:  # noqa: ANN401 - of private classes
    """Keep the listeners that a session has for itself, and let them come after those of the subclass."""
    for name, found in lent.own.items():
        if (has := getattr(before, name)) is not found:
            has.parent_listeners = lent.events[name].parent_listeners
            setattr(events, name, has)


def _lend(cls: type[Session]) -> _Lent:
    for module in _MODULES:  # all listeners have to be registered by now
        import_module(f"session_aware._database.{module}")
    try:
        bases: Any = (_Silent, cls)
        subclass = new_class(cls.__name__, bases, exec_body=lambda names: names.update(__module__=cls.__module__))
        lent = _Lent(
            cls, subclass, *({name: getattr(_dispatch_of(one), name) for name in _NAMES} for one in (subclass, cls))
        )
        for name, listener in reversed(_listeners):
            lent.events[name].parent_listeners.appendleft(listener)
    except Exception:  # noqa: BLE001 - the class, or its metaclass, may refuse for any reason
        lent = _Lent(cls, None, {}, {})
        for name, listener in reversed(_listeners):
            event.listen(cls, name, listener, insert=True, raw=True)
    setattr(cls, _LENT, lent)
    return lent


def _dispatch_of(cls: Any) -> Any:  # noqa: ANN401 - a class of sessions; of a private class
    """Return what a new session of that class has as its ``dispatch``."""
    return cls.dispatch._for_class(cls)  # noqa: SLF001 - see the module


def listen(target: Connection | Engine, name: str, listener: Callable[..., object]) -> Connection | Engine:
    """Call ``listener`` at each event of that name on the target; a second call does nothing. Return the target.

    Before 2.0.38 SQLAlchemy refuses an engine with execution options and its connections ("No such event"). There the target
    is the engine without them, for good, so a listener must check which connection it gets.
    """
    try:
        return _once(target, name, listener)
    except InvalidRequestError:  # pragma: no cover - before SQLAlchemy 2.0.38, where tox runs the same tests
        return _once(engine_without_options(target.engine), name, listener)


def unlisten(connection: Connection, name: str, listener: Callable[..., object]) -> None:
    """Remove the listener if it is on the connection itself."""
    try:
        if event.contains(connection, name, listener):
            event.remove(connection, name, listener)
    except InvalidRequestError:  # pragma: no cover - likewise
        pass


def _once(target: Connection | Engine, name: str, listener: Callable[..., object]) -> Connection | Engine:
    if not event.contains(target, name, listener):
        event.listen(target, name, listener)
    return target


def engine_without_options(engine: Engine) -> Engine:  # pragma: no cover - likewise
    """Return the original of an engine that was made by ``execution_options``."""
    original: Engine | None = getattr(engine, "_proxied", None)
    return engine if original is None else engine_without_options(original)


def put_back(session: Session, name: str, method: Callable[..., object]) -> None:
    """Restore a method that was replaced on one session; ``method`` is the original."""
    if getattr(method, "__self__", None) is session and getattr(type(session), name, None) is getattr(method, "__func__", 0):
        session.__dict__.pop(name, None)  # it came from the class
    else:
        setattr(session, name, method)


def savepoint_around(ended: SessionTransaction) -> SessionTransaction | None:
    """Return the savepoint that the end of a transaction has rolled back; None if that is the whole transaction.

    For the session a flush is a transaction of its own. When one fails, ``after_soft_rollback`` reports that transaction,
    although what was rolled back is the savepoint around it and nothing outside of that.
    """
    transaction: SessionTransaction | None = ended
    while transaction is not None and not transaction.nested:
        transaction = transaction.parent
    return transaction
