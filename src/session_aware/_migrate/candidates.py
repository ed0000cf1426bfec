"""Which functions can be rewritten as far as they themselves tell; who calls them is asked later."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from session_aware._migrate.annotations import is_async, kind, missing, without_none
from session_aware._migrate.dance import recognise
from session_aware._migrate.definitions import SESSION, decorator_name
from session_aware._migrate.names import bindings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from session_aware._migrate.dance import Dance
    from session_aware._migrate.definitions import Definition, Index
    from session_aware._migrate.tree import Refusal

__all__ = ["DECORATORS", "Candidate", "consider", "old_decorators"]

AUTO: Final = "auto_session_func"
DECORATORS: Final = {
    "provide_session": AUTO,
    "read_session": f"{AUTO}(read_only=True)",
    "stream_session": f"{AUTO}(read_only=True)",
    "transactional_session": AUTO,
}

# Decorators that call nothing themselves and leave a function's parameters alone.
_TRANSPARENT: Final = frozenset(
    {
        "abstractmethod",
        "asynccontextmanager",
        "classmethod",
        "contextmanager",
        "deprecated",
        "final",
        "override",
        "staticmethod",
    }
)
_OWNERS_CALLS: Final = frozenset({"begin", "close", "commit", "rollback"})
_CONSTRUCTORS: Final = frozenset({"__init__", "__init_subclass__", "__new__", "__post_init__"})


@dataclass(frozen=True, eq=False)
class Candidate:
    """What becomes of a definition.

    Attributes:
        decorator: The code of the decorator that it gets.
        replaces: The place of the one that it replaces; None where it is added.
        annotation: The new annotation of ``session``; empty if it keeps its own.
        annotation_module: Where that is to be imported from; empty if it is there.
        dance: What goes from the body.
    """

    definition: Definition
    decorator: str = AUTO
    replaces: int | None = None
    annotation: str = ""
    annotation_module: str = ""
    dance: Dance | None = None

    @property
    def is_required(self) -> bool:
        """Tell a function that always was passed a session."""
        return self.replaces is None and self.definition.default is None


def old_decorators(definition: Definition, index: Index, own: Sequence[str]) -> list[tuple[int, str]]:
    """Find the decorators that inject a session: their places, and what takes it."""
    known = dict.fromkeys(map(index.names.canonical, own), AUTO)
    found = []
    for place, decorator in enumerate(definition.node.decorator_list):
        name = decorator_name(decorator)
        full = index.names.meaning(definition.module, name)
        new = known.get(full, "" if full.startswith("session_aware.") else DECORATORS.get(name.rpartition(".")[2], ""))
        if new:
            found.append((place, new))
    return found


def consider(definition: Definition, index: Index, own: Sequence[str]) -> Candidate | Refusal | None:
    """Judge a definition by itself; None for one that has nothing to do with it, or is migrated."""
    if definition.parameter is None:
        return None
    old = old_decorators(definition, index, own)
    dance = None if old else recognise(definition.node)
    if not old and not _takes_session(definition, index, has_dance=dance is not None):
        return None
    body = list(dance.kept(definition.node)) if dance is not None else definition.node.body
    for refusal in (
        _shape(definition, index, is_decorated=bool(old)),
        _decorators(definition, index, old),
        _dance(definition, dance) if dance is not None else _no_dance(definition, is_decorated=bool(old)),
        _body(body),
    ):
        if refusal is not None:
            return definition.refusal(*refusal)
    replaces, decorator = old[0] if old else (None, AUTO)
    annotation = definition.parameter.annotation
    if annotation is not None:
        return Candidate(definition, decorator, replaces, without_none(annotation), dance=dance)
    if (added := missing(definition, index.names)) is None:
        name = "AsyncSession" if is_async(definition) else "Session"
        return definition.refusal("a name is taken", f"'{name}' means something else in this module; annotate 'session'")
    return Candidate(definition, decorator, replaces, added[0], added[1], dance)


def _takes_session(definition: Definition, index: Index, *, has_dance: bool) -> bool:
    """Tell a function that takes a SQLAlchemy session and may or must be called without one, or passes it positionally."""
    default, name = definition.default, definition.node.name
    if name in _CONSTRUCTORS or name.startswith("test"):  # what a test takes comes from pytest's fixtures, by name
        return False
    if any(index.names.meaning(definition.module, one) == f"session_aware.{AUTO}" for one in definition.decorators):
        return False
    if _is_optional(definition, index):
        return bool(kind(definition, index)) or (_is_unannotated(definition) and has_dance)
    return default is None and definition.position is not None and bool(kind(definition, index))


def _is_optional(definition: Definition, index: Index) -> bool:
    match definition.default:
        case ast.Constant(value=None):
            return True
        case ast.Name(id="NEW_SESSION"):
            return index.names.meaning(definition.module, "NEW_SESSION") != "session_aware.NEW_SESSION"
        case _:
            return False


def _is_unannotated(definition: Definition) -> bool:
    return definition.parameter is not None and definition.parameter.annotation is None


def _shape(definition: Definition, index: Index, *, is_decorated: bool) -> tuple[str, str] | None:
    node, moves = definition.node, definition.position is not None
    if definition.is_nested and (moves or not is_decorated):
        return "it is defined inside a function", "move it out, or rewrite it by hand"
    if len(same := index.by_full[definition.full]) > 1:
        return "it is defined more than once", ", ".join(f"line {one.node.lineno}" for one in same)
    if moves and node.name.startswith("__") and node.name.endswith("__"):
        return "it is a special method", "Python calls it, with positional arguments"
    if moves and any(one.arg == SESSION for one in node.args.posonlyargs):
        return "its 'session' is positional-only", "callers may name theirs differently; rewrite it by hand"
    if moves and node.args.vararg is not None:
        return "it takes *args", "without 'session' in front of them its calls would mean something else"
    wanted = "AsyncSession" if is_async(definition) else "Session"
    if (found := kind(definition, index)) not in ("", wanted):
        written = "async def" if is_async(definition) else "def"
        return "its session is of the other kind", f"'{written}' is given {wanted}, not {found}"
    return None


def _decorators(definition: Definition, index: Index, old: Sequence[tuple[int, str]]) -> tuple[str, str] | None:
    listed = definition.node.decorator_list
    if len(old) > 1:
        return "several of its decorators give it a session", ", ".join(definition.decorators)
    for place, _ in old:
        name = decorator_name(listed[place])
        if isinstance(call := listed[place], ast.Call) and (call.args or call.keywords):
            return "its decorator has options", f"'@{ast.unparse(call)}'; say as options of @{AUTO} what they mean"
        known = index.by_full.get(index.names.meaning(definition.module, name), ())
        if known and not any(_says_session(one.node) for one in known):
            return "its decorator does not pass 'session' by name", f"'@{name}' at {known[0].place}"
    if old and definition.position is None:
        return None
    places = {place for place, _ in old}
    others = [one for place, one in enumerate(definition.decorators) if place not in places]
    unknown = [name for name in others if name.rpartition(".")[2] not in _TRANSPARENT]
    if unknown:
        return "another decorator may call it", f"what '@{unknown[0] or '...'}' passes to it is not known"
    return None


def _says_session(node: ast.AST) -> bool:
    """Say whether code passes or sets an argument by the name ``session``."""
    return any(
        (isinstance(one, ast.keyword) and one.arg == SESSION) or (isinstance(one, ast.Constant) and one.value == SESSION)
        for one in ast.walk(node)
    )


def _no_dance(definition: Definition, *, is_decorated: bool) -> tuple[str, str] | None:
    if is_decorated:
        return None
    if definition.default is not None:
        return "it opens no session in a known way", "'session' may be None, and what it does then is for you to say"
    if all(_is_nothing(one) for one in definition.node.body):
        return "it has no body", "what implements it may take 'session' positionally"
    return None


def _is_nothing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Raise() | ast.Expr(value=ast.Constant()):
            return True
        case _:
            return False


def _dance(definition: Definition, dance: Dance) -> tuple[str, str] | None:
    local = bindings(definition.module, definition.node)
    used = [node.id for node in ast.walk(dance.factory) if isinstance(node, ast.Name) and node.id in local]
    if used:
        return "it opens its session from something of its own", f"'{used[0]}' is not known outside of it"
    lines = sorted(set(dance.gone(definition.node)) & definition.module.comments)
    if lines:
        return "a comment stands in code that would go", f"line {lines[0]}"
    return None


def _body(body: Sequence[ast.stmt]) -> tuple[str, str] | None:
    for node in (one for statement in body for one in ast.walk(statement)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="session"), attr=name)) if name in _OWNERS_CALLS:
                return (
                    "it ends or begins the transaction",
                    f"line {node.lineno} calls session.{name}(), which is the owner's",
                )
            case ast.Name(id="session", ctx=ast.Store() | ast.Del()):
                return "it binds 'session' anew", f"line {node.lineno}"
            case ast.Return(value=ast.GeneratorExp()):
                return (
                    "it returns a generator expression",
                    f"line {node.lineno} is read after the session is closed; return a list",
                )
            case _:
                pass
    return None
