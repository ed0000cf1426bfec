"""``SessionAwareService``: which methods of a class are session-aware."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from session_aware._call import wrapper
from session_aware._call.factory import FACTORY_KEYWORDS, SOUGHT, check_factory, gives_factory_later
from session_aware._call.lane import Binding
from session_aware._call.options import nearest
from session_aware._call.plan import looks_at_given
from session_aware._call.sentinel import NEW
from session_aware._call.wrapper import BoundFunction
from session_aware._declare import annotation, signature
from session_aware._unit.configuration import NO_SETTINGS
from session_aware._unit.policy import NO_POLICY, Propagation, SessionPolicy, merge
from session_aware._unit.runners import Kind
from session_aware.exceptions import SessionParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    from session_aware._call.factory import AsyncSessionFactory, SessionFactory
    from session_aware._unit.policy import Retry

__all__ = ["CONSTRUCTION", "OWN_POLICY", "SessionAwareService"]

OWN_POLICY: Final = "__own_session_policy__"

# The arguments of these are often kept on the object, where a session would outlive its call.
CONSTRUCTION: Final = frozenset(
    {
        "__attrs_init__",
        "__attrs_post_init__",
        "__attrs_pre_init__",
        "__class_getitem__",
        "__init__",
        "__init_subclass__",
        "__new__",
        "__post_init__",
        "__set_name__",
        "__setstate__",
        "__subclasshook__",
    }
)


class SessionAwareService:
    """Base of classes whose methods declare a keyword-only ``session`` and let the caller decide about the transaction.

    Every callable of the class body with such a parameter is wrapped when the class statement ends: instance, class and
    static methods, ``async def``, generators and async generators, ``@contextmanager`` and ``@asynccontextmanager``
    methods, callable objects, ``partialmethod``, ``singledispatchmethod``, decorated, abstract and private methods. These
    are not wrapped: ``__init__``, ``__new__`` and other construction hooks, nested classes, a method with a required
    positional ``session``, and one whose ``session`` is annotated only with classes of other libraries.

    A call that passes ``session=`` joins: the body runs in that session and nothing is begun, committed, rolled back or
    closed. A call that omits it (or passes ``None`` or ``NEW_SESSION``) owns: a new session is opened from the factory,
    begun, committed on return, rolled back on any exception, which is re-raised unchanged, and always closed. Nothing is
    kept on the object, the class or the thread, so one object may serve every thread and task.

    The factories are class keywords, class attributes or instance attributes. They are looked up at each call on the object,
    or on the class through which a class or static method was reached; then those of ``configure`` are used.

    Args:
        session_factory: A callable without arguments that makes a new ``Session``, such as a ``sessionmaker``.
        async_session_factory: The same for an ``AsyncSession``, for ``async def`` and other asynchronous callables.
        read_session_factory: Replaces ``session_factory`` for read-only units.
        async_read_session_factory: Replaces ``async_session_factory`` for read-only units.
        propagation: The policy of every method, see ``Propagation``; a method's own value wins. None takes that of a base.
        read_only: Likewise, see ``SessionPolicy``.
        isolation_level: Likewise, see ``SessionPolicy``.
        retry: Likewise, see ``Retry``; it applies to functions and coroutine functions.
        resolve_commit: Likewise, see ``SessionPolicy``.
        **kwargs: Passed to the ``__init_subclass__`` of other bases.

    Raises:
        SessionParameterError: A method takes ``session`` positionally, or its annotation names the other kind of session; or
            a static method has another decorator above ``@auto_session_func``, so that it cannot know its class.
        SessionFactoryError: A factory is not a session factory of its keyword's kind.

    Example:
        class Accounts(SessionAwareService, session_factory=Sessions):
            def open(self, owner: str, *, session: Session = NEW_SESSION) -> Account:
                account = Account(owner=owner)
                session.add(account)
                return account

        Accounts().open("ann")                    # its own transaction
        with Sessions.begin() as s:               # a sessionmaker's: one transaction for both
            Accounts().open("ann", session=s)
            Accounts().open("bob", session=s)
    """

    # Unlike other public names its __module__ stays: inspect.getsource looks for a class in the file of its module.
    __slots__ = ()

    if TYPE_CHECKING:  # otherwise attrs, msgspec, pydantic and get_type_hints would take these for fields
        session_factory: SessionFactory[Session] | None
        async_session_factory: AsyncSessionFactory[AsyncSession] | None
        read_session_factory: SessionFactory[Session] | None
        async_read_session_factory: AsyncSessionFactory[AsyncSession] | None
        __session_policy__: ClassVar[SessionPolicy]
        __session_decorated__: ClassVar[frozenset[object]]

    __session_policy__ = SessionPolicy()
    __session_decorated__ = frozenset()

    def __init_subclass__(
        cls,
        *,
        session_factory: SessionFactory[Session] | None = None,
        async_session_factory: AsyncSessionFactory[AsyncSession] | None = None,
        read_session_factory: SessionFactory[Session] | None = None,
        async_read_session_factory: AsyncSessionFactory[AsyncSession] | None = None,
        propagation: Propagation | None = None,
        read_only: bool | None = None,
        isolation_level: str | None = None,
        retry: Retry | None = None,
        resolve_commit: bool | None = None,
        **kwargs: Any,  # noqa: ANN401 - other bases' keywords
    ) -> None:
        _pass_on(super().__init_subclass__, kwargs, cls)
        given = (session_factory, async_session_factory, read_session_factory, async_read_session_factory)
        _set_factories(cls, dict(zip(FACTORY_KEYWORDS, given, strict=True)))
        own = SessionPolicy(
            propagation=propagation,
            read_only=read_only,
            isolation_level=isolation_level,
            retry=retry,
            resolve_commit=resolve_commit,
        )
        _set_policy(cls, own)
        cls.__session_decorated__ = frozenset[object]().union(
            *(getattr(base, wrapper.DECORATED_ATTRIBUTE, ()) for base in cls.__bases__)
        )
        for name, value in vars(cls).copy().items():
            _refuse_placeholder(cls, name, value)
            if (wrapped := _session_aware(cls, name, value)) is not value:
                setattr(cls, name, wrapped)
        # Copies: another thread, or a finalizer, may change a class meanwhile.
        bases = cls.__mro__[:-1]  # without object
        reached = {name: (base, value) for base in reversed(bases) for name, value in vars(base).copy().items()}
        _look_at_plain_bases(cls, reached)
        _check_decorated_statics(cls, reached)
        if looks_at_given(cls.__session_policy__):
            found = (wrapper.dispatcher_of(value) for base in bases for value in vars(base).copy().values())
            wrapper.ask_always(dispatcher for dispatcher in found if dispatcher is not None)


def _pass_on(init_subclass: Callable[..., None], keywords: dict[str, object], cls: type) -> None:
    """Pass the keywords of a class statement that are not the library's to the other bases.

    Raises:
        TypeError: No base takes one of the keywords.
    """
    try:
        init_subclass(**keywords)
    except TypeError as error:
        said = str(error).partition("__init_subclass__() ")[2]  # not an error of what __init_subclass__ calls
        is_of_object = said == "takes no keyword arguments"  # whose message does not name the keyword
        unknown = [name for name in keywords if is_of_object or f"unexpected keyword argument '{name}'" in said]
        if not unknown:
            raise
        ours = [name for name in inspect.signature(SessionAwareService.__init_subclass__).parameters if name != "kwargs"]
        name, near = nearest(unknown, ours)
        write = f"Write '{near}='." if near else f"The keywords of SessionAwareService are {', '.join(ours)}."
        service = cls.__qualname__.rpartition("<locals>.")[2]
        msg = f"{service}: no base of the class takes the keyword {name!r}. {write}"
        raise TypeError(msg) from error


def _set_factories(cls: type, keywords: dict[str, object]) -> None:
    """Set the factories of the class statement, and check those and the ones of the class body."""
    for keyword, given in keywords.items():
        factory = vars(cls).get(keyword) if given is None else given
        if isinstance(factory, staticmethod):
            factory = factory.__func__
        if factory is None or (given is None and gives_factory_later(factory)):
            continue
        check_factory(factory, keyword, cls.__qualname__)
        is_method = given is None and isinstance(factory, FunctionType) and factory.__code__.co_argcount > 0
        is_bound = hasattr(factory, "__get__") and not is_method
        setattr(cls, keyword, staticmethod(cast("Callable[..., object]", factory)) if is_bound else factory)


def _set_policy(cls: type[SessionAwareService], said: SessionPolicy) -> None:
    """Keep the policy of this class, and merge it with those of its bases, nearest first along the MRO."""
    own = merge(said, vars(cls).get(OWN_POLICY, NO_POLICY))  # dataclass(slots=True) builds a class twice, without keywords
    setattr(cls, OWN_POLICY, own)
    cls.__session_policy__ = merge(*(vars(base).get(OWN_POLICY, NO_POLICY) for base in cls.__mro__))


def _session_aware(cls: type[SessionAwareService], name: str, value: object) -> object:
    """Return the replacement for ``value`` in the class: itself, unless it is a callable with a keyword-only ``session``."""
    if name in CONSTRUCTION or signature.is_inscrutable(value) or isinstance(value, type):
        return value
    if isinstance(value, BoundFunction):  # 'g = Base.f' in a class body, where Base.f counts as a function
        is_function = value._self_instance is None and not value.is_of_class  # noqa: SLF001 - wrapt's way for subclasses
        return value._self_parent if is_function else value  # noqa: SLF001 - likewise
    if (dispatcher := wrapper.dispatcher_of(value)) is not None:
        if dispatcher.binding is not Binding.FUNCTION:  # wrapped before: dataclass(slots=True) builds a class twice
            return value
        function = wrapper.unwrapped(value)  # by @auto_session_func, which could not know that it is in a class
        if not _is_bound(function):
            function = staticmethod(function)
        return wrapper.wrap(
            function, dispatcher.declaration, dispatcher.settings, binding=wrapper.binding_of(function, Binding.INSTANCE)
        )
    match value:
        case functools.partialmethod():
            inner = cast("Callable[..., object]", _session_aware(cls, name, value.func))
            return value if inner is value.func else type(value)(inner, *value.args, **value.keywords)
        case staticmethod() | classmethod() | functools.singledispatchmethod():
            return _wrapped(cls, name, value, signature.beneath(value))
        case _ if callable(value):
            return _wrapped(cls, name, value, value)
        case _:
            return value


def _wrapped(cls: type[SessionAwareService], name: str, value: object, function: Any) -> object:  # noqa: ANN401 - any callable
    if (inner := wrapper.dispatcher_below(function)) is not None:
        _take_decorated(cls, value, inner)
        return value
    parameter = signature.session_parameter(function)
    if parameter is None or not signature.is_of_sqlalchemy(function, parameter):
        return value
    if not parameter.is_keyword_only:
        if parameter.is_required:  # Python itself makes sure that it is passed
            return value
        raise SessionParameterError(signature.complaint(function, f"{cls.__qualname__}.{name}"))
    declaration = signature.read(function, name=f"{cls.__qualname__}.{name}")
    if declaration is None:
        return value
    if not _is_bound(value):  # wrapt would lose the class
        value = staticmethod(function)
    binding = wrapper.binding_of(value, Binding.INSTANCE)
    return wrapper.wrap(cast("Callable[..., object]", value), declaration, NO_SETTINGS, binding=binding)


def _refuse_placeholder(cls: type, name: str, value: object) -> None:
    """Refuse ``NEW_SESSION`` where no session ever replaces it.

    Raises:
        SessionParameterError: It is the default of a parameter of another name, or of a property or constructor.
    """
    if signature.is_inscrutable(value):
        return
    place = f"{cls.__qualname__.rpartition('<locals>.')[2]}.{name}"
    functions: tuple[object, ...]
    if isinstance(value, property | functools.cached_property):
        functions = (value.func,) if isinstance(value, functools.cached_property) else (value.fget, value.fset, value.fdel)
        why, write = "it is a property, and nobody can pass a session to one", "Write a method"
    elif name in CONSTRUCTION:
        functions = (signature.beneath(value),)
        why = "the object outlives the call that makes it, and with it the session that it keeps"
        write = "Take a session factory there, and the session in the methods"
    else:
        function = signature.beneath(value)
        other = next((parameter for parameter in signature.placeholders(function) if parameter != "session"), None)
        if other is not None:
            raise SessionParameterError(signature.complaint_of_other(function, other, place))
        return
    for function in functions:
        if next(signature.placeholders(function), None) is not None and wrapper.dispatcher_below(function) is None:
            msg = f"{place}: nothing takes the place of NEW_SESSION here: {why}. {write}.{signature.where(function)}"
            raise SessionParameterError(msg)


def _look_at_plain_bases(cls: type[SessionAwareService], reached: Mapping[str, tuple[type, object]]) -> None:
    """Take over methods under @auto_session_func from bases that are not services, and refuse unwrapped ones there.

    Raises:
        SessionParameterError: A method with ``session=NEW_SESSION`` would run with the placeholder.
    """
    plain = [base for base in cls.__mro__[:-1] if not issubclass(base, SessionAwareService)]
    for name, (definer, value) in reached.items() if plain else ():
        if definer not in plain or name in CONSTRUCTION or signature.is_inscrutable(value):
            continue
        function = signature.beneath(value)
        if not callable(function) or isinstance(function, type):
            continue
        if (inner := wrapper.dispatcher_of(value) or wrapper.dispatcher_below(function)) is not None:
            _take_decorated(cls, value, inner)
            continue
        is_implemented_elsewhere = getattr(value, "__isabstractmethod__", False) or annotation.is_protocol(definer)
        if not is_implemented_elsewhere and _has_placeholder(function):
            msg = (
                f"{cls.__qualname__.rpartition('<locals>.')[2]}.{name}: it comes from {definer.__name__}, which is not a "
                "SessionAwareService, so nothing takes the place of its NEW_SESSION. Write "
                f"'class {definer.__name__}(SessionAwareService)'.{signature.where(function)}"
            )
            raise SessionParameterError(msg)


def _has_placeholder(function: Callable[..., object]) -> bool:
    if isinstance(function, FunctionType):
        return "session" in signature.placeholders(function)
    parameter = signature.session_parameter(function)
    return parameter is not None and parameter.default is NEW


def _take_decorated(cls: type[SessionAwareService], value: object, inner: wrapper.Dispatcher) -> None:
    """Record a method under @auto_session_func and another decorator, so that a call finds its class by the object."""
    if inner.binding is Binding.FUNCTION and not isinstance(value, staticmethod):
        cls.__session_decorated__ |= {inner}


def _check_decorated_statics(cls: type[SessionAwareService], reached: Mapping[str, tuple[type, object]]) -> None:
    """Refuse a static method that cannot know its class: with another decorator, or of a base that is not a service.

    Such a method works with a factory of its own or of ``configure`` if the class says nothing else, as a free function
    does. What is set on the class later is not noticed.

    Raises:
        SessionParameterError: The policy or a factory of the class would be ignored.
    """
    for name, (definer, value) in reached.items():
        if not issubclass(type(value), staticmethod):  # isinstance may run code of the value's
            continue
        value = cast("staticmethod[..., object]", value)
        inner = wrapper.dispatcher_of(value) or wrapper.dispatcher_below(value.__func__)
        if inner is None or inner.binding is not Binding.FUNCTION or "." not in inner.declaration.name:
            continue
        own, kind = inner.settings.policy, inner.declaration.kind
        keywords = SOUGHT[kind.is_async, own.read_only is True]
        ignored = None
        if _effective(merge(own, cls.__session_policy__), kind) != _effective(own, kind):
            ignored = "policy"
        elif not any(keyword in inner.settings.factories for keyword in keywords):
            named = ((keyword, getattr(cls, keyword, None)) for keyword in keywords)
            ignored = next((keyword for keyword, it in named if it is not None and not gives_factory_later(it)), None)
        if ignored is not None:
            service = cls.__qualname__.rpartition("<locals>.")[2]
            what, write = (
                "with another decorator above @auto_session_func",
                ("@auto_session_func above that decorator, directly below @staticmethod"),
            )
            if wrapper.dispatcher_of(value) is not None:
                what = f"of {definer.__name__}, which is not a SessionAwareService"
                write = f"'class {definer.__name__}(SessionAwareService)'"
            msg = (
                f"{service}.{name}: it is a static method {what}, so a call cannot know that it came through {service}, "
                f"whose {ignored} would be ignored. Write {write}."
            )
            raise SessionParameterError(msg)


def _effective(policy: SessionPolicy, kind: Kind) -> SessionPolicy:
    """Remove from a policy the defaults, and the values that have no effect on this kind of callable."""
    return dataclasses.replace(
        policy,
        propagation=None if policy.propagation is Propagation.REQUIRED else policy.propagation,
        read_only=policy.read_only or None,
        resolve_commit=policy.resolve_commit or None,
        retry=policy.retry if kind in {Kind.PLAIN, Kind.COROUTINE} else None,
    )


def _is_bound(value: object) -> bool:
    """Say whether Python binds it to an object. It binds a partial only from 3.14 on, and warns of that in 3.13."""
    return hasattr(value, "__get__") and not (isinstance(value, functools.partial) and sys.version_info < (3, 14))
