"""Put wrapt around a callable: a call enters here, is decided by ``plan`` and carried out by a runner of ``_unit``."""

from __future__ import annotations

import copy
import dataclasses
from functools import singledispatchmethod
from importlib import import_module
from threading import RLock
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from weakref import WeakSet

import wrapt

from session_aware._call import factory
from session_aware._call.declaration import layers
from session_aware._call.lane import Binding, OwnerMethod, make_lane, wrapper_behind
from session_aware._call.plan import looks_at_given, plan
from session_aware._call.sentinel import NEW
from session_aware._unit import configuration, runners
from session_aware._unit.policy import NO_POLICY, merge
from session_aware._unit.request import JOIN, OPEN, Asked, Request
from session_aware._unit.runners import UNITS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from session_aware._call.declaration import Declaration
    from session_aware._unit.configuration import Settings
    from session_aware._unit.policy import SessionPolicy

    _BoundFunctionWrapper = wrapt.BoundFunctionWrapper[..., Any]
    _FunctionWrapper = wrapt.FunctionWrapper[..., Any]
else:  # wrapt 1's classes take no parameters
    _BoundFunctionWrapper = wrapt.BoundFunctionWrapper
    _FunctionWrapper = wrapt.FunctionWrapper

__all__ = [
    "DECORATED_ATTRIBUTE",
    "POLICY_ATTRIBUTE",
    "BoundFunction",
    "SessionFunction",
    "binding_of",
    "dispatcher_below",
    "dispatcher_of",
    "unwrapped",
    "wrap",
]

Runner: TypeAlias = "Callable[..., object]"

POLICY_ATTRIBUTE: Final = "__session_policy__"
"""Where a service class keeps its policy, merged with those of its bases."""

DECORATED_ATTRIBUTE: Final = "__session_decorated__"
"""Where a service class keeps the dispatchers below decorators of other libraries, which call them as functions.

They are kept on the class because several classes, and free functions, may share one dispatcher.
"""


def _runner(kind: Kind, request: Request) -> Runner:
    # The asynchronous runners are imported only if they are needed, because greenlet is an extra.
    of_kind: Any = import_module("session_aware._unit.async_runners") if kind.is_async else runners
    is_retried = request.policy.retry is not None and request.plan is OPEN
    return cast("Runner", (of_kind.RETRYING if is_retried else of_kind.RUNNERS)[kind])


_Decided: TypeAlias = "tuple[SessionPolicy | None, Request, Runner | None, SessionPolicy | None]"
"""The policy of ``configure``, what follows from it, and the policy of the class, so that no other one gets its id."""

_NOT_DECIDED: Final[_Decided] = (None, Request(JOIN, "", NO_POLICY, commits=False), None, None)
_LIMIT: Final = 256  # policies of classes for which a method keeps its decision
_OMITTED: Final = 0
_GIVEN: Final = 1
_NONE: Final = 2


_lock: Final = RLock()  # re-entrant: a finalizer that runs while it is held may create a class or call configure()
_dispatchers: Final[WeakSet[Dispatcher]] = WeakSet()


def ask_always(dispatchers: Iterable[Dispatcher] | None = None) -> None:
    """Make the lanes of these dispatchers ask even when a session is given; all lanes of the process if None.

    This cannot be undone: if the setting is removed, the lanes stay correct but are as slow as wrapt alone.
    """
    if dispatchers is None:
        with _lock:  # another thread may be creating classes
            dispatchers = list(_dispatchers)
    for dispatcher in dispatchers:
        dispatcher.asks_always[:] = [True]


class Dispatcher:
    """What wrapt calls instead of the callable: it looks up policy and factory, plans, and passes a unit to the runner."""

    __slots__ = ("__weakref__", "_decided", "_is_async", "_is_named", "asks_always", "binding", "declaration", "settings")

    def __init__(
        self, declaration: Declaration, settings: Settings, binding: Binding, asks_always: list[bool] | None = None
    ) -> None:
        self.binding = binding
        self.declaration = declaration
        self.settings = settings
        # Shared with the lane, if there is one, also through pickles. Not empty if it asks even when a session is given.
        self.asks_always: list[bool] = [] if asks_always is None else asks_always
        with _lock:
            _dispatchers.add(self)
        self._is_async = declaration.kind.is_async
        self._is_named = declaration.kind in {Kind.COROUTINE, Kind.GENERATOR, Kind.ASYNC_GENERATOR}
        # For a call without a session, with one, and with None; by the id of the class's policy.
        self._decided: tuple[dict[int, _Decided], ...] = ({}, {}, {})

    def __reduce__(self) -> tuple[object, ...]:
        return Dispatcher, (self.declaration, self.settings, self.binding, self.asks_always)

    def dispatch(
        self, wrapped: Callable[..., object], target: object, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        """Carry out a call; wrapt calls this."""
        source = kwargs.get("session")
        given = _OMITTED if source is NEW else _GIVEN if source is not None else _NONE if "session" in kwargs else _OMITTED
        if target is None and args:
            # A method that its lane or another decorator calls as a function has its object as the first argument.
            target = args[0] if self.binding is Binding.INSTANCE or self._is_method_of(args[0]) else None
        of_class = getattr(target if isinstance(target, type) else type(target), POLICY_ATTRIBUTE, NO_POLICY)
        settings = configuration.settings  # read once, so that policy and factories are from the same configure()
        configured = settings.policy
        # One read, one assignment: safe between threads without a lock.
        decided = self._decided[given]
        known, request, runner, _ = decided.get(id(of_class), _NOT_DECIDED)
        if known is not configured:
            request, runner = self._decide(of_class, configured, given), None
            if len(decided) >= _LIMIT:
                decided.clear()
            decided[id(of_class)] = configured, request, runner, of_class
        if request.plan is JOIN:
            return wrapped(*args, **kwargs)
        if given is not _GIVEN:
            read_only = request.policy.read_only is True
            source = factory.find(
                self.settings.factories, settings.factories, target, self._is_async, read_only, request.name
            )
        if runner is None:  # only now: a missing factory is reported before a missing greenlet
            runner = _runner(self.declaration.kind, request)
            decided[id(of_class)] = configured, request, runner, of_class
        if self.declaration.is_commit is not None and "is_commit" in kwargs:
            commits = request.policy.read_only is not True and bool(kwargs["is_commit"])
            request = dataclasses.replace(request, commits=commits)
        made: Any = runner(UNITS[request.plan](request, source), wrapped, args, kwargs)
        if self._is_named:  # for task dumps and "never awaited" warnings, which should name what the caller called
            made.__name__, made.__qualname__ = self.declaration.function_name
        return made

    def _is_method_of(self, first: object) -> bool:
        decorated = getattr(first if isinstance(first, type) else type(first), DECORATED_ATTRIBUTE, None)
        return isinstance(decorated, frozenset) and self in decorated

    def _decide(self, of_class: SessionPolicy, configured: SessionPolicy, given: int) -> Request:
        declaration = self.declaration
        kind = declaration.kind
        policy = merge(self.settings.policy, of_class, configured)
        chosen = plan(policy, is_given=given == _GIVEN, name=declaration.name)
        commits = policy.read_only is not True and declaration.is_commit is not False
        is_suspendable = kind in {Kind.GENERATOR, Kind.CONTEXT}
        asked = Asked.WITH_NONE if given == _NONE else Asked.WITHOUT
        return Request(chosen, declaration.name, policy, commits=commits, asked=asked, is_suspendable=is_suspendable)

    def policy(self, owner: type | None) -> SessionPolicy:
        """Merge the policies of the method, of the class through which it was reached, and of ``configure``."""
        return merge(self.settings.policy, getattr(owner, POLICY_ATTRIBUTE, NO_POLICY), configuration.settings.policy)


class BoundFunction(_BoundFunctionWrapper):
    """A bound session-aware callable. It can be copied and pickled like a bound method, unlike wrapt's own proxies."""

    __slots__ = ()
    is_of_class = False

    def __copy__(self) -> object:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> object:
        if self._self_instance is None:
            return self
        return getattr(copy.deepcopy(self._self_instance, memo), self._attribute())

    def __reduce_ex__(self, _protocol: object) -> tuple[object, ...]:
        of = self._self_owner if self._self_instance is None else self._self_instance
        return getattr, (of, self._attribute())

    def _attribute(self) -> str:
        """Find its attribute name in the class, which is not ``__name__`` if it was mangled or assigned."""
        classes = () if self._self_owner is None else self._self_owner.__mro__
        found = (name for cls in classes for name, value in vars(cls).copy().items() if value is self._self_parent)
        return next(found, None) or self.__name__


class _BoundToClass(BoundFunction):
    """A class method, or a static method that knows its class: ``B.s()`` uses B's factory even if A defines ``s``."""

    __slots__ = ()
    is_of_class = True

    def __call__(self, /, *args: object, **kwargs: object) -> object:
        return self._self_wrapper(self.__wrapped__, self._self_owner, args, kwargs)


class SessionFunction(_FunctionWrapper):
    """A session-aware callable: function, class attribute, static or class method."""

    __bound_function_wrapper__ = BoundFunction
    _self_has_lane = False

    @property  # type: ignore[misc] # read-only, as wrapt has it
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride] - likewise
        # Behind a lane it need not pass for a function, and cloudpickle would take a function apart and lose the wrapper.
        return type(self) if self._self_has_lane else type(self.__wrapped__)

    def __get__(self, instance: object, owner: type | None = None, /) -> object:
        if type(self.__wrapped__) is not FunctionType:
            return super().__get__(instance, owner)
        return self if instance is None else MethodType(self, instance)  # as a function does

    def __copy__(self) -> object:
        return self

    def __deepcopy__(self, _memo: object) -> object:
        return self  # as functions do

    def __reduce_ex__(self, _protocol: object) -> str | tuple[object, ...]:
        dispatcher: Dispatcher = cast("Any", self._self_wrapper).__self__
        is_function = dispatcher.binding is Binding.FUNCTION or type(self.__wrapped__) is FunctionType
        if is_function and not self._self_has_lane:
            return self.__qualname__  # as functions do
        return _restored, (
            type(self),
            self.__wrapped__,
            dispatcher,
            self._self_has_lane,
        )  # for cloudpickle and dill, which pickle classes by value


def _restored(
    cls: type[SessionFunction],
    function: Callable[..., object],
    dispatcher: Dispatcher,
    has_lane: bool,  # noqa: FBT001 - called by pickle
) -> SessionFunction:
    made = cls(function, dispatcher.dispatch)
    made._self_has_lane = has_lane
    return made


class _ClassSessionFunction(SessionFunction):
    __bound_function_wrapper__ = _BoundToClass
    __get__ = _FunctionWrapper.__get__  # there is no function to bind, and this is faster


def wrap(
    function: Callable[..., object], declaration: Declaration, settings: Settings, *, binding: Binding
) -> Callable[..., object]:
    """Return the replacement for a callable, or for a static- or classmethod object around one.

    It is a wrapt wrapper, behind a lane if the callable is a plain function.
    """
    is_of_class = binding in {Binding.CLASS, Binding.OWNER}
    dispatcher = Dispatcher(declaration, settings, binding)
    wrapper = (_ClassSessionFunction if is_of_class else SessionFunction)(function, dispatcher.dispatch)
    inner = function.__func__ if isinstance(function, staticmethod | classmethod) else function
    lane = make_lane(inner, binding, wrapper, dispatcher.asks_always)
    if lane is None:
        return wrapper
    wrapper._self_has_lane = True  # noqa: SLF001 - wrapt's way for subclasses
    if any(
        map(looks_at_given, (settings.policy, configuration.settings.policy))
    ):  # configure() has told only the dispatchers that existed then
        ask_always([dispatcher])
    placed = OwnerMethod(lane) if binding is Binding.OWNER else classmethod(lane) if binding is Binding.CLASS else lane
    return cast("Callable[..., object]", placed)


def _wrapper_of(value: object) -> Any:  # noqa: ANN401 - wrapt's proxy
    # By the type: isinstance reads __class__, and proxies of other libraries may run code or fail there.
    if issubclass(type(value), SessionFunction):  # first, because around a static- or classmethod it claims to be one
        return value
    if issubclass(type(value), BoundFunction):
        return cast("BoundFunction", value)._self_parent  # noqa: SLF001 - wrapt's way for subclasses
    function = cast("Any", value).__func__ if issubclass(type(value), staticmethod | classmethod) else value
    return function if issubclass(type(function), SessionFunction) else wrapper_behind(function)


def dispatcher_of(value: object) -> Dispatcher | None:
    """Return the dispatcher of a session-aware callable, with or without a lane; None for any other callable."""
    wrapper = _wrapper_of(value)
    return None if wrapper is None else cast("Dispatcher", wrapper._self_wrapper.__self__)  # noqa: SLF001 - wrapt's own way


def unwrapped(value: object) -> Callable[..., object]:
    """Return what was passed to ``wrap``, in a static- or classmethod object if that is what ``value`` is."""
    function: Any = _wrapper_of(value).__wrapped__
    if isinstance(value, staticmethod | classmethod) and not isinstance(function, staticmethod | classmethod):
        function = type(value)(function)
    return cast("Callable[..., object]", function)


def binding_of(value: object, function: Binding) -> Binding:
    """Say how a static- or classmethod object is bound; return ``function`` for anything else."""
    if isinstance(value, singledispatchmethod):
        value = value.func
    return (
        Binding.OWNER if isinstance(value, staticmethod) else Binding.CLASS if isinstance(value, classmethod) else function
    )


def dispatcher_below(function: object) -> Dispatcher | None:
    """Return the dispatcher of an @auto_session_func below other decorators, whose policy applies; None without one."""
    return next(filter(None, map(dispatcher_of, layers(function))), None)
