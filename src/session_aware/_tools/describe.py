"""``describe``: the session-aware callables of a class or module, what each call would do, and what looks wrong."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import shutil
import textwrap
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final, cast

from session_aware._call import wrapper
from session_aware._call.declaration import layers
from session_aware._call.factory import SOUGHT, find, gives_factory_later
from session_aware._call.lane import Binding
from session_aware._declare import signature
from session_aware._declare.service import CONSTRUCTION, OWN_POLICY, SessionAwareService
from session_aware._unit import configuration
from session_aware._unit.policy import NO_POLICY, SessionPolicy
from session_aware.exceptions import SessionFactoryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from session_aware._call.wrapper import Dispatcher

__all__ = ["CallableDescription", "Description", "describe"]

_HEADERS: Final = ("callable", "kind", "policy", "factory")
_NARROWEST: Final = 60  # columns of a terminal, below which a table is no help


@dataclass(frozen=True, slots=True, kw_only=True)
class CallableDescription:
    """One session-aware callable.

    Attributes:
        name: Its name in the class that was described, ``Accounts.rename``.
        kind: ``def``, ``async def``, ``generator``, ``async generator``, ``context manager`` or ``async context manager``;
            with ``class`` or ``static`` before it for such methods.
        policy: Every value that is set, with the place that sets it: ``{"read_only": (True, "method")}``.
        factory: The factory that opens its session, or None if none is known now.
        defined_in: The full name of the class or module whose body defines it.
        signature: Its own signature, with ``session``.
    """

    name: str
    kind: str
    policy: dict[str, tuple[object, str]]
    factory: str | None
    defined_in: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What ``describe`` returns; its ``str()`` is a table, as wide as the terminal, with the findings below it.

    Attributes:
        target: The qualified name of the class or module.
        callables: One entry for each session-aware callable, sorted by name.
        findings: What looks wrong, as texts; empty if nothing does.
    """

    target: str
    callables: tuple[CallableDescription, ...]
    findings: tuple[str, ...]

    def __str__(self) -> str:
        total = max(_NARROWEST, shutil.get_terminal_size().columns)
        rows = [_cells(one) for one in self.callables]
        widths = _widths([_HEADERS, *rows], total)
        lines = [self.target, "", *_row(_HEADERS, widths), "  ".join("-" * width for width in widths)]
        for one, cells in zip(self.callables, rows, strict=True):
            owner = one.name.rpartition(".")[0]
            is_own = one.defined_in in {self.target, f"{self.target}.{owner}"}
            more = one.signature if is_own else f"{one.signature}, in {one.defined_in}"
            lines += [*_row(cells, widths), *textwrap.wrap(more, total, initial_indent="    ", subsequent_indent="      ")]
        for finding in self.findings:
            lines += ["", *textwrap.wrap(f"! {finding}", total, subsequent_indent="  ", break_on_hyphens=False)]
        return "\n".join(lines)


for _public in (CallableDescription, Description):
    _public.__module__ = "session_aware"


def _cells(one: CallableDescription) -> tuple[str, ...]:
    policy = ", ".join(f"{name}={value!r} ({source})" for name, (value, source) in one.policy.items())
    return one.name, one.kind, policy or "-", one.factory or "-"


def _widths(rows: list[tuple[str, ...]], total: int) -> list[int]:
    """Return the width of each column: what it needs, or for the widest ones what is left of the terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while (excess := sum(widths) + 2 * (len(widths) - 1) - total) > 0:
        widest = max(widths)
        at = widths.index(widest)
        widths[at] = max(widest - excess, (total - 2 * len(widths)) // len(widths), sorted(widths)[-2] - 1)
    return widths


def _row(cells: tuple[str, ...], widths: list[int]) -> list[str]:
    columns = [textwrap.wrap(cell, width, break_on_hyphens=False) for cell, width in zip(cells, widths, strict=True)]
    lines = itertools.zip_longest(*columns, fillvalue="")
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def describe(service_or_module: type | ModuleType) -> Description:
    """Describe every session-aware callable of a service class, or of a module's services and functions.

    Nothing is called or opened. What objects set on themselves cannot be seen here; an attribute that gives each object its
    factory, such as a property, counts as one. A missing factory is a finding only after ``configure`` has named any
    factory, since until then that call may still come.

    Args:
        service_or_module: A subclass of ``SessionAwareService``, or an imported module.

    Returns:
        A value with ``callables`` and ``findings``; ``print`` it for a table.

    Raises:
        TypeError: It is neither.

    Example:
        print(describe(Accounts))
    """
    if isinstance(service_or_module, ModuleType):
        target = service_or_module.__name__
        classes: list[type] = [
            value
            for value in vars(service_or_module).copy().values()  # which another thread may change meanwhile
            if isinstance(value, type) and issubclass(value, SessionAwareService) and value.__module__ == target
        ]
        functions = [
            _callable(dispatcher, None, name, target, value)
            for name, value in vars(service_or_module).copy().items()
            if (dispatcher := wrapper.dispatcher_of(value)) is not None and getattr(value, "__module__", None) == target
        ]
    elif isinstance(cast("object", service_or_module), type) and issubclass(service_or_module, SessionAwareService):
        target = _full_name(service_or_module)
        classes, functions = [service_or_module], []
    else:
        msg = f"describe: {service_or_module!r} is neither a SessionAwareService nor a module. Write 'describe(Accounts)'."
        raise TypeError(msg)
    found = [*functions, *(one for cls in classes for one in _callables(cls))]
    findings = [finding for cls in classes for finding in _unwrapped(cls)]
    if configuration.settings.factories:  # otherwise configure() may still be called
        findings += _without_factory(found, target if isinstance(service_or_module, ModuleType) else classes[0].__module__)
    return Description(target=target, callables=tuple(sorted(found, key=lambda one: one.name)), findings=tuple(findings))


describe.__module__ = "session_aware"


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _without_factory(found: list[CallableDescription], module: str) -> Iterator[str]:
    """Yield a finding for each owner and keyword whose callables can only be called with a session."""
    missing: dict[tuple[str, str], list[str]] = {}
    for one in found:
        if one.factory is None:
            owner, _, name = one.name.rpartition(".")
            keyword = "async_session_factory" if "async" in one.kind else "session_factory"
            missing.setdefault((owner, keyword), []).append(name)
    for (owner, keyword), names in missing.items():
        where = f"the class {owner}" if owner else "@auto_session_func"
        yield (
            f"{module}{'.' * bool(owner)}{owner}: nothing names {keyword}, so {', '.join(sorted(names))} can only be called "
            f"with 'session='. Name one on {where}, or in 'configure({keyword}=...)'."
        )


def _attributes(cls: type) -> Iterator[tuple[str, type, object]]:
    """Yield each attribute once, with the nearest class that defines it."""
    seen: set[str] = set()
    for definer in cls.__mro__:
        for name, value in vars(definer).copy().items():
            if name not in seen:
                seen.add(name)
                is_partial = issubclass(type(value), functools.partialmethod)  # isinstance may run code of the value's
                yield name, definer, value.func if is_partial else value


def _callables(cls: type) -> Iterator[CallableDescription]:
    for name, definer, value in _attributes(cls):
        if (dispatcher := wrapper.dispatcher_of(value)) is not None:
            yield _callable(dispatcher, cls, f"{cls.__qualname__}.{name}", _full_name(definer), getattr(cls, name))


def _unwrapped(cls: type) -> Iterator[str]:
    """Yield a finding for each callable with a ``session`` that is not wrapped."""
    for name, definer, value in _attributes(cls):
        if signature.is_inscrutable(value):
            continue
        function = signature.beneath(value)
        if name in CONSTRUCTION or isinstance(function, type) or not callable(function):
            continue
        if any(wrapper.dispatcher_of(layer) is not None for layer in (value, *layers(function))):
            continue
        parameter = signature.session_parameter(function)
        if parameter is None or not signature.is_of_sqlalchemy(function, parameter):
            continue
        if getattr(value, "__isabstractmethod__", False):
            continue
        why = "it was added to the class after the class statement. Write it in the class body, or decorate it with"
        if not parameter.is_keyword_only:
            why = "its 'session' is positional. Write '*, session: Session = NEW_SESSION', unless every caller passes one"
        elif not issubclass(definer, SessionAwareService):
            why = f"{_full_name(definer)} is not a SessionAwareService. Derive it from that, or decorate the method with"
        write = " @auto_session_func" if parameter.is_keyword_only else ""
        yield f"{_full_name(cls)}.{name}: takes 'session' but is not wrapped: {why}{write}."


def _callable(dispatcher: Dispatcher, cls: type | None, name: str, definer: str, value: object) -> CallableDescription:
    binding = {Binding.CLASS: "class ", Binding.OWNER: "static "}.get(dispatcher.binding, "")
    return CallableDescription(
        name=name,
        kind=binding + dispatcher.declaration.kind.value,
        policy=_policy(dispatcher, cls),
        factory=_found_factory(dispatcher, cls, name),
        defined_in=definer,
        signature=signature.signature_text(value) if callable(value) else "(...)",
    )


def _policy(dispatcher: Dispatcher, cls: type | None) -> dict[str, tuple[object, str]]:
    """Merge the policies as a call does, and keep the place that sets each value."""
    said: list[tuple[str, SessionPolicy]] = [("method" if cls else "function", dispatcher.settings.policy)]
    said += [(f"class {base.__qualname__}", vars(base).get(OWN_POLICY, NO_POLICY)) for base in (cls.__mro__ if cls else ())]
    said.append(("configure", configuration.settings.policy))
    found: dict[str, tuple[object, str]] = {}
    for field in dataclasses.fields(SessionPolicy):
        for source, policy in said:
            if (value := getattr(policy, field.name)) is not None:
                found[field.name] = value, source
                break
    return found


def _found_factory(dispatcher: Dispatcher, cls: type | None, name: str) -> str | None:
    is_async = dispatcher.declaration.kind.is_async
    read_only = dispatcher.policy(cls).read_only is True
    keywords = SOUGHT[is_async, read_only]
    for keyword in keywords if cls else ():
        attribute = inspect.getattr_static(cls, keyword, None)
        if attribute is not None and gives_factory_later(attribute):
            return f"{keyword} of the object"
    try:
        own, configured = dispatcher.settings.factories, configuration.settings.factories
        factory = find(own, configured, cls, is_async=is_async, read_only=read_only, name=name)
    except SessionFactoryError:
        return None
    engine = getattr(factory, "kw", {}).get("bind")
    where = f" on {engine.url!r}" if engine is not None and hasattr(engine, "url") else ""
    return f"{type(factory).__name__ if hasattr(factory, 'kw') else getattr(factory, '__qualname__', repr(factory))}{where}"
