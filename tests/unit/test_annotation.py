"""``_annotation``: which classes the annotation of ``session`` names, whether it is an object, a text or, on 3.14, code."""

from __future__ import annotations
import __future__

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, cast

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, scoped_session

from session_aware._call.lane import hand_on
from session_aware._declare import annotation
from session_aware._declare.annotation import names_none_of

MODULE = """
import typing, sqlalchemy.orm, sqlalchemy.orm as orm
from typing import Annotated, Any, NewType, Optional, Protocol, TypeVar, Union
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, scoped_session

Bound, Constrained, Free = TypeVar("Bound", bound=Session), TypeVar("Constrained", Session, AsyncSession), TypeVar("Free")
Late = TypeVar("Late", bound="Session")
New = NewType("New", Session)
class Anything(Protocol): ...
class Own(Session):
    class Inner: ...
def depends(*_): raise AssertionError
"""
SINCE_312 = """
type Alias = Session | None
type Of[T] = T
"""
IN_A_CLASS = """
def make(Local):
    class Body:
        Mine = Local
        def f(self, *, session: Mine | Local | Late = 1): ...
        def g(self, *, session: Nowhere | Local = 1): ...
    return Body
"""
IN_A_FUNCTION = """
def make():
    def f(*, session: Later = 1): ...
    early = named(f)
    Later = Session
    return early, named(f)
"""
NAMED: dict[str, list[type] | None] = {
    "Session": [Session],
    "orm.Session": [Session],
    "sqlalchemy.orm.Session": [Session],
    "Session | None": [Session],
    "None | Session | AsyncSession": [Session, AsyncSession],
    "'Session'": [Session],
    "'Session | None'": [Session],
    "'orm.Session'": [Session],
    "Optional[Session]": [Session],
    "typing.Optional['Session']": [Session],
    "Union[Session, None, AsyncSession]": [Session, AsyncSession],
    "typing.Union[Session, 'AsyncSession']": [Session, AsyncSession],
    "Annotated[Session, 1]": [Session],
    "typing.Annotated['Session | None', 1, 2]": [Session],
    "scoped_session[Session]": [scoped_session],
    "dict[str, Session]": [dict],
    "Bound": [Session],
    "Bound | None": [Session],
    "Late": [Session],
    "Constrained": [Session, AsyncSession],
    "New": [Session],
    "int": [int],
    "Free": None,
    "Any": None,
    "object": None,
    "Anything": None,
    "Anything | Session": None,
    "Nowhere": None,
    "orm.Nowhere": None,
    "Nowhere.Session": None,
    "'depends(1)'": None,
    "'Session |'": None,
}
NAMED_SINCE_312: dict[str, list[type] | None] = {"Alias": [Session], "Of[Session]": [Session], "Of": None}


def module(source: str = "") -> dict[str, Any]:
    """Run a module without the ``__future__`` import of this one."""
    made = ModuleType("made")
    exec(compile(MODULE + source, "made", "exec", dont_inherit=True), vars(made))  # noqa: S102
    return vars(made)


def declared(annotation: str, names: dict[str, Any], *, flags: int = 0, type_params: str = "") -> FunctionType:
    """Define a function with this annotation; before Python 3.14 that fails where a name means nothing."""
    source = f"def f{type_params}(*, session: {annotation} = None): ..."
    exec(compile(source, "made", "exec", flags, dont_inherit=True), names)  # noqa: S102
    found: FunctionType = names["f"]
    return found


def named(function: FunctionType, *, may_import: bool = False) -> list[type] | None:
    return annotation.classes_named(annotation.of_session(function), function, may_import=may_import)


CASES: Mapping[str, list[type] | None] = {**NAMED, **(NAMED_SINCE_312 if sys.version_info >= (3, 12) else {})}


def expected_of(annotation: str) -> list[list[type] | None]:
    """Before Python 3.14 what an alias is given can be put into it; that of a text, or later, says nothing."""
    return [CASES[annotation], *([None] if annotation == "Of[Session]" else [])]


@pytest.mark.parametrize("may_import", [False, True])
@pytest.mark.parametrize("annotation", CASES)
def test_classes_are_found_in_a_text(annotation: str, may_import: bool) -> None:
    names = module(SINCE_312 if sys.version_info >= (3, 12) else "")
    function = declared(annotation, names, flags=__future__.annotations.compiler_flag)
    assert named(function, may_import=may_import) in expected_of(annotation)


@pytest.mark.parametrize("annotation", [one for one in CASES if sys.version_info >= (3, 14) or "Nowhere" not in one])
def test_classes_are_found_in_what_python_makes_of_it(annotation: str) -> None:
    names = module(SINCE_312 if sys.version_info >= (3, 12) else "")
    function = declared(annotation, names)
    assert named(function) in expected_of(annotation)


OTHER: dict[str, bool] = {
    "Session": True,
    "int": True,
    "Session | None": True,
    "Own": True,
    "AsyncSession": False,
    "AsyncSession | None": False,
    "'AsyncSession'": False,
    "Session | 'AsyncSession'": False,
    "orm.Session": False,
    "Constrained": False,
    "Alias": False,
    "Nowhere": False,
    "Annotated[Session, ('AsyncSession', 1)]": False,
}


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 the def evaluates annotations")
@pytest.mark.parametrize("annotation", OTHER)
def test_a_look_at_the_names_tells_if_they_are_classes_and_nothing_else(annotation: str) -> None:
    function = declared(annotation, module(SINCE_312))
    assert names_none_of((AsyncSession,), function) is OTHER[annotation]
    cast("Any", function).__annotate__ = None
    assert not names_none_of((AsyncSession,), function)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters are new in Python 3.12")
@pytest.mark.parametrize("flags", [0, __future__.annotations.compiler_flag])
@pytest.mark.parametrize(
    ("type_params", "expected"),
    [
        ("[T]", None),
        ("[T: Session]", [Session]),
        ("[T: 'Session']", [Session]),
        ("[T: (Session, AsyncSession)]", [Session, AsyncSession]),
        ("[T: Alias]", [Session]),
    ],
)
def test_type_parameters_are_looked_into(type_params: str, expected: list[type] | None, flags: int) -> None:
    function = declared("T", module(SINCE_312), flags=flags, type_params=type_params)
    assert named(function) == expected


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 the def evaluates annotations")
def test_names_are_looked_up_in_the_closure_and_in_the_class() -> None:
    made = module(IN_A_CLASS)["make"](AsyncSession)
    assert named(made.f) == [AsyncSession, AsyncSession, Session]
    assert named(made.g) is None
    names = module(IN_A_FUNCTION)
    names["named"] = named
    assert names["make"]() == (None, [Session])


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 the def evaluates annotations")
def test_what_a_module_or_class_makes_when_it_is_asked_is_left_alone_or_imported() -> None:
    source = "import types\nmaking = types.ModuleType('making')\nmaking.__getattr__ = lambda name: Session\n"
    function = declared("making.Session", module(source))
    assert named(function) is None
    assert named(function, may_import=True) == [Session]
    assert named(declared("Own.Inner", module())) != named(declared("Own.Outer", module())) == None  # noqa: E711
    assert named(declared("New.Inner", module())) is None


@pytest.mark.skipif(sys.version_info < (3, 15), reason="Python 3.15 has lazy imports")
@pytest.mark.parametrize("annotation", ["Lazy", "Lazy | None", "'Lazy'", "Optional['Lazy']", "lazy.Session", "Alias"])
def test_lazy_imports_are_done_only_if_they_may(annotation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_later.py").write_text("from sqlalchemy.orm import Session")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "imported_later", raising=False)
    imports = "lazy from imported_later import Session as Lazy\nlazy import imported_later as lazy\ntype Alias = Lazy\n"
    function = declared(annotation, module(imports))
    assert named(function) is None
    assert "imported_later" not in sys.modules
    assert named(function, may_import=True) == [Session]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 the def evaluates annotations")
def test_annotations_that_cannot_be_read_say_nothing() -> None:
    assert named(declared("'Session' | None", module())) is None
    function: Any = declared("Session", module())
    function.__annotate__ = lambda _format: 1 / 0
    assert named(function) is None
    function.__annotate__ = Evaluator()
    assert named(function) == [Session]
    function.__annotations__ = {"session": AsyncSession}
    assert named(function) == [AsyncSession]


class Evaluator:
    """Answers in the place of what Python makes."""

    def __call__(self, _format: int) -> dict[str, Any]:
        return {"session": Session}


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 the def evaluates annotations")
def test_annotations_that_are_handed_on_are_shared() -> None:
    annotationlib: Any = import_module("annotationlib")
    function, made = declared("Session", module()), declared("None", {})
    hand_on(function, made)
    for wanted in (annotationlib.Format.STRING, annotationlib.Format.FORWARDREF, annotationlib.Format.VALUE):
        assert annotationlib.get_annotations(made, format=wanted) == annotationlib.get_annotations(function, format=wanted)
    assert made.__annotations__ is function.__annotations__
    with pytest.raises(
        NotImplementedError, match="this is not code from Python's compiler, so its globals cannot be replaced"
    ):
        cast("Any", made).__annotate__(annotationlib.Format.VALUE_WITH_FAKE_GLOBALS)
    assert named(made) == [Session]


class Vanishing(dict[str, Any]):
    """The names of a module from which somebody deletes each one that was found."""

    def __contains__(self, name: object) -> bool:
        found = super().__contains__(name)
        self.pop(cast("str", name), None)
        return found


@pytest.mark.parametrize("may_import", [False, True])
def test_a_name_is_looked_up_in_one_step(may_import: bool) -> None:
    function: Any = declared("Session", Vanishing(module()))
    assert annotation.classes_named("Session", function, may_import=may_import) == [Session]
