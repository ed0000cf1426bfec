"""Read every use of a function whose ``session`` is to become keyword-only, and judge whether it is understood."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from session_aware._migrate.annotations import core
from session_aware._migrate.calls import Call
from session_aware._migrate.names import Imported, Variable, bindings, dotted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from session_aware._migrate.calls import Uses
    from session_aware._migrate.definitions import Class, Definition, Index
    from session_aware._migrate.names import Binding, Bindings, Function
    from session_aware._migrate.tree import Module

__all__ = ["look"]


def look(uses: Uses, index: Index, modules: Iterable[Module]) -> None:
    """Go through the modules that mention one of the names, and take down what is found."""
    if not uses.named:
        return
    mention = re.compile(rf"\b(?:{'|'.join(uses.named)})\b")
    for module in modules:
        if mention.search(module.text):
            _Reader(uses, index, module).visit(module.syntax)


class _Reader(ast.NodeVisitor):
    """Goes through one module with the scopes around each node at hand."""

    def __init__(self, uses: Uses, index: Index, module: Module) -> None:
        self.uses, self.index, self.module = uses, index, module
        self.scopes: list[Bindings] = []  # of functions, the innermost first
        self.classes: list[Class] = []
        self.functions: list[Function] = []
        self.selves: list[tuple[str, Class] | None] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Enter a class."""
        for one in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(one)
        self.classes.append(self.index.owners[node])
        for statement in node.body:
            self.visit(statement)
        self.classes.pop()

    def visit_FunctionDef(self, node: Function) -> None:
        """Enter a function."""
        for one in (*node.decorator_list, *ast.iter_child_nodes(node.args), *filter(None, [node.returns])):
            self.visit(one)
        arguments = [*node.args.posonlyargs, *node.args.args]
        owner = self.classes[-1] if self.classes and node in self.classes[-1].node.body else None
        is_static = any(dotted(one) == "staticmethod" for one in node.decorator_list)
        self.selves.append((arguments[0].arg, owner) if owner is not None and arguments and not is_static else None)
        self.functions.append(node)
        self.scopes.insert(0, bindings(self.module, node))
        for statement in node.body:
            self.visit(statement)
        self.scopes.pop(0)
        self.functions.pop()
        self.selves.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - named so by ast

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Enter a lambda."""
        self.visit(node.args)
        self.selves.append(None)
        self.scopes.insert(0, bindings(self.module, node))
        self.visit(node.body)
        self.scopes.pop(0)
        self.selves.pop()

    def visit_Call(self, node: ast.Call) -> None:
        """Judge a call, and its arguments by themselves."""
        if isinstance(node.func, ast.Name | ast.Attribute):
            self._use(node.func, node)
            if isinstance(node.func, ast.Attribute):
                self.visit(node.func.value)
        else:
            self.visit(node.func)
        for one in (*node.args, *node.keywords):
            self.visit(one)
        match node:
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
                self.uses.doubt(self.uses.named.get(name, ()), self.module, node, "takes it by getattr")
            case _:
                pass

    def visit_Name(self, node: ast.Name) -> None:
        """Judge a name that is not called."""
        self._use(node, None)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Judge an attribute that is not called."""
        self._use(node, None)
        self.visit(node.value)

    def _use(self, node: ast.Name | ast.Attribute, call: ast.Call | None) -> None:
        name = node.id if isinstance(node, ast.Name) else node.attr
        full = self._meaning(dotted(node))
        found = self.uses.wanted.get(full)
        if found is not None and _is_of_objects(found):
            self.uses.doubt([found], self.module, node, "names it through its class")
        elif found is not None:
            self._judge(found, node, call, is_bound=found.owner is not None and not found.is_static)
        elif not (named := self.uses.named.get(name)):
            return
        elif isinstance(node, ast.Name):
            if not full and any(isinstance(one, Imported) for one in self._bound(name)):
                self.uses.doubt(named, self.module, node, "may mean it or something else")
        elif not self.index.is_elsewhere(full):
            self._method(node, named, call)

    def _method(self, node: ast.Attribute, named: Sequence[Definition], call: ast.Call | None) -> None:
        """Judge an attribute with the name of a method by the class of its object."""
        cls, through = self._class_of(node.value)
        owners = [] if cls is None else [one for one in self.index.ancestors(cls) if one is not cls or through != "super"]
        found = self.index.method(owners, node.attr)
        if found is None:
            for one in named:
                self._unknown(one, node, call)
        elif found.full in self.uses.wanted and through == "class" and _is_of_objects(found):
            self.uses.doubt([found], self.module, node, "names it through its class")
        elif found.full in self.uses.wanted:
            self._judge(found, node, call, is_bound=not found.is_static)

    def _unknown(self, one: Definition, node: ast.Attribute, call: ast.Call | None) -> None:
        """Judge what may be a use of a definition, through an object of unknown class."""
        if one.owner is None:  # a function of a module that was put into a variable is all that it could be
            if call is not None and _looks_like_session(call.args[one.position or 0 :][:1]):
                self.uses.doubt([one], self.module, node, "calls it, or something of its name, through a variable")
            return
        is_bound = not one.is_static
        alike = len(self.index.by_name[node.attr])
        why = ""
        if call is None:
            why = "uses it, or something of its name, as a value"
        elif not _reaches(call, (one.position or 0) - is_bound):
            self.uses.called.add(one)
        elif alike > 1:
            why = f"calls it through an object of unknown class, and {alike} definitions have its name"
        elif not _looks_like_session(call.args[(one.position or 0) - is_bound :][:1]):
            why = "calls it through an object of unknown class, with what may be no session"
        else:
            self._judge(one, node, call, is_bound=is_bound)
        if why:
            self.uses.doubt([one], self.module, node, why)

    def _judge(self, found: Definition, node: ast.expr, call: ast.Call | None, *, is_bound: bool) -> None:
        """Take down a call that is certainly one of ``found``."""
        if call is None:
            self.uses.doubt([found], self.module, node, "uses it as a value, so its calls cannot be seen")
            return
        if found.node not in self.functions:
            self.uses.called.add(found)
        position = (found.position or 0) - is_bound
        if not _reaches(call, position):
            return
        if any(isinstance(one, ast.Starred) for one in call.args):
            self.uses.doubt([found], self.module, node, "passes *args")
        elif any(one.arg is None for one in call.keywords):
            self.uses.doubt([found], self.module, node, "passes 'session' positionally together with **kwargs")
        else:
            self.uses.calls[found].append(Call(self.module, self.module.end(call), position))

    def _class_of(self, node: ast.expr) -> tuple[Class | None, str]:
        """Find the class of an object, and through what its methods are reached: ``object``, ``class`` or ``super``."""
        match node:
            case ast.Name(id=name):
                return self._class_of_name(name)
            case ast.Call(func=ast.Name(id="super"), args=[]):
                return (self.classes[-1] if self.classes else None), "super"
            case ast.Call(func=func):
                return self.index.classes.get(self._meaning(dotted(func))), "object"
            case _:
                return self.index.classes.get(self._meaning(dotted(node))), "class"

    def _class_of_name(self, name: str) -> tuple[Class | None, str]:
        for own, scope in zip(reversed(self.selves), self.scopes, strict=True):
            if name in scope:
                if own is not None and own[0] == name:
                    return own[1], "object"
                return self._class_of_variable(self.module, scope[name], self.scopes), "object"
        full = self._meaning(name)
        if (cls := self.index.classes.get(full)) is not None:
            return cls, "class"
        module, bound = self.index.names.bound(full)
        return (self._class_of_variable(module, bound, ()) if module is not None else None), "object"

    def _class_of_variable(self, module: Module, bound: Sequence[Binding], scopes: Sequence[Bindings]) -> Class | None:
        match bound:
            case [Variable(annotation=ast.expr() as annotation)]:
                name = dotted(core(annotation)[0])
            case [Variable(value=ast.Call(func=func))]:
                name = dotted(func)
            case _:
                return None
        return self.index.classes.get(self.index.names.meaning(module, name, scopes)) if name else None

    def _bound(self, name: str) -> Sequence[Binding]:
        inside = next((scope[name] for scope in self.scopes if name in scope), None)
        return self.index.names.of(self.module).get(name, ()) if inside is None else inside

    def _meaning(self, name: str) -> str:
        return self.index.names.meaning(self.module, name, self.scopes) if name else ""


def _is_of_objects(definition: Definition) -> bool:
    """Tell a method that is called on objects."""
    return definition.owner is not None and not {"staticmethod", "classmethod"} & {*definition.decorators}


def _reaches(call: ast.Call, position: int) -> bool:
    """Say whether a positional argument may stand in the place of the session."""
    return len(call.args) > position or any(isinstance(one, ast.Starred) for one in call.args)


def _looks_like_session(argument: Sequence[ast.expr]) -> bool:
    """Say whether an argument is called ``session``, or something that ends so."""
    return bool(argument) and dotted(argument[0]).rpartition(".")[2].lower().endswith("session")
