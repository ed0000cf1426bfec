"""The page about the API says of every public name what the code says: parameters, defaults, fields, values and bases.

The stubs on the page are run, and what they make is compared with what the package has.
"""

from __future__ import annotations
import __future__

import argparse
import ast
import contextlib
import dataclasses
import enum
import inspect
import re
import tomllib
import typing
from pathlib import Path
from types import FunctionType
from typing import Any, Final

import pytest

import session_aware
from session_aware import pytest_plugin
from session_aware.__main__ import COMMANDS
from session_aware._call import options, sentinel
from session_aware._database import outcome

PACKAGE: Final = Path(session_aware.__file__).parent
PAGE: Final = (PACKAGE / "manual" / "api.md").read_text(encoding="utf-8")
STUBS: Final = "\n".join(re.findall(r"^```py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

# The last two are private, and signatures name what they have.
MODULES: Final = (session_aware, pytest_plugin, options, outcome)

# All that runs in a stub: bases, decorators and defaults. Annotations stay texts.
NAMES: Final[dict[str, Any]] = {
    **{name: getattr(session_aware, name) for name in session_aware.__all__},
    "Enum": enum.Enum,
    "Literal": typing.Literal,
    "TypedDict": typing.TypedDict,
    "asynccontextmanager": contextlib.asynccontextmanager,
    "contextmanager": contextlib.contextmanager,
    "dataclass": dataclasses.dataclass,
}


def written() -> dict[str, list[Any]]:
    """Return what the stubs make, by name: one object, or several where a function has several signatures."""
    made: dict[str, list[Any]] = {}
    classes: dict[str, Any] = {}
    for statement in ast.parse(STUBS).body:
        if isinstance(statement, ast.AnnAssign):
            made[ast.unparse(statement.target)] = [ast.unparse(statement.annotation)]
            continue
        scope: dict[str, Any] = {}
        flag = __future__.annotations.compiler_flag
        code = compile(ast.Module([statement], []), "<api.md>", "exec", flags=flag, dont_inherit=True)
        exec(code, {**NAMES, **classes, "__name__": "session_aware"}, scope)  # noqa: S102 - the page is ours
        [(name, value)] = scope.items()
        made.setdefault(name, []).append(value)
        if isinstance(value, type):
            classes[name] = value  # of which others on the page derive
    return made


WRITTEN: Final = written()


def overloads_of(function: FunctionType) -> list[inspect.Signature]:
    """Return the overloads of a function, which typing knows under the module in which it stands."""
    twin = FunctionType(function.__code__, function.__globals__, function.__name__)
    return [inspect.signature(one) for one in typing.get_overloads(twin)]


def keys(cls: Any) -> dict[str, object]:
    """Return the keys of a typed dictionary with the texts of their annotations."""
    return {key: getattr(value, "__forward_arg__", value) for key, value in inspect.get_annotations(cls).items()}


def facts(value: Any) -> object:
    """Return what a reader is told of a class, a function or an alias."""
    if isinstance(value, FunctionType):
        return inspect.signature(value)
    if not isinstance(value, type):
        return typing.get_args(value)
    if typing.is_typeddict(value):
        return keys(value), vars(value)["__total__"]
    if issubclass(value, enum.Enum):
        return [(member.name, member.value) for member in value]
    if dataclasses.is_dataclass(value):
        fields = [(field.name, field.type, field.default, field.kw_only) for field in dataclasses.fields(value)]
        return fields, vars(value)["__dataclass_params__"].frozen, "__slots__" in vars(value)
    if issubclass(value, BaseException):
        return [base.__name__ for base in value.__bases__]
    return inspect.signature(value.__init_subclass__)


def exported(name: str) -> Any:
    """Return what has this name in the package."""
    for module in MODULES:
        if hasattr(module, name):
            return getattr(module, name)
    pytest.fail(f"there is no {name}")


@pytest.mark.parametrize("name", session_aware.__all__)
def test_public_name_is_on_the_page(name: str) -> None:
    assert name in WRITTEN


def test_options_that_signatures_unpack_are_on_the_page() -> None:
    unpacked = set(re.findall(r"Unpack\[(\w+)\]", STUBS))
    assert unpacked
    assert unpacked <= WRITTEN.keys()


@pytest.mark.parametrize("name", WRITTEN)
def test_name_on_the_page_is_what_the_page_says(name: str) -> None:
    found, stubs = exported(name), WRITTEN[name]
    if name == "NEW_SESSION":
        assert stubs == [inspect.get_annotations(sentinel)[name]]
    elif len(stubs) > 1:
        assert list(map(facts, stubs)) == overloads_of(found)
    else:
        assert facts(stubs[0]) == facts(found)


@pytest.mark.parametrize("name", pytest_plugin.__all__)
def test_name_of_the_pytest_plugin_is_on_the_page(name: str) -> None:
    assert name in WRITTEN or f"`{name}`" in PAGE


def test_commands_and_their_options_are_those_of_the_program() -> None:
    rows = dict(re.findall(r"^\| `python -m session_aware (\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert rows.keys() == COMMANDS.keys()
    for name, command in COMMANDS.items():
        parser = argparse.ArgumentParser(add_help=False)
        command.add_arguments(parser)
        known = {option for action in parser._actions for option in action.option_strings}
        assert set(re.findall(r"--\w+", rows[name])) == known, name


def test_environment_variables_that_are_read_are_on_the_page() -> None:
    sources = [file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py")]
    read = {name for source in sources for name in re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", source)}
    assert "SESSION_AWARE_LANE" in read
    assert [name for name in sorted(read) if not re.search(rf"`{name}\b", PAGE)] == []


def test_extras_on_the_page_are_those_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    named = re.findall(r"^\| `(\w+)` \|", PAGE.partition("\n## Extras\n")[2], re.MULTILINE)
    assert named
    assert set(named) <= project["project"]["optional-dependencies"].keys()
