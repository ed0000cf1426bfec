"""Put wrapt around a callable: a call enters here, is decided by ``_plan`` and carried out by ``_sync`` or ``_async``."""

from __future__ import annotations

import copy
from functools import singledispatchmethod
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

import wrapt

from session_aware import _configuration, _factory, _lane, _plan, _signature, _sync
from session_aware._lane import Binding, OwnerMethod
from session_aware._plan import Plan
from session_aware._policy import NO_POLICY, merge
from session_aware._request import Request
from session_aware._sentinel import NEW

if TYPE_CHECKING:
    from collections.abc import Callable

    from session_aware._policy import SessionPolicy, Settings
    from session_aware._signature import Declaration, Kind

    _BoundFunctionWrapper = wrapt.BoundFunctionWrapper[..., Any]
    _FunctionWrapper = wrapt.FunctionWrapper[..., Any]
else:  # wrapt 1's classes take no parameters
    _BoundFunctionWrapper = wrapt.BoundFunctionWrapper
    _FunctionWrapper = wrapt.FunctionWrapper

__all__ = [
    "POLICY_ATTRIBUTE",
    "BoundFunction",
    "SessionFunction",
    "binding_of",
    "dispatcher_of",
    "has_policy",
    "unwrapped",
    "wrap",
]

POLICY_ATTRIBUTE: Final = "__session_policy__"
"""Where a service class keeps its policy, merged with those of its bases."""


def _drivers(kind: Kind) -> Any:  # noqa: ANN401 - a module
    return import_module("session_aware._async") if kind.is_async else _sync  # async needs greenlet, which is an extra


class Dispatcher:
    """What wrapt calls instead of the callable: look the policy and the factory up, plan, hand over to the driver."""

    __slots__ = ("_driver", "_is_async", "_memo", "binding", "declaration", "home", "settings", "takes_self")

    def __init__(self, declaration: Declaration, settings: Settings, binding: Binding) -> None:
        self.binding = binding
        self.declaration = declaration
        self.home: type | None = None  # the service that has it beneath another decorator, which calls it as a function
        self.takes_self = binding is Binding.INSTANCE  # called as a function, as its lane does, it finds the object there
        self.settings = settings
        self._driver: Callable[..., object] | None = None
        self._is_async = declaration.kind.is_async
        self._memo: tuple[object, object, SessionPolicy] = (None, None, NO_POLICY)

    def dispatch(
        self, wrapped: Callable[..., object], target: object, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        """Carry a call out; wrapt calls this."""
        given = kwargs.get("session")
        declaration = self.declaration
        if target is None:
            target = args[0] if self.takes_self and args else self.home
        policy = self.policy(target)
        chosen = _plan.plan(policy, given is not None and given is not NEW, declaration.name)
        if chosen is Plan.JOIN:
            return wrapped(*args, **kwargs)
        factory = None
        if chosen is Plan.OPEN:
            given = None
            factory = _factory.find(
                self.settings.factories, target, self._is_async, policy.read_only is True, declaration.name
            )
        commits = policy.read_only is not True and (
            declaration.is_commit is None or bool(kwargs.get("is_commit", declaration.is_commit))
        )
        request = Request(chosen, declaration.name, policy, given, factory, commits, False, False)  # noqa: FBT003 - runs at each call
        if policy.retry is not None and chosen is Plan.OPEN:
            return _drivers(declaration.kind).RETRYING[declaration.kind](request, wrapped, args, kwargs)
        driver = self._driver
        if driver is None:
            driver = self._driver = cast("Callable[..., object]", _drivers(declaration.kind).DRIVERS[declaration.kind])
        return driver(request, wrapped, args, kwargs)

    def policy(self, target: object) -> SessionPolicy:
        """Merge what the method, the class through which it was reached, and ``configure`` say."""
        owner = target if isinstance(target, type) else type(target)
        of_class = getattr(owner, POLICY_ATTRIBUTE, NO_POLICY)
        configured = _configuration.settings.policy
        known_class, known_configured, known = self._memo  # one read, one assignment: safe between threads without a lock
        if known_class is of_class and known_configured is configured:
            return known
        merged = merge(self.settings.policy, of_class, configured)
        self._memo = (of_class, configured, merged)
        return merged


class BoundFunction(_BoundFunctionWrapper):
    """A bound session-aware callable. wrapt refuses to copy and pickle its proxies; a bound method can do both."""

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
        """Find the name under which the class holds it: ``__name__`` is not it for mangled and assigned ones."""
        classes = () if self._self_owner is None else self._self_owner.__mro__
        found = (name for cls in classes for name, value in vars(cls).items() if value is self._self_parent)
        return next(found, None) or self.__name__


class _BoundToClass(BoundFunction):
    """A class method, or a static method that knows its class: ``B.s()`` uses B's factory, though A wrote ``s``."""

    __slots__ = ()
    is_of_class = True

    def __call__(self, *args: object, **kwargs: object) -> object:
        return self._self_wrapper(self.__wrapped__, self._self_owner, args, kwargs)


class SessionFunction(_FunctionWrapper):
    """A session-aware callable: function, class attribute, static or class method."""

    __bound_function_wrapper__ = BoundFunction

    def __copy__(self) -> object:
        return self

    def __deepcopy__(self, _memo: object) -> object:
        return self  # as functions do

    def __reduce_ex__(self, _protocol: object) -> str:
        return self.__qualname__


class _ClassSessionFunction(SessionFunction):
    __bound_function_wrapper__ = _BoundToClass


def wrap(
    function: Callable[..., object], declaration: Declaration, settings: Settings, *, binding: Binding
) -> Callable[..., object]:
    """Return what stands in the place of a callable, or of a static- or classmethod object around one.

    That is a wrapt wrapper, behind a lane if the callable is a plain function.
    """
    is_of_class = binding in {Binding.CLASS, Binding.OWNER}
    wrapper = (_ClassSessionFunction if is_of_class else SessionFunction)(
        function, Dispatcher(declaration, settings, binding).dispatch
    )
    if _plan.looks_at_given(settings.policy):
        return wrapper
    inner = function.__func__ if isinstance(function, staticmethod | classmethod) else function
    is_planned = _plan.looks_at_given(_configuration.settings.policy)
    lane = _lane.lane(inner, declaration.kind, binding, wrapper, is_planned=is_planned)
    if lane is None:
        return wrapper
    placed = OwnerMethod(lane) if binding is Binding.OWNER else classmethod(lane) if binding is Binding.CLASS else lane
    return cast("Callable[..., object]", placed)


def _wrapper_of(value: object) -> Any:  # noqa: ANN401 - wrapt's proxy
    if isinstance(value, SessionFunction):  # first: around a static- or classmethod it claims to be one
        return value
    function = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    return function if isinstance(function, SessionFunction) else _lane.wrapper_behind(function)


def dispatcher_of(value: object) -> Dispatcher | None:
    """Return what decides the calls of a wrapped callable, in front of which a lane may stand; None for any other."""
    wrapper = _wrapper_of(value)
    return None if wrapper is None else cast("Dispatcher", wrapper._self_wrapper.__self__)  # noqa: SLF001 - wrapt's own way


def unwrapped(value: object) -> Callable[..., object]:
    """Return what was wrapped, as it was handed to ``wrap``."""
    return cast("Callable[..., object]", _wrapper_of(value).__wrapped__)


def binding_of(value: object, function: Binding) -> Binding:
    """Say how a static- or classmethod object is bound; anything else as ``function`` says."""
    if isinstance(value, singledispatchmethod):
        value = value.func
    return (
        Binding.OWNER if isinstance(value, staticmethod) else Binding.CLASS if isinstance(value, classmethod) else function
    )


def has_policy(cls: type, value: object, function: object) -> bool:
    """Say whether a decorator stands above @auto_session_func, whose policy holds; tell that where it stands."""
    inner = next(filter(None, map(dispatcher_of, _signature.layers(function))), None)
    if inner is not None and inner.binding is Binding.FUNCTION:
        inner.home, inner.takes_self = cls, not isinstance(value, staticmethod)
    return inner is not None
