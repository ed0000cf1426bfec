"""The plugin class, which maps mypy's hooks to the rules.

mypy asks for a hook for nearly every class and call that it checks, including those of the standard library and SQLAlchemy,
and for none in a run over a full cache. So foreign names are answered at once, and the first other name imports the rules.
"""

from __future__ import annotations

import hashlib
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from mypy.plugin import Plugin

from session_aware._version import __version__
from session_aware.mypy_plugin import _codes  # noqa: F401  # pyright: ignore[reportUnusedImport] - mypy reads soon which codes are switched off

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy.plugin import ClassDefContext, FunctionContext, MethodContext, ReportConfigContext
    from mypy.types import FunctionLike, Type

    from session_aware.mypy_plugin._calls import Call
    from session_aware.mypy_plugin._rules import Rules

__all__ = ["SessionAwarePlugin"]

C = TypeVar("C")
R = TypeVar("R")

_DECORATORS: Final = frozenset(
    {
        "session_aware._declare.function.AsyncSessionDecorator.__call__",
        "session_aware._declare.function.SessionDecorator.__call__",
        "session_aware._declare.function.auto_session_func",
    }
)
_FOREIGN: Final = ("builtins.", "typing.", "sqlalchemy.")  # most of the names that mypy asks for; none is session-aware


def _cache_key() -> str:
    """Return a key for the version and the source of the plugin: mypy checks again what it cached under another one."""
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


class SessionAwarePlugin(Plugin):
    """Says which rule applies to a full name. It keeps no state, so cache, daemon and parallel workers stay correct."""

    def report_config_data(self, ctx: ReportConfigContext) -> str:  # noqa: ARG002 - its name in Plugin
        """Return what mypy's cache depends on besides the sources."""
        return _CACHE_KEY

    def get_customize_class_mro_hook(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        """Undo the changes to a class that mypy analyses again, as only its daemon does."""
        if not self.options.fine_grained_incremental:
            return None
        return self._hook(lambda rules: rules.of_analysed_class(fullname), _unchanged)

    def get_base_class_hook(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        """Check the classes that derive from a service."""
        return None if fullname.startswith(_FOREIGN) else self._hook(lambda rules: rules.of_base(fullname), _unchanged)

    def get_function_hook(self, fullname: str) -> Callable[[FunctionContext | MethodContext], Type] | None:
        """Check the uses of the decorator."""
        return self._hook(lambda rules: rules.of_decorator, _default_type) if fullname in _DECORATORS else None

    get_method_hook = get_function_hook  # for what the decorator with options returns

    # Calls are checked where mypy asks for the signature. Where it asks for the result, it is trying overloads.

    def get_function_signature_hook(self, fullname: str) -> Callable[[Call], FunctionLike] | None:
        """Check the calls of session-aware functions and local names."""
        if fullname.startswith(_FOREIGN):
            return None
        return self._hook(lambda rules: rules.of_function(fullname), _default_signature)

    def get_method_signature_hook(self, fullname: str) -> Callable[[Call], FunctionLike] | None:
        """Check the calls of session-aware methods."""
        if fullname.startswith(_FOREIGN):
            return None
        return self._hook(lambda rules: rules.of_method(fullname), _default_signature)

    @cached_property
    def _rules(self) -> Rules:
        from session_aware.mypy_plugin._rules import Rules  # noqa: PLC0415 - a run over a full cache does not need it

        return Rules(self.lookup_fully_qualified)

    @property
    def _shows_errors(self) -> bool:
        """Whether the user asked for ``--show-traceback``, which the daemon sets by itself."""
        return self.options.show_traceback and not self.options.fine_grained_incremental

    def _hook(
        self, find: Callable[[Rules], Callable[[C], R] | None], otherwise: Callable[[C], R]
    ) -> Callable[[C], R] | None:
        """Ask the rules. If one fails, return no hook, because a plugin must not make mypy crash."""
        try:
            hook = find(self._rules)
        except Exception:
            if self._shows_errors:
                raise
            return None
        return None if hook is None else partial(self._call, hook, otherwise)

    def _call(self, hook: Callable[[C], R], otherwise: Callable[[C], R], ctx: C) -> R:
        try:
            return hook(ctx)
        except Exception:
            if self._shows_errors:
                raise
            return otherwise(ctx)
