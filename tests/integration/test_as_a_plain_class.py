"""A service beside the same class undecorated, attribute by attribute and tool by tool, and the differences that remain."""

from __future__ import annotations

import contextlib
import copy
import doctest
import functools
import importlib
import importlib.util
import inspect
import itertools
import json
import os
import pickle
import pydoc
import re
import subprocess
import sys
import textwrap
import typing
import weakref
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from unittest import mock

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from session_aware._call import lane

cloudpickle: Final[Any] = importlib.import_module("cloudpickle")  # has no types
pdb: Final[Any] = importlib.import_module("pdb")  # an import of it is taken for a forgotten one
has_lane = pytest.mark.skipif(not lane.IS_ON, reason="the lane is switched off by SESSION_AWARE_LANE=off")
ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "src" / "session_aware" / "manual" / "callables.md"
SOURCE: Final = '''
"""One class, as a service and without."""
import functools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
BASE

NEW: Session = None


def logged(function):
    """Decorate as most do."""
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper


class Opener:
    def __call__(self, owner: str, *, session: Session = NEW) -> str:
        return owner


class Accounts(Base):
    """Has every kind of method."""

    def plain(self, owner: str, /, number: int = 1, *more: int, session: Session = NEW, flag: bool = True) -> str:
        """Say it.

        >>> Accounts().plain("ann", session=SESSION)
        'ann'
        """
        return owner

    def required(self, owner: str, *, session: Session) -> str:
        return owner

    @classmethod
    def of_class(cls, owner: str, *, session: Session = NEW) -> str:
        """Say it.

        >>> Accounts.of_class("ann", session=SESSION)
        'ann'
        """
        return owner

    @staticmethod
    def static(owner: str, *, session: Session = NEW) -> str:
        """Say it.

        >>> Accounts.static("ann", session=SESSION)
        'ann'
        """
        return owner

    async def coroutine(self, owner: str, *, session: AsyncSession = NEW) -> str:
        return owner

    def generator(self, owner: str, *, session: Session = NEW) -> Iterator[str]:
        yield owner

    async def async_generator(self, owner: str, *, session: AsyncSession = NEW) -> AsyncIterator[str]:
        yield owner

    @contextmanager
    def context(self, owner: str, *, session: Session = NEW) -> Iterator[str]:
        yield owner

    @asynccontextmanager
    async def async_context(self, owner: str, *, session: AsyncSession = NEW) -> AsyncIterator[str]:
        yield owner

    @logged
    def decorated(self, owner: str, *, session: Session = NEW) -> str:
        return owner

    @functools.singledispatchmethod
    def dispatched(self, owner: str, *, session: Session = NEW) -> str:
        return owner

    partial = functools.partialmethod(plain, "ann")
    opener = Opener()
'''
KINDS: Final = [
    "plain",
    "required",
    "of_class",
    "static",
    "coroutine",
    "generator",
    "async_generator",
    "context",
    "async_context",
    "decorated",
    "dispatched",
    "partial",
    "opener",
]
GIVEN: Final = {True: AsyncSession(), False: Session()}


class Made(typing.NamedTuple):
    module: ModuleType
    cls: Any
    folder: Path


def made(folder: Path, base: str) -> Made:
    folder.mkdir()
    file = folder / "accounts.py"
    file.write_text(SOURCE.replace("BASE", base))
    spec = importlib.util.spec_from_file_location("accounts_of_the_comparison", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Made(module, module.Accounts, folder)


def both(folder: Path) -> tuple[Made, Made]:
    """Make the plain class and the service."""
    service = made(folder / "service", "from session_aware import SessionAwareService as Base")
    return made(folder / "plain", "Base = object"), service


@contextlib.contextmanager
def current(one: Made) -> Iterator[None]:
    """Let ``import`` find the module."""
    with mock.patch.dict(sys.modules, {one.module.__name__: one.module}):
        yield


def given(name: str) -> Any:
    return GIVEN[name in {"coroutine", "async_generator", "async_context"}]


def arguments(name: str) -> tuple[str, ...]:
    return () if name == "partial" else ("ann",)


# Each tool takes the class and the name of a method, and returns what can be compared.


def kind_flags(function: Any) -> list[bool]:
    questions = (
        inspect.isfunction,
        inspect.ismethod,
        inspect.isroutine,
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        inspect.isbuiltin,
        inspect.ismethoddescriptor,
        callable,
    )
    return [question(function) for question in questions]


def code_of(function: Any) -> tuple[object, ...]:
    code = function.__code__
    return Path(code.co_filename).name, code.co_firstlineno, code.co_name, code.co_qualname


def outcome(call: Callable[[], object]) -> object:
    """Return what a call returns, or its error without addresses."""
    try:
        result = call()
    except Exception as error:  # noqa: BLE001 - the error is what is compared
        return type(error).__name__, str(error)
    if inspect.iscoroutine(result):
        result.close()
        return "coroutine", result.__name__, result.__qualname__
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        return type(result).__name__, result.__name__, result.__qualname__
    return type(result).__name__ if hasattr(result, "__enter__") or hasattr(result, "__aenter__") else result


def weak(cls: Any, name: str) -> object:
    instance = cls()
    reference = weakref.WeakMethod(getattr(instance, name))
    found: Any = reference()
    seen = found is not None and found == getattr(instance, name)
    del found, instance
    return seen, reference() is None


def pdb_stops(cls: Any, name: str) -> object:
    output = StringIO()
    debugger = pdb.Pdb(
        stdin=StringIO("break target\ncontinue\nwhere 1\ncontinue\n"), stdout=output, nosigint=True, readrc=False
    )
    names = {"target": getattr(cls, name), "call": lambda: outcome(lambda: getattr(cls(), name)("ann", session=given(name)))}
    before = sys.gettrace()
    try:
        debugger.runctx("call()", names, names)
    finally:
        sys.settrace(before)
    return [line.partition("accounts.py")[2] for line in output.getvalue().splitlines() if "accounts.py" in line][:2]


def examples(cls: Any, name: str) -> object:
    found = doctest.DocTestFinder().find(getattr(cls, name), name, module=sys.modules[cls.__module__])
    runner = doctest.DocTestRunner(verbose=False)
    for example in found:
        example.globs.update(SESSION=GIVEN[False])
        runner.run(example, out=lambda _: None)
    return [(example.lineno, len(example.examples)) for example in found], runner.summarize(verbose=False)


def patched(cls: Any, name: str) -> object:
    with mock.patch.object(cls, name, autospec=True) as patch:
        outcome(lambda: getattr(cls(), name)("ann", session=given(name)))
    return len(patch.mock_calls), callable(getattr(cls(), name))


def attribute_set(cls: Any, name: str) -> object:
    getattr(cls, name).mark = 1
    try:
        return getattr(cls, name).mark, getattr(cls(), name).mark
    finally:
        del getattr(cls, name).mark


TOOLS: dict[str, Callable[[Any, str], object]] = {
    "__name__": lambda cls, name: (getattr(cls, name).__name__, getattr(cls(), name).__name__),
    "__qualname__": lambda cls, name: getattr(cls, name).__qualname__,
    "__module__": lambda cls, name: getattr(cls, name).__module__,
    "__doc__": lambda cls, name: getattr(cls, name).__doc__,
    "__annotations__": lambda cls, name: repr(getattr(cls, name).__annotations__),
    "__defaults__": lambda cls, name: getattr(cls, name).__defaults__,
    "__kwdefaults__": lambda cls, name: getattr(cls, name).__kwdefaults__,
    "__code__": lambda cls, name: code_of(getattr(cls, name)),
    "__globals__": lambda cls, name: getattr(cls, name).__globals__["__name__"],
    "__self__": lambda cls, name: type(getattr(cls(), name).__self__).__name__,
    "type": lambda cls, name: (type(getattr(cls, name)).__name__, type(getattr(cls(), name)).__name__),
    "identity": lambda cls, name: (getattr(cls, name) is getattr(cls, name), getattr(cls, name) == getattr(cls, name)),
    "hash": lambda cls, name: getattr(cls, name) != (again := getattr(cls, name)) or hash(again) == hash(getattr(cls, name)),
    "setattr": attribute_set,
    "dir": lambda cls, name: sorted(set(dir(getattr(cls, name))) - {"__wrapped__", "__session_aware__", "__signature__"}),
    "kind of the class's": lambda cls, name: kind_flags(getattr(cls, name)),
    "kind of the object's": lambda cls, name: kind_flags(getattr(cls(), name)),
    "kind in the class body": lambda cls, name: [
        isinstance(vars(cls)[name], kind) for kind in (staticmethod, classmethod, functools.partialmethod)
    ],
    "inspect.signature": lambda cls, name: (
        str(inspect.signature(getattr(cls, name))),
        str(inspect.signature(getattr(cls(), name))),
    ),
    "inspect.getfullargspec": lambda cls, name: repr(inspect.getfullargspec(getattr(cls, name))),
    "inspect.getsource": lambda cls, name: inspect.getsource(getattr(cls, name)),
    "inspect.getfile": lambda cls, name: Path(inspect.getfile(getattr(cls, name))).name,
    "inspect.getdoc": lambda cls, name: inspect.getdoc(getattr(cls(), name)),
    "inspect.classify_class_attrs": lambda cls, name: next(
        (one.kind, one.defining_class.__name__) for one in inspect.classify_class_attrs(cls) if one.name == name
    ),
    "typing.get_type_hints": lambda cls, name: repr(typing.get_type_hints(getattr(cls, name))),
    "pydoc": lambda cls, name: pydoc.plain(pydoc.render_doc(getattr(cls, name))).splitlines()[2:],
    "pickle": lambda cls, name: outcome(lambda: pickle.loads(pickle.dumps(getattr(cls, name))).__name__),
    "pickle of a bound one": lambda cls, name: pickle.loads(pickle.dumps(getattr(cls(), name))).__self__.__class__.__name__,
    "cloudpickle": lambda cls, name: cloudpickle.loads(cloudpickle.dumps(getattr(cls(), name))).__name__,
    "copy": lambda cls, name: copy.copy(getattr(cls, name)) == getattr(cls, name),
    "deepcopy": lambda cls, name: copy.deepcopy(getattr(cls, name)) == getattr(cls, name),
    "deepcopy of a bound one": lambda cls, name: type(copy.deepcopy(getattr(cls(), name)).__self__).__name__,
    "mock.create_autospec": lambda cls, name: str(inspect.signature(getattr(mock.create_autospec(cls)(), name))),
    "mock.patch.object": patched,
    "weakref.ref": lambda cls, name: weakref.ref(vars(cls)[name])() is vars(cls)[name],
    "weakref.WeakMethod": weak,
    "doctest": examples,
    "pdb": pdb_stops,
    "call": lambda cls, name: outcome(lambda: getattr(cls(), name)(*arguments(name), session=given(name))),
    "call through the class": lambda cls, name: outcome(
        lambda: getattr(cls, name)(
            *([] if name in {"static", "of_class", "opener"} else [cls()]), *arguments(name), session=given(name)
        )
    ),
    "too few arguments": lambda cls, name: outcome(lambda: getattr(cls(), name)(session=given(name))),
    "too many arguments": lambda cls, name: outcome(lambda: getattr(cls(), name)(1, 2, 3, session=given(name))),
    "unknown argument": lambda cls, name: outcome(lambda: getattr(cls(), name)("ann", nobody=3, session=given(name))),
    "functools.wraps": lambda cls, name: str(inspect.signature(functools.wraps(getattr(cls, name))(lambda: None))),
    "super()": lambda *where: called_by_super(*where),  # noqa: PLW0108 - defined below
}

# What remains: the manual's words, and where it shows.
DIFFERENCES: dict[str, set[tuple[str, str]]] = {
    "A static method is a bound method to Python, since it knows the class through which it was reached": {
        ("static", tool)
        for tool in (
            "__self__",
            "type",
            "identity",
            "setattr",
            "dir",
            "kind of the class's",
            "kind of the object's",
            "kind in the class body",
            "inspect.getfullargspec",
            "inspect.classify_class_attrs",
            "pydoc",
            "pickle of a bound one",
            "deepcopy of a bound one",
            "mock.create_autospec",
            "weakref.ref",
            "weakref.WeakMethod",
            "too many arguments",
        )
    },
    "A traceback shows the line of the `def` as one frame more. `pdb`'s `break Accounts.open` stops there": {
        (name, "pdb") for name in KINDS if name not in {"dispatched", "opener"}
    },
    "`__kwdefaults__` has the `session` that the method requires": {
        ("required", "__kwdefaults__"),
        ("required", "inspect.getfullargspec"),
    },
    "A context manager and a decorated method have their own parameters, file and line, and not those of their decorator": {
        (name, tool)
        for name in ("context", "async_context", "decorated")
        for tool in ("__kwdefaults__", "__code__", "__globals__", "inspect.getfullargspec", "inspect.getfile")
    }
    - {("decorated", "__globals__"), ("decorated", "inspect.getfile")},
    "`singledispatchmethod` and callable objects are wrapt proxies, and `type()` says so": {
        ("dispatched", "type"),
        ("dispatched", "pickle"),
        ("dispatched", "pickle of a bound one"),
        ("dispatched", "mock.patch.object"),
        ("dispatched", "weakref.WeakMethod"),
        *(
            ("dispatched", tool)
            for tool in (
                "kind of the class's",
                "kind of the object's",
                "inspect.getfullargspec",
                "inspect.getfile",
                "cloudpickle",  # of which the plain one is not capable
            )
            if sys.version_info >= (3, 14)  # where the plain one is a callable object, and was a function
        ),
        *(
            ("opener", tool)
            for tool in (
                "type",
                "identity",
                "kind of the class's",
                "kind of the object's",
                "kind in the class body",
                "inspect.getfullargspec",
                "inspect.getfile",
                "inspect.classify_class_attrs",
                *(["typing.get_type_hints"] if sys.version_info < (3, 14) else []),  # whose message has the type
                "pydoc",
                "copy",
                "deepcopy",
                "mock.create_autospec",
                "weakref.WeakMethod",
            )
        ),
    },
}


def called_by_super(cls: Any, name: str) -> object:
    below = type("Below", (cls,), {})
    return outcome(lambda: getattr(super(below, below()), name)(*arguments(name), session=given(name)))


def seen(one: Made, tool: str, name: str) -> object:
    with current(one):
        try:
            found = TOOLS[tool](one.cls, name)
        except Exception as error:  # noqa: BLE001 - where plain classes fail, services may, too
            found = type(error).__name__, str(error)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(found))  # addresses say nothing


@pytest.fixture(scope="module")
def differing(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """Compare in a process of its own: tests of the pytest plugin exchange modules in this one."""
    command = [sys.executable, "-m", "tests.integration.test_as_a_plain_class", str(tmp_path_factory.mktemp("comparison"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {(name, tool) for name, tool in json.loads(done.stdout)}


def compare(folder: Path) -> None:
    """Write what differs."""
    plain, service = both(folder)
    pairs = itertools.product(KINDS, TOOLS)
    found = [(name, tool) for name, tool in pairs if seen(plain, tool, name) != seen(service, tool, name)]
    sys.stdout.write(json.dumps(found))


@has_lane
@pytest.mark.parametrize("name", KINDS)
def test_service_is_to_tools_what_the_plain_class_is_but_for_what_the_manual_says(
    differing: set[tuple[str, str]], name: str
) -> None:
    expected = {one for where in DIFFERENCES.values() for one in where if one[0] == name}
    assert {one for one in differing if one[0] == name} == expected


def test_manual_lists_the_differences_that_remain() -> None:
    text = " ".join(PAGE.read_text().split())
    assert [sentence for sentence in DIFFERENCES if sentence not in text] == []


@has_lane
def test_coverage_counts_the_same_lines_and_branches(tmp_path: Path) -> None:
    program = """
    from accounts import *
    accounts, session = Accounts(), object()
    accounts.plain("ann", session=session)
    Accounts.static("ann", session=session)
    list(accounts.generator("ann", session=session))
    with accounts.context("ann", session=session):
        pass
    """
    said = []
    for one in both(tmp_path):
        (one.folder / "program.py").write_text(textwrap.dedent(program))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
        environment["PYTHONPATH"] = str(ROOT / "src")
        for command in (["run", "--branch", "program.py"], ["report", "-m", "accounts.py"]):
            done = subprocess.run(
                [sys.executable, "-m", "coverage", *command],
                cwd=one.folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, "")
            said.append(done.stdout)
    assert said[1] == said[3]
    assert "accounts.py" in said[1]


if __name__ == "__main__":
    compare(Path(sys.argv[1]))
