"""The plugin class: which of mypy's hooks leads where. Each asks the tree, and answers None for what is not ours."""

from __future__ import annotations

import hashlib
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeAlias, TypeVar

from mypy.nodes import TypeAlias as Alias
from mypy.nodes import TypeInfo
from mypy.plugin import Plugin
from mypy.types import Instance, get_proper_type

from session_aware._version import __version__
from session_aware.mypy_plugin._calls import aware_symbol, check_call, check_local_call
from session_aware.mypy_plugin._decorated import visit_decorated
from session_aware.mypy_plugin._services import is_rewritten_class, is_service, restore_class, visit_service

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy.nodes import SymbolNode
    from mypy.plugin import ClassDefContext, FunctionContext, MethodContext, ReportConfigContext
    from mypy.types import FunctionLike, Type

    from session_aware.mypy_plugin._calls import Call

__all__ = ["SessionAwarePlugin"]

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")

_Find: TypeAlias = "Callable[Concatenate[SessionAwarePlugin, P], Callable[[C], R] | None]"

_DECORATOR: Final = "session_aware._function.auto_session_func"
_DECORATORS_WITH_OPTIONS: Final = frozenset(
    {
        "session_aware._function.AsyncSessionDecorator.__call__",
        "session_aware._function.SessionDecorator.__call__",
    }
)


def _cache_key() -> str:
    """Name this version of the plugin, and its very source: what mypy cached under another one is checked anew."""
    digest = hashlib.blake2b(digest_size=8)
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return f"session-aware {__version__} {digest.hexdigest()}"


_CACHE_KEY: Final = _cache_key()


def _unchanged(_ctx: ClassDefContext) -> None:
    """Leave a class as it is."""


def _default_type(ctx: FunctionContext | MethodContext) -> Type:
    return ctx.default_return_type


def _default_signature(ctx: Call) -> FunctionLike:
    return ctx.default_signature


def _abstains(otherwise: Callable[[C], R]) -> Callable[[_Find[P, C, R]], _Find[P, C, R]]:
    """Let an error in a rule mean "not ours": a plugin must not take mypy down. ``mypy --show-traceback`` shows it."""

    def decorate(find: _Find[P, C, R]) -> _Find[P, C, R]:
        @wraps(find)
        def found(self: SessionAwarePlugin, /, *args: P.args, **kwargs: P.kwargs) -> Callable[[C], R] | None:
            try:
                hook = find(self, *args, **kwargs)
            except Exception:
                if self.options.show_traceback:
                    raise
                return None
            return None if hook is None else partial(calmly, self, hook)

        return found

    def calmly(self: SessionAwarePlugin, hook: Callable[[C], R], ctx: C) -> R:
        try:
            return hook(ctx)
        except Exception:
            if self.options.show_traceback:
                raise
            return otherwise(ctx)

    return decorate


class SessionAwarePlugin(Plugin):
    """Says for a full name which rule applies. It keeps nothing, so cache, daemon and parallel workers stay right."""

    def report_config_data(self, ctx: ReportConfigContext) -> str:  # noqa: ARG002 - its name in Plugin
        """Return what mypy's cache depends on besides the sources."""
        return _CACHE_KEY

    @_abstains(_unchanged)
    def get_customize_class_mro_hook(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        """Undo the rewriting of a class that mypy analyses again."""
        node = self._node(fullname)
        return restore_class if isinstance(node, TypeInfo) and is_rewritten_class(node) else None

    @_abstains(_unchanged)
    def get_base_class_hook(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        """Look at the classes that derive from a service."""
        node = self._node(fullname)
        if isinstance(node, Alias):
            target = get_proper_type(node.target)
            node = target.type if isinstance(target, Instance) else None
        return visit_service if isinstance(node, TypeInfo) and is_service(node) else None

    @_abstains(_default_type)
    def get_function_hook(self, fullname: str) -> Callable[[FunctionContext | MethodContext], Type] | None:
        """Look at the uses of the decorator."""
        return visit_decorated if fullname == _DECORATOR else None

    @_abstains(_default_type)
    def get_method_hook(self, fullname: str) -> Callable[[FunctionContext | MethodContext], Type] | None:
        """Look at the uses of the decorator with options."""
        return visit_decorated if fullname in _DECORATORS_WITH_OPTIONS else None

    # Calls are looked at where mypy asks for the signature. Where it asks for the result it is trying overloads.

    @_abstains(_default_signature)
    def get_function_signature_hook(self, fullname: str) -> Callable[[Call], FunctionLike] | None:
        """Look at the calls of session-aware functions and local names."""
        return self._call(self._node(fullname), fullname) if "." in fullname else check_local_call

    @_abstains(_default_signature)
    def get_method_signature_hook(self, fullname: str) -> Callable[[Call], FunctionLike] | None:
        """Look at the calls of session-aware methods."""
        owner, _, name = fullname.rpartition(".")
        info = self._node(owner)
        symbol = info.get(name) if isinstance(info, TypeInfo) else None
        return None if symbol is None else self._call(symbol.node, fullname)

    def _call(self, node: SymbolNode | None, fullname: str) -> Callable[[Call], FunctionLike] | None:
        wanted = aware_symbol(node)
        return None if wanted is None else partial(check_call, callee=".".join(fullname.split(".")[-2:]), wanted=wanted)

    def _node(self, fullname: str) -> SymbolNode | None:
        symbol = self.lookup_fully_qualified(fullname)
        return None if symbol is None else symbol.node
