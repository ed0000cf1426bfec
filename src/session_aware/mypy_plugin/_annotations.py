"""Tell from an annotation, analysed by mypy or not yet, whether it is a session and of which kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mypy.nodes import PlaceholderNode, SymbolTableNode, TypeAlias, TypeInfo, TypeVarExpr
from mypy.types import AnyType, Instance, NoneType, Type, TypeOfAny, TypeVarType, UnboundType, UnionType, get_proper_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy.nodes import FuncItem

__all__ = [
    "Lookup",
    "NotReadyError",
    "SessionType",
    "class_of",
    "is_of_another_library",
    "session_type",
    "unknown",
    "with_type_parameters",
]

Lookup = Callable[[str], SymbolTableNode | Type | None]
"""Looks up a name of an annotation: returns a symbol, the bound of a type parameter, or None if it is not bound."""

_SYNC: Final = "sqlalchemy.orm.session.Session"
_ASYNC: Final = "sqlalchemy.ext.asyncio.session.AsyncSession"
_REGISTRIES: Final = ("sqlalchemy.orm.scoping.scoped_session", "sqlalchemy.ext.asyncio.scoping.async_scoped_session")
_ANNOTATED: Final = frozenset({"typing.Annotated", "typing_extensions.Annotated"})


class NotReadyError(Exception):
    """mypy has not bound a name of the annotation yet: ask again in its next pass, or abstain."""


@dataclass(frozen=True, slots=True)
class SessionType:
    """What a session annotation says.

    Attributes:
        info: The class, ``Session``, ``AsyncSession`` or one that derives from them; of a union the widest one.
        is_async: Whether that is an ``AsyncSession``.
        is_optional: Whether None is allowed as well.
    """

    info: TypeInfo
    is_async: bool
    is_optional: bool

    def accepts(self, other: SessionType) -> bool:
        """Say whether a session of the other type may be passed where this one is declared."""
        return not other.is_optional and other.info.has_base(self.info.fullname)


def unknown(_name: str) -> Type:
    """Look up a name where everything is analysed, so that a name that is not bound is unknown."""
    return AnyType(TypeOfAny.special_form)


def with_type_parameters(func: FuncItem, lookup: Lookup) -> Lookup:
    """Return a lookup that knows the type parameters of ``def f[S: Session](...)`` by their bounds."""
    bounds = {
        parameter.name: parameter.upper_bound or unknown(parameter.name)
        for parameter in getattr(func, "type_args", None) or ()
    }
    return (lambda name: bounds.get(name) or lookup(name)) if bounds else lookup


def session_type(annotation: Type, lookup: Lookup) -> SessionType | None:
    """Return what the annotation says about a session, or None if it is unclear or names something else.

    Raises:
        NotReadyError: mypy has not bound a name of the annotation yet.
    """
    if isinstance(annotation, Instance):  # nearly always
        info = annotation.type
        is_async = info.has_base(_ASYNC)
        return SessionType(info, is_async=is_async, is_optional=False) if is_async or info.has_base(_SYNC) else None
    types = list(_alternatives(annotation, lookup))
    sessions = [typ for typ in types if not isinstance(typ, NoneType)]
    infos = [typ.type for typ in sessions if isinstance(typ, Instance)]
    is_async = bool(infos) and all(info.has_base(_ASYNC) for info in infos)
    is_sync = bool(infos) and all(info.has_base(_SYNC) for info in infos)
    if len(infos) < len(sessions) or not (is_async or is_sync):
        return None
    widest = next((one for one in infos if all(info.has_base(one.fullname) for info in infos)), infos[0])
    return SessionType(widest, is_async=is_async, is_optional=len(types) > len(sessions))


def is_of_another_library(annotation: Type, lookup: Lookup) -> bool:
    """Say whether an annotation names classes, and none of them is SQLAlchemy's, which is the rule at run time.

    Raises:
        NotReadyError: mypy has not bound a name of the annotation yet.
    """
    types = [typ for typ in _alternatives(annotation, lookup) if not isinstance(typ, NoneType)]
    infos = [typ.type for typ in types if isinstance(typ, Instance)]
    says_nothing = any(info.is_protocol or info.fullname in {"builtins.object", "typing.Any"} for info in infos)
    if not types or len(infos) < len(types) or says_nothing:
        return False
    return not any(info.has_base(base) for info in infos for base in (_SYNC, _ASYNC, *_REGISTRIES))


def class_of(annotation: Type, lookup: Lookup) -> TypeInfo | None:
    """Return the one class that an annotation names; None if it is unclear."""
    try:
        types = list(_alternatives(annotation, lookup))
    except NotReadyError:
        return None
    return types[0].type if len(types) == 1 and isinstance(types[0], Instance) else None


def _alternatives(annotation: Type, lookup: Lookup) -> Iterator[Type]:
    """Yield the members of a union, or the one type. A class is an instance; what is not understood stays unchanged."""
    if isinstance(annotation, UnboundType):
        yield from _named(annotation, lookup)
        return
    typ = get_proper_type(annotation)
    if isinstance(typ, UnionType):
        for item in typ.items:
            yield from _alternatives(item, lookup)
    elif isinstance(typ, TypeVarType) and not typ.values:
        yield from _alternatives(typ.upper_bound, lookup)
    else:
        yield typ


def _named(annotation: UnboundType, lookup: Lookup) -> Iterator[Type]:
    if annotation.name == "None":
        yield NoneType()
        return
    found = lookup(annotation.name)
    if isinstance(found, Type):
        yield from _alternatives(found, lookup)
        return
    if found is None or isinstance(found.node, PlaceholderNode):
        raise NotReadyError
    if isinstance(found.node, TypeInfo):
        yield Instance(found.node, [])
    elif isinstance(found.node, TypeAlias):
        yield from _alternatives(found.node.target, lookup)
    elif isinstance(found.node, TypeVarExpr):
        yield from [annotation] if found.node.values else _alternatives(found.node.upper_bound, lookup)
    else:
        for item in _special(annotation, found.fullname):
            yield from [item] if item is annotation else _alternatives(item, lookup)


def _special(annotation: UnboundType, fullname: str | None) -> list[Type]:
    """Take ``Optional``, ``Union`` and ``Annotated`` apart; return the annotation itself if it is something else."""
    if fullname == "typing.Optional":
        return [*annotation.args, NoneType()]
    if fullname == "typing.Union":
        return list(annotation.args)
    return list(annotation.args[:1]) if fullname in _ANNOTATED else [annotation]
