"""The table of what threads share, in the manual's page on the inside, is complete and names what there is."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import session_aware

PACKAGE = Path(session_aware.__file__).parent
PAGE = (PACKAGE / "manual" / "inside.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(_[a-z]+\.[a-z_]+\.[A-Za-z_]+)", PAGE.partition("## Tasks")[0]))
MODULES = {
    f"{file.parent.name}.{file.stem}": ast.parse(file.read_text(encoding="utf-8"))
    for file in PACKAGE.glob("_*/*.py")
    if file.parent.name != "_tools"  # which are for one thread
}
TABLES = {
    "_call.factory.SOUGHT",
    "_database.listeners._NAMES",
    "_declare.annotation._AS_TEXT",
    "_declare.signature._KINDS",
    "_unit.async_runners.RETRYING",
    "_unit.async_runners.RUNNERS",
    "_unit.runners.RETRYING",
    "_unit.runners.RUNNERS",
    "_unit.runners.UNITS",
}
"""Written when their module is imported, and never again."""


def is_mutable(value: ast.expr | None) -> bool:
    """Say whether an expression makes a container that can be changed, or something that is made for sharing."""
    if isinstance(value, ast.Call):
        name = ast.unparse(value.func).rpartition(".")[2]
        return name in {"dict", "list", "set", "deque", "defaultdict", "WeakSet", "WeakKeyDictionary", "ContextVar", "count"}
    return isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp)


def shared() -> set[str]:
    """Find the variables of modules that are changed in place, or replaced by a function."""
    found = set()
    for module, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and is_mutable(node.value):
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                found.add(f"{module}.{ast.unparse(target)}")
        for inner in ast.walk(tree):
            if isinstance(inner, ast.Global):
                found |= {f"{module}.{name}" for name in inner.names}
            elif isinstance(inner, ast.FunctionDef) and any("cache" in ast.unparse(one) for one in inner.decorator_list):
                found.add(f"{module}.{inner.name}")
    return {name for name in found if not name.endswith(".__all__")}


def test_page_names_all_that_modules_share() -> None:
    assert shared() - TABLES == {name for name in NAMED if name.rpartition(".")[0] in MODULES}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_what_the_page_names_exists(name: str) -> None:
    module, _, variable = name.rpartition(".")
    assert hasattr(import_module(f"session_aware.{module}"), variable)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_tables_of_constants_are_only_read(name: str) -> None:
    module, _, variable = name.rpartition(".")
    changing = re.compile(
        rf"\b{variable}(\[[^\]]*\] *=[^=]|\.(append|add|update|pop|clear|setdefault|extend|remove|discard)\()"
    )
    functions = [node for node in ast.walk(MODULES[module]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [function.name for function in functions if changing.search(ast.unparse(function))] == []
