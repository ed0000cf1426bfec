"""The package itself: public names, where they say they live, and what importing them costs."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import session_aware
from session_aware import pytest_plugin
from session_aware._call.options import OPTIONS
from session_aware._call.sentinel import NEW

if TYPE_CHECKING:
    from types import ModuleType


def test_all_is_sorted() -> None:
    assert session_aware.__all__ == sorted(session_aware.__all__, key=lambda name: (not name.isupper(), name))


@pytest.mark.parametrize("name", session_aware.__all__)
def test_public_name_reports_the_package_as_its_home(name: str) -> None:
    value = getattr(session_aware, name)
    home = type(value).__module__ if name == "NEW_SESSION" else value.__module__
    if value is session_aware.SessionAwareService:  # whose source is read
        assert inspect.getsource(value).startswith("class SessionAwareService:")
    else:
        assert home == "session_aware"


@pytest.mark.parametrize("name", session_aware.__all__)
def test_public_name_has_a_docstring_of_its_own(name: str) -> None:
    doc = (type(NEW) if name == "NEW_SESSION" else getattr(session_aware, name)).__doc__
    assert doc
    assert inspect.cleandoc(doc).splitlines()[0].endswith(".")


@pytest.mark.parametrize("package", [session_aware, pytest_plugin], ids=lambda package: package.__name__)
def test_public_members_of_public_classes_have_docstrings(package: ModuleType) -> None:
    """An attribute may be described beneath "Attributes:" of its class, a value of an enum in the class's docstring."""
    members = 0
    for public in package.__all__:
        cls = getattr(package, public)
        if not isinstance(cls, type):
            continue
        described = "\n".join(inspect.getdoc(one) or "" for one in cls.__mro__ if one.__module__.startswith("session_aware"))
        names = {name for one in cls.__mro__ if one.__module__.startswith("session_aware") for name in vars(one)}
        names |= set(inspect.get_annotations(cls))
        for name in sorted(name for name in names if not name.startswith("_")):
            members += 1
            member = inspect.getattr_static(cls, name, None)
            is_method = isinstance(member, (classmethod, staticmethod, property)) or inspect.isfunction(member)
            doc = (
                inspect.getdoc(member)
                if is_method
                else re.search(rf"^(    {name}: |``{name}``.*: ).", described, re.MULTILINE)
            )
            assert doc, f"{public}.{name}"
    assert members > 5


@pytest.mark.parametrize(
    "name", [name for name in session_aware.__all__ if inspect.isfunction(getattr(session_aware, name))]
)
def test_public_function_shows_an_example_and_describes_each_parameter(name: str) -> None:
    function = getattr(session_aware, name)
    doc = inspect.getdoc(function) or ""
    assert "\nExample:\n" in doc
    for parameter in inspect.signature(function).parameters.values():
        spelled = f"**{parameter.name}" if parameter.kind is parameter.VAR_KEYWORD else parameter.name
        assert re.search(rf"^    {re.escape(spelled)}: .", doc, re.MULTILINE), spelled


def test_class_describes_every_option() -> None:
    doc = inspect.getdoc(session_aware.SessionAwareService) or ""
    for option in OPTIONS:
        assert re.search(rf"^    {option}: .", doc, re.MULTILINE), option
    assert set(inspect.signature(session_aware.SessionAwareService.__init_subclass__).parameters) == {*OPTIONS, "kwargs"}


@pytest.mark.parametrize("name", session_aware.__all__)
def test_public_name_is_listed_by_dir(name: str) -> None:
    assert name in dir(session_aware)


def test_star_import_brings_the_public_names() -> None:
    namespace: dict[str, object] = {}
    exec("from session_aware import *", namespace)  # noqa: S102 - a star import stands at module level only
    assert set(session_aware.__all__) <= set(namespace)


def test_public_name_is_looked_up_once() -> None:
    assert session_aware.SessionPolicy is vars(session_aware)["SessionPolicy"]


def test_every_error_is_a_session_aware_error() -> None:
    errors = [
        value
        for name in session_aware.__all__
        if isinstance(value := getattr(session_aware, name), type) and issubclass(value, Exception)
    ]
    assert len(errors) == 10
    warnings = {error for error in errors if not issubclass(error, session_aware.SessionAwareError)}
    assert warnings == {session_aware.EndedSessionWarning, session_aware.NestedSessionWarning}
    assert issubclass(session_aware.SessionParameterError, TypeError)
    assert all(issubclass(warning, UserWarning) for warning in warnings)


def imported_after(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import session_aware",
        "import session_aware.exceptions",
        "from session_aware import SessionAwareError, NestedSessionWarning",
        "from session_aware import Propagation, SessionPolicy",
    ],
)
def test_light_names_do_not_import_sqlalchemy(statement: str) -> None:
    modules = imported_after(statement)
    assert "session_aware" in modules
    assert not modules & {"sqlalchemy", "wrapt", "asyncio"}


def test_sync_names_do_not_import_the_asyncio_extension() -> None:
    modules = imported_after("from session_aware import *")
    assert "sqlalchemy.orm" in modules
    assert not modules & {"sqlalchemy.ext.asyncio", "session_aware._unit.asynchronous"}
