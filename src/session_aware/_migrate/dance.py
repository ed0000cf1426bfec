"""The shapes of ``if session is None`` that are known; each is recognised as a whole or not at all."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from session_aware._migrate.names import dotted, parameters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from session_aware._migrate.names import Function

__all__ = ["Dance", "recognise"]

_NONE: Final = frozenset({"session is None", "not session"})
_GIVEN: Final = frozenset({"session is not None", "session"})
_EVERYTHING: Final = frozenset({"", "BaseException", "Exception"})


@dataclass(frozen=True, slots=True, eq=False)
class Dance:
    """What goes from the body of a function, by the places of statements in it.

    Attributes:
        factory: What made the session.
        drop: The statements that go.
        unwrap: The statement of which a block takes its place; None if there is none.
        branch: That block: ``body`` or ``orelse``.
        skip: The statements of that block that go.
    """

    factory: ast.expr
    drop: frozenset[int] = frozenset()
    unwrap: int | None = None
    branch: str = "body"
    skip: frozenset[int] = frozenset()

    def inner(self, function: Function) -> Sequence[ast.stmt]:
        """Return the block that takes the place of its statement."""
        block: Sequence[ast.stmt] = getattr(function.body[self.unwrap], self.branch) if self.unwrap is not None else ()
        return block

    def kept(self, function: Function) -> Iterator[ast.stmt]:
        """Yield the statements that stay."""
        for position, statement in enumerate(function.body):
            if position == self.unwrap:
                yield from (one for place, one in enumerate(self.inner(function)) if place not in self.skip)
            elif position not in self.drop:
                yield statement

    def gone(self, function: Function) -> Iterator[int]:
        """Yield the numbers of the lines that go."""
        inner = self.inner(function)
        for statement in (*(function.body[place] for place in self.drop), *(inner[place] for place in self.skip)):
            yield from range(statement.lineno, _last(statement) + 1)
        if self.unwrap is not None:
            around = function.body[self.unwrap]
            yield from range(around.lineno, inner[0].lineno if self.branch == "orelse" else _header(around) + 1)
            yield from range(_last(inner[-1]) + 1, _last(around) + 1)


def _header(statement: ast.stmt) -> int:
    """Return the last line of what stands in front of a block."""
    items = statement.items if isinstance(statement, ast.With | ast.AsyncWith) else ()
    return max((_last(one.optional_vars or one.context_expr) for one in items), default=statement.lineno)


def _last(node: ast.stmt | ast.expr) -> int:
    return node.end_lineno or node.lineno


def recognise(function: Function) -> Dance | None:
    """Return the dance of a function, or None where it is none or of an unknown shape."""
    if len({one.lineno for one in function.body}) < len(function.body):  # several statements in one line
        return None
    for position, statement in enumerate(function.body):
        dance = (
            _calls_itself(function, position, statement)
            or _twins(position, statement)
            or _either(position, statement)
            or _flagged(function.body, position)
        )
        if dance is not None:
            inner = dance.inner(function)
            return dance if len({one.lineno for one in inner}) == len(inner) else None
    return None


def _calls_itself(function: Function, position: int, statement: ast.stmt) -> Dance | None:
    """Know ``if session is None: with Session() as session: return rename(number, name, session)``."""
    before = function.body[:position]
    if len(before) > (ast.get_docstring(function) is not None):
        return None
    match statement:
        case ast.If(test=test, body=[ast.With() | ast.AsyncWith() as block], orelse=[]) if _code(test) in _NONE:
            factory = _opened(block.items)
            inner = [one for one in block.body if _code(one) != "session.commit()"]
        case _:
            return None
    match inner:
        case [ast.Return(value=value)]:
            call = value
        case [ast.Assign(targets=[target], value=value), ast.Return(value=ast.Name() as name)] if _code(target) == name.id:
            call = value
        case _:
            return None
    if factory is None or not _passes_all_on(function, call.value if isinstance(call, ast.Await) else call):
        return None
    return Dance(factory, drop=frozenset({position}))


def _passes_all_on(function: Function, call: ast.expr | None) -> bool:
    """Say whether a function calls itself with just its own parameters."""
    arguments = function.args
    if not isinstance(call, ast.Call) or arguments.vararg or arguments.kwarg:
        return False
    names = [parameter.arg for parameter in parameters(arguments)]
    owner, _, called = dotted(call.func).rpartition(".")
    if owner and owner == names[0]:
        names = names[1:]
    elif owner:
        return False
    given = dict(zip(names, call.args, strict=False)) | {one.arg or "": one.value for one in call.keywords}
    return called == function.name and {name: name for name in names} == {name: dotted(one) for name, one in given.items()}


def _twins(position: int, statement: ast.stmt) -> Dance | None:
    """Know ``if session is None: with Session() as session: BODY`` with ``else: BODY``."""
    match statement:
        case ast.If(test=test, body=[ast.With() | ast.AsyncWith() as block], orelse=[_, *_] as twin) if _code(test) in _NONE:
            factory = _opened(block.items)
            first = [_code(one) for one in block.body if _code(one) != "session.commit()"]
            are_alike = first == [_code(one) for one in twin]
            return Dance(factory, unwrap=position, branch="orelse") if factory is not None and are_alike else None
        case _:
            return None


def _either(position: int, statement: ast.stmt) -> Dance | None:
    """Know ``with nullcontext(session) if session else Session() as session``."""
    items = statement.items if isinstance(statement, ast.With | ast.AsyncWith) else []
    match items:
        case [ast.withitem(ast.IfExp(test, first, second), ast.Name(id="session"))] if _code(test) in _NONE | _GIVEN:
            given, new = (first, second) if _code(test) in _GIVEN else (second, first)
            factory = _made(new)
            is_passed = _code(given).removeprefix("contextlib.") == "nullcontext(session)"
            return Dance(factory, unwrap=position) if is_passed and factory is not None else None
        case _:
            return None


def _flagged(body: Sequence[ast.stmt], position: int) -> Dance | None:
    """Know the dance that remembers in a flag whether the session is its own, in front of a ``try``."""
    opening, rest = body[position : position + 2], body[position + 2 :]
    match opening:
        case [ast.Assign(targets=[ast.Name(id=own)], value=flag), second]:
            factory = _opened_by(own, _code(flag), second)
        case _:
            return None
    match rest:
        case [ast.Try() as block, *after] if factory is not None and _ends(block, own):
            pass
        case _:
            return None
    commit = f"if {own}:\n    session.commit()"
    skip = frozenset(place for place, one in enumerate(block.body) if _code(one) == commit)
    kept = [one for place, one in enumerate(block.body) if place not in skip]
    if any(isinstance(node, ast.Name) and node.id == own for one in (*kept, *after) for node in ast.walk(one)):
        return None
    if _commits_early(block, skip) or ([_code(one) for one in block.orelse] not in ([], [commit])):
        return None
    return Dance(factory, frozenset({position, position + 1}), position + 2, skip=skip)


def _opened_by(own: str, flag: str, statement: ast.stmt) -> ast.expr | None:
    """Return what makes the session after ``own = session is None``, or together with ``own = True``."""
    match statement:
        case ast.Assign(targets=[ast.Name(id="session")], value=ast.IfExp(test, new, ast.Name(id="session"))):
            return _made(new) if flag == "session is None" and _code(test) in {*_NONE, own} else None
        case ast.Assign(targets=[ast.Name(id="session")], value=ast.BoolOp(ast.Or(), [ast.Name(id="session"), new])):
            return _made(new) if flag == "session is None" else None
        case ast.If(test=test, body=body, orelse=[]) if _code(test) in {*_NONE, own}:
            made = [one.value for one in body if isinstance(one, ast.Assign) and _code(one).startswith("session = ")]
            others = [_code(one) for one in body if not _code(one).startswith("session = ")]
            known = (flag, others) in (("session is None", []), ("False", [f"{own} = True"]))
            return _made(made[0]) if known and len(made) == 1 else None
        case _:
            return None


def _ends(block: ast.Try, own: str) -> bool:
    """Say whether a ``try`` rolls back and closes an own session, and nothing else."""
    ends = [_code(one) for one in block.finalbody] == [f"if {own}:\n    session.close()"]
    undo = [f"if {own}:\n    session.rollback()", "raise"]
    return ends and all(
        _code(handler.type) in _EVERYTHING and [_code(one) for one in handler.body] == undo for handler in block.handlers
    )


def _commits_early(block: ast.Try, commits: frozenset[int]) -> bool:
    """Say whether something other than a ``return`` comes after the commit, or returns before it."""
    if not commits:
        return bool(block.orelse) and _returns(block.body)
    [*first] = block.body[: min(commits)]
    after = block.body[min(commits) + 1 :]
    return len(commits) > 1 or _returns(first) or not all(isinstance(one, ast.Return) for one in after)


def _returns(statements: Sequence[ast.stmt]) -> bool:
    return any(isinstance(node, ast.Return) for one in statements for node in ast.walk(one))


def _opened(items: Sequence[ast.withitem]) -> ast.expr | None:
    """Return what makes the session of a ``with`` statement."""
    match items:
        case [ast.withitem(new, ast.Name(id="session")), *rest] if [_code(one) for one in rest] in ([], ["session.begin()"]):
            return _made(new)
        case _:
            return None


def _made(new: ast.expr) -> ast.expr | None:
    """Return ``Session`` of ``Session()`` and ``Session.begin()``, and ``Session(engine)`` as it is."""
    match new:
        case ast.Call(func=ast.Attribute(value=factory, attr="begin"), args=[], keywords=[]) if dotted(factory):
            return factory
        case ast.Call(func=factory, args=[], keywords=[]) if dotted(factory):
            return factory
        case ast.Call(func=factory) if dotted(factory):
            return new
        case _:
            return None


def _code(node: ast.AST | None) -> str:
    """Write code in one form, a coroutine's like a function's."""
    return ast.unparse(node).replace("await ", "") if node is not None else ""
