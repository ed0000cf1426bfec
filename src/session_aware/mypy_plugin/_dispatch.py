"""The plugin class, which maps mypy's hooks to the rules.

mypy asks for a hook for nearly every class and call that it checks, including those of the standard library and SQLAlchemy,
and for none in a run over a full cache. So foreign names are answered at once, and the first other name imports the rules.
"""

from __future__ import annotations

import hashlib
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from mypy.checker import TypeChecker
from mypy.nodes import Context
from mypy.plugin import ClassDefContext, Plugin
from mypy.semanal import SemanticAnalyzer
from mypy.version import __version__ as mypy_version

from session_aware._version import __version__
from session_aware.mypy_plugin import _codes  # at once: mypy reads soon which codes are switched off
from session_aware.mypy_plugin._names import MAPPING, MARK

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy.plugin import (
        FunctionContext,
        FunctionSigContext,
        MethodContext,
        MethodSigContext,
        ReportConfigContext,
    )
    from mypy.types import FunctionLike, Type

    from session_aware.mypy_plugin._rules import Rules

    Call = FunctionSigContext | MethodSigContext

__all__ = ["SessionAwarePlugin"]

C = TypeVar("C")
R = TypeVar("R")

_DECORATORS: Final = frozenset(
    {
        "session_aware._declare.function.AsyncSessionDecorator.__call__",
        "session_aware._declare.function.SessionDecorator.__call__",
        MARK,
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
    """Says which rule applies to a full name. What is found out is kept in the tree, so cache and daemon stay correct."""

    _has_failed = False

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
        """Check the uses of the decorator, and the calls for which mypy knows no full name but ``open of Accounts``."""
        if fullname in _DECORATORS:
            return self._hook(lambda rules: rules.of_decorator, _default_type)
        return self._hook(lambda rules: rules.of_nameless_call, _default_type) if " of " in fullname else None

    get_method_hook = get_function_hook  # for what the decorator with options returns

    # Other calls are checked where mypy asks for the signature, once for a call and not for each variant of an overload.

    def get_function_signature_hook(self, fullname: str) -> Callable[[Call], FunctionLike] | None:
        """Check the calls of session-aware functions and local names."""
        if fullname.startswith(_FOREIGN) and fullname not in MAPPING:
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
        """Ask the rules. If one fails, say so and do as without the plugin, because a plugin must not make mypy crash."""
        try:
            hook = find(self._rules)
        except Exception as error:
            if self._shows_errors:
                raise
            return partial(self._failed, error, otherwise)
        return None if hook is None else partial(self._call, hook, otherwise)

    def _call(self, hook: Callable[[C], R], otherwise: Callable[[C], R], ctx: C) -> R:
        try:
            return hook(ctx)
        except Exception as error:
            if self._shows_errors:
                raise
            return self._failed(error, otherwise, ctx)

    def _failed(self, error: Exception, otherwise: Callable[[C], R], ctx: C) -> R:
        """Report an error of a rule, once: otherwise a mypy that the plugin does not know would switch it off unnoticed."""
        where = ctx.cls if isinstance(ctx, ClassDefContext) else getattr(ctx, "context", None)
        api = getattr(ctx, "api", None)
        if not self._has_failed and isinstance(api, TypeChecker | SemanticAnalyzer) and isinstance(where, Context):
            self._has_failed = True
            said = (
                f"session_aware.mypy_plugin {__version__} failed here under mypy {mypy_version}, and may not find "
                f"everything ({type(error).__name__}: {error}). Please report this to its maintainers, with what "
                '"mypy --show-traceback" prints'
            )
            try:
                with _codes.unfiltered(api.errors):
                    api.note(said, where, code=_codes.SESSION_AWARE)
            except AttributeError:  # which is then the error of the rule, too
                api.note(said, where, code=_codes.SESSION_AWARE)
        return otherwise(ctx)
