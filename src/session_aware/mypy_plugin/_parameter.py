"""The parameter ``session`` of a definition: read it, and make it optional for callers if it has no default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mypy.nodes import ARG_NAMED, ARG_NAMED_OPT, FuncDef
from mypy.types import CallableType, Overloaded, Type, get_proper_type

from session_aware.mypy_plugin._annotations import is_of_another_library, session_type, unknown, with_type_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy.nodes import ArgKind, Argument, FuncItem

    from session_aware.mypy_plugin._annotations import Lookup, SessionType

__all__ = ["NAME", "Parameter", "aware_session", "make_optional", "optional_for_callers", "parameter", "restore"]

NAME: Final = "session"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter named ``session``, of whatever kind and type."""

    func: FuncItem
    index: int

    @property
    def argument(self) -> Argument:
        """The argument in the definition."""
        return self.func.arguments[self.index]

    @property
    def is_keyword_only(self) -> bool:
        """Whether callers must pass it by keyword."""
        return self.argument.kind.is_named()

    def session_type(self, lookup: Lookup) -> SessionType | None:
        """Return what its annotation says about a session; may raise ``NotReadyError``."""
        signature = self.func.type
        if not isinstance(signature, CallableType):
            return None
        return session_type(signature.arg_types[self.index], with_type_parameters(self.func, lookup))

    def is_of_another_library(self, lookup: Lookup) -> bool:
        """Say whether its annotation shows that it is not a session of SQLAlchemy; may raise ``NotReadyError``."""
        signature = self.func.type
        if not isinstance(signature, CallableType):
            return False
        return is_of_another_library(signature.arg_types[self.index], with_type_parameters(self.func, lookup))


def parameter(func: FuncItem) -> Parameter | None:
    """Find the parameter named ``session``, not ``*session`` or ``**session``; None if it was read from mypy's cache.

    The cache keeps signatures but no ``arguments``, and a definition in it has been checked before.
    """
    arguments: Sequence[Argument] = getattr(func, "arguments", ())
    for index, argument in enumerate(arguments):
        if argument.variable.name == NAME:
            return None if argument.kind.is_star() else Parameter(func, index)
    return None


def make_optional(found: Parameter) -> None:
    """Rewrite a required keyword-only parameter, so that every reader of the signature sees the same, also the cache."""
    if found.argument.kind is ARG_NAMED:
        _set_kind(found, ARG_NAMED_OPT)


def restore(func: FuncDef) -> None:
    """Undo ``make_optional``. dmypy analyses a tree twice, and the class may no longer be a service."""
    found = parameter(func)
    if found is not None and is_rewritten(found):
        _set_kind(found, ARG_NAMED)


def is_rewritten(found: Parameter) -> bool:
    """Say whether ``make_optional`` has rewritten it: no source makes a parameter optional without a default."""
    return found.argument.kind is ARG_NAMED_OPT and found.argument.initializer is None


def _set_kind(found: Parameter, kind: ArgKind) -> None:
    found.argument.kind = kind
    found.func.arg_kinds[found.index] = kind
    both = (found.func.type, found.func.unanalyzed_type)
    for signature in [typ for typ in both if isinstance(typ, CallableType)]:
        signature.arg_kinds[found.index] = kind


def optional_for_callers(typ: Type) -> Type:
    """Return the type of a decorated function with ``session`` optional. Other types are returned unchanged."""
    signature = get_proper_type(typ)
    if not isinstance(signature, CallableType) or NAME not in signature.arg_names:
        return typ
    index = signature.arg_names.index(NAME)
    found = session_type(signature.arg_types[index], unknown)
    if signature.arg_kinds[index] is not ARG_NAMED or found is None or found.is_optional:
        return typ
    kinds = list(signature.arg_kinds)
    kinds[index] = ARG_NAMED_OPT
    return signature.copy_modified(arg_kinds=kinds)  # pyrefly: ignore[bad-argument-type] - it takes mypy's Bogus for a class


def aware_session(typ: Type | None, *, allows_none: bool = False) -> SessionType | None:
    """Return the session that calls may leave out: keyword-only and optional, judged by the signature alone.

    All overloads must agree, because it is not known here which one a call takes.

    Args:
        typ: The type of what is called.
        allows_none: Whether it is known to be session-aware. If not, a session that may be None is somebody else's.
    """
    proper = get_proper_type(typ)
    if isinstance(proper, CallableType):
        return _aware(proper, allows_none=allows_none)
    if not isinstance(proper, Overloaded):
        return None
    found = [_aware(item, allows_none=allows_none) for item in proper.items]
    is_one = len({session.info if session else None for session in found}) == 1
    return found[0] if is_one else None


def _aware(signature: CallableType, *, allows_none: bool) -> SessionType | None:
    if NAME not in signature.arg_names:
        return None
    index = signature.arg_names.index(NAME)
    if signature.arg_kinds[index] is not ARG_NAMED_OPT:
        return None
    found = session_type(signature.arg_types[index], unknown)
    return None if found is None or (found.is_optional and not allows_none) else found
