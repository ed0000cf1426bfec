"""Annotations that Python 3.14 evaluates when somebody asks: the library never asks, and whoever does hears the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 the def evaluates annotations")

EVERYDAY = """
from typing import TYPE_CHECKING
from session_aware import NEW_SESSION, SessionAwareService
if TYPE_CHECKING:
    from sqlalchemy.orm import Session
class Accounts(SessionAwareService):
    def one(self, *, session: Session = NEW_SESSION) -> "int": ...
print(Accounts.one.__qualname__)
"""

SIDE_BY_SIDE = """
import annotationlib, contextlib, dataclasses, functools, inspect, pydoc, re, typing
from annotationlib import Format
from typing import TYPE_CHECKING
from session_aware import NEW_SESSION, SessionAwareService
if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from nowhere import Model

def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

type Rows[T] = list[tuple[T, Model]]

def make(base):
    class Body(base):
        def method(self, x: Model, *, session: Session = NEW_SESSION) -> Later: ...
        def itself(self, *, session: Session | None = NEW_SESSION) -> Body: ...
        async def awaited(self, x: Model, *, session: Session = NEW_SESSION) -> Later: ...
        @staticmethod
        def static(x: Model, *, session: Session = NEW_SESSION) -> Later: ...
        @classmethod
        def of_class(cls, x: Model, *, session: Session = NEW_SESSION) -> Body: ...
        @contextlib.contextmanager
        def context(self, x: Model, *, session: Session = NEW_SESSION) -> Later: yield
        @contextlib.asynccontextmanager
        async def acontext(self, x: Model, *, session: Session = NEW_SESSION) -> Later: yield
        @decorated
        def decorated(self, x: Model, *, session: Session = NEW_SESSION) -> Later: ...
        partial = functools.partialmethod(method, 1)
        def stream[T: Model](self, x: Rows[T], *, session: Session = NEW_SESSION) -> T: yield x
        def text(self, x: "Model", *, session: "Session" = NEW_SESSION) -> "Later": ...
        @functools.singledispatchmethod
        def dispatched(self, x, *, session: Session = NEW_SESSION) -> Later: ...
        @property
        def none(self) -> Model: ...
        def bare(self, x, *, session=NEW_SESSION): ...
        def wrong(self, x: "Model" | None, *, session: Session = NEW_SESSION) -> 1 / 0: ...
        @staticmethod
        def wrong_static(x: "Model" | None, *, session: Session = NEW_SESSION) -> 1 / 0: ...
    return Body

def slotted(base):
    @dataclasses.dataclass(slots=True)
    class Body(base):
        a: Model
        def method(self, x: Model, *, session: Session = NEW_SESSION) -> Later:
            return __class__
    return Body

class Later: ...

TOOLS = {
    "annotations": lambda function: function.__annotations__,
    "annotate": lambda function: annotationlib.call_annotate_function(function.__annotate__, Format.STRING),
    "value": annotationlib.get_annotations,
    "forwardref": lambda function: annotationlib.get_annotations(function, format=Format.FORWARDREF),
    "string": lambda function: annotationlib.get_annotations(function, format=Format.STRING),
    "signature": inspect.signature,
    "signature, forwardref": lambda function: inspect.signature(function, annotation_format=Format.FORWARDREF),
    "signature, string": lambda function: inspect.signature(function, annotation_format=Format.STRING),
    "hints": typing.get_type_hints,
    "hints, forwardref": lambda function: typing.get_type_hints(function, format=Format.FORWARDREF),
    "hints, string": lambda function: typing.get_type_hints(function, format=Format.STRING),
    # a static method is a "class method of" there, as the README says
    "pydoc": lambda function: pydoc.plain(pydoc.render_doc(function)).splitlines()[2].partition(" class method of ")[0],
    "type_params": lambda function: function.__type_params__,
}

def said(tool, function):
    try:
        found = tool(function)
    except Exception as error:
        found = type(error).__name__, error
    return re.sub(r", owner=<.*?>+(?=[,)])| at 0x[0-9a-f]+", "", str(found))

compared = 0
for maker in (make, slotted):
    plain, ours = maker(object), maker(SessionAwareService)
    plain.__qualname__ = ours.__qualname__
    for name in [name for name in vars(plain) if not name.startswith("_")]:
        for tool in TOOLS:
            for of in ("class", "object"):
                pair = [cls if of == "class" else cls(*([1] if maker is slotted else ())) for cls in (plain, ours)]
                was, now = (said(TOOLS[tool], getattr(one, name)) for one in pair)
                compared += 1
                if was != now:
                    print(f"{name} of the {of}, {tool}: {was!r}, and now {now!r}")
print(compared)
"""


def run(program: str, folder: Path, **modules: str) -> list[str]:
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "program.py").write_text(program)
    command = [sys.executable, "-W", "error", "program.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr
    return done.stdout.splitlines()


def test_everyday_program_can_be_imported(tmp_path: Path) -> None:
    assert run(EVERYDAY, tmp_path) == ["Accounts.one"]


@pytest.mark.parametrize("first", ["", "from __future__ import annotations"])
def test_annotations_say_what_those_of_a_plain_class_say(first: str, tmp_path: Path) -> None:
    *differences, compared = run(first + SIDE_BY_SIDE, tmp_path)
    assert differences == []
    assert int(compared) > 300


OWN_NAMES = """
import sys
from typing import TYPE_CHECKING
import other  # which imports this module, so that it is half-imported while the class is made
from session_aware import NEW_SESSION, SessionAwareService, SessionParameterError, auto_session_func
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, sessionmaker

type Either = Session | AsyncSession
type Ours = Session

class Accounts(SessionAwareService, session_factory=sessionmaker(create_engine("sqlite://"))):
    def later(self, *, session: Session = NEW_SESSION) -> Later: return session
    def half(self, *, session: other.Session = NEW_SESSION) -> other.Accounts: return session
    def bound[S: Session](self, *, session: S = NEW_SESSION) -> S: return session
    def alias(self, *, session: Ours = NEW_SESSION) -> Accounts: return session
    def theirs(self, *, session: other.ClientSession = None) -> None: return session

class Later: ...

accounts = Accounts()
for name in ("later", "half", "bound", "alias"):
    assert isinstance(getattr(accounts, name)(), Session), name
assert accounts.theirs() is None
assert Accounts.later.__annotations__["return"] is Later
assert Accounts.half.__annotations__["return"] is Accounts is other.program.Accounts

Local = Session
for annotation in ("Session", "Session | None", "Ours", "Local", "S"):
    type_params = "[S: Session]" if annotation == "S" else ""
    try:
        exec(f"async def wrong{type_params}(*, session: {annotation} = NEW_SESSION) -> Nowhere: ...", globals())
        auto_session_func(wrong)
    except SessionParameterError as error:
        assert f"wrong: parameter 'session' is annotated Session, but async def" in str(error), error
    else:
        print(f"{annotation} is not refused")
"""
WRONG = """
import functools
from contextlib import contextmanager
from session_aware import NEW_SESSION, SessionAwareService, auto_session_func, describe
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

class Opener:
    def __call__(self, x: "Model" | None = 1, *, session: Session = NEW_SESSION) -> 1 / 0: return session

class Strange(Opener):
    __get__ = None

def free(x: "Model" | None = 1, *, session: Session = NEW_SESSION) -> 1 / 0: return session

class Accounts(SessionAwareService, session_factory=sessionmaker(create_engine("sqlite://"))):
    def method(self, x: "Model" | None = 1, *, session: Session = NEW_SESSION) -> 1 / 0: return session
    @staticmethod
    def static(x: "Model" | None = 1, *, session: Session = NEW_SESSION) -> 1 / 0: return session
    @classmethod
    def of_class(cls, x: "Model" | None = 1, *, session: Session = NEW_SESSION) -> 1 / 0: return session
    @contextmanager
    def context(self, x: "Model" | None = 1, *, session: Session = NEW_SESSION) -> 1 / 0: yield session
    bound = functools.partialmethod(method, 1)
    partial = staticmethod(functools.partial(free, 1))
    opener = Opener()
    strange = staticmethod(Strange())

names = ["method", "static", "of_class", "context", "bound", "partial", "opener", "strange"]
assert {one.name for one in describe(Accounts).callables} == {f"Accounts.{name}" for name in names}
for one in describe(Accounts).callables:
    assert one.signature.endswith("session=NEW_SESSION)"), one
for name in names:
    found = getattr(Accounts(), name)()
    if name == "context":
        with found as found:
            pass
    assert isinstance(found, Session), name
own = auto_session_func(session_factory=sessionmaker(create_engine("sqlite://")))
assert isinstance(own(functools.partial(free, 1))(), Session)
assert isinstance(own(Opener())(), Session)
"""


def test_annotations_that_fail_do_no_harm(tmp_path: Path) -> None:
    assert run(WRONG, tmp_path) == []


OTHER = """
import sys
program = sys.modules["__main__"]
assert not hasattr(program, "Accounts")
from sqlalchemy.orm import Session
class ClientSession: ...
def __getattr__(name):
    return getattr(program, name)
"""


def test_names_are_understood_where_they_mean_something(tmp_path: Path) -> None:
    assert run(OWN_NAMES, tmp_path, other=OTHER) == []


CHANGED = """
import functools, inspect
from typing import Annotated, get_type_hints
from session_aware import NEW_SESSION, SessionAwareService, auto_session_func

class Tag: ...

def typed(function):
    function.__annotations__["x"] = int
    return function

def replaced(function):
    function.__annotations__ = {"x": int, "session": Other}
    return function

class Other: ...

def make(base):
    class Body(base):
        @replaced
        def other(self, x, *, session=None): return session
        @typed
        def method(self, x, y: Annotated[int, Tag()] = 1, *, session=NEW_SESSION): ...
        @replaced
        def ours(self, x, *, session=NEW_SESSION): ...
        @staticmethod
        @typed
        def static(x, y: Annotated[int, Tag()] = 1, *, session=NEW_SESSION): ...
    return Body

for cls in (make(object), make(SessionAwareService)):
    assert cls.other.__annotations__ == get_type_hints(cls.other) == {"x": int, "session": Other}
    assert cls.ours.__annotations__ == get_type_hints(cls.ours) == {"x": int, "session": Other}
    assert cls().other(1) is None  # since it is no session of SQLAlchemy
for cls in (make(object), make(SessionAwareService)):
    for function in (cls.method, cls.static):
        assert function.__annotations__["x"] is get_type_hints(function)["x"] is int
        assert inspect.signature(function).parameters["x"].annotation is int
        assert inspect.signature(function).parameters["y"].annotation == function.__annotations__["y"]
        function.__annotations__["y"] = str
        assert inspect.signature(function).parameters["y"].annotation is str
"""


def test_who_changes_annotations_changes_those_of_the_method(tmp_path: Path) -> None:
    assert run(CHANGED, tmp_path) == []


LOUD = """
import functools
from contextlib import contextmanager
from session_aware import NEW_SESSION, SessionAwareService, auto_session_func, describe
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

def loud(*_): print("evaluated")
type Loud = loud()

class Meta(type):
    def __getattr__(cls, name): loud()
class Model(metaclass=Meta): ...

class Opener:
    def __call__(self, x: loud(), y: exit(3), z: Model.Inner, *, session: Session = NEW_SESSION) -> loud(): ...
class Dumper:
    def __call__(self, x: loud()) -> loud(): ...

def free(x: loud(), y: exit(3), z: Model.Inner, *, session: Session = NEW_SESSION) -> loud(): ...
def other(x: loud(), *, session: loud() = NEW_SESSION): ...
def dump(x: loud()) -> loud(): ...
def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs): return function(*args, **kwargs)
    return wrapper

class Accounts(SessionAwareService):
    def method(self, x: loud(), *, session: Session = NEW_SESSION) -> loud(): ...
    def alias(self, *, session: Loud = NEW_SESSION) -> Loud: ...
    def bound[T: loud()](self, x: T, *, session: T = NEW_SESSION) -> T: ...
    def constrained[T: (loud(), Session)](self, x: T, *, session: T = NEW_SESSION) -> T: ...
    def text(self, *, session: "loud()" = NEW_SESSION) -> "loud()": ...
    def union(self, *, session: Session | loud() = NEW_SESSION) -> None: ...
    def inner(self, *, session: Model.Inner = NEW_SESSION) -> None: ...
    @staticmethod
    def static(x: loud(), *, session: Session = NEW_SESSION) -> loud(): ...
    @classmethod
    def of_class(cls, x: exit(3), *, session: Session = NEW_SESSION) -> loud(): ...
    @contextmanager
    def context(self, x: loud(), *, session: Session = NEW_SESSION) -> loud(): ...
    @logged
    def decorated(self, x: loud(), *, session: Session = NEW_SESSION) -> loud(): ...
    @functools.lru_cache
    def cached(self, x: loud(), *, session: Session = NEW_SESSION) -> loud(): ...
    bound_to = functools.partialmethod(method, 1)
    partial = staticmethod(functools.partial(free, 1))
    opener = Opener()
    dumper = Dumper()
    dump = staticmethod(functools.partial(dump, 1))

for one in (auto_session_func(free), auto_session_func(other), auto_session_func(functools.partial(free, 1))):
    assert callable(one)
described = describe(Accounts)
assert len(described.callables) == 15, len(described.callables)
assert "y: exit(3), z: Model.Inner, *, session: Session" in str(described)
"""


def test_nothing_is_evaluated(tmp_path: Path) -> None:
    assert run(LOUD, tmp_path) == []


CIRCLE = """
import shop.services
from shop.models import Account
print(Account.__name__)
"""
SERVICES = """
import functools
from session_aware import NEW_SESSION, SessionAwareService
from sqlalchemy.orm import Session
from shop import models

def dump(account: models.Account, indent: int) -> str: ...

class Accounts(SessionAwareService):
    dump = staticmethod(functools.partial(dump, indent=2))
    def add(self, account: models.Account, *, session: Session = NEW_SESSION) -> models.Account: ...
    def own(self, *, session: models.Session = NEW_SESSION) -> None: ...
"""
ACCOUNT = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
class Base(DeclarativeBase): ...
class Account(Base):
    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
from shop.services import Accounts
"""
MODELS = """
def __getattr__(name):
    if name in ("Account", "Session"):
        from shop.models import account
        return getattr(account, name)
    raise AttributeError(name)
"""


def test_a_circle_of_imports_is_not_closed(tmp_path: Path) -> None:
    (tmp_path / "shop" / "models").mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "services.py").write_text(SERVICES)
    (tmp_path / "shop" / "models" / "__init__.py").write_text(MODELS)
    (tmp_path / "shop" / "models" / "account.py").write_text(ACCOUNT)
    assert run(CIRCLE, tmp_path) == ["Account"]


LAZY = """
import functools, sys, types
lazy from model import Model
lazy from sqlalchemy.orm import Session
lazy from client import ClientSession
from session_aware import NEW_SESSION, SessionAwareService, auto_session_func, describe

def decorated(function):
    import functools
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

type Alias = Session

class Opener:
    def __call__(self, x: Model, *, session: Session = NEW_SESSION) -> Model: ...
class Dumper:
    def __call__(self, x: Model) -> Model: ...
def free(x: Model, *, session: Session = NEW_SESSION) -> Model: ...
def dump(x: Model) -> Model: ...

class Accounts(SessionAwareService):
    def one(self, *, session: Session = NEW_SESSION) -> Model: ...
    @decorated
    def two(self, x: Model, y: int, *, session: Session = NEW_SESSION) -> None: ...
    def text(self, *, session: "Session | None" = NEW_SESSION) -> "Model": ...
    def bound[T: Session](self, *, session: T = NEW_SESSION) -> Model: ...
    def alias(self, *, session: Alias = NEW_SESSION) -> Model: ...
    partial = staticmethod(functools.partial(free, 1))
    dump = staticmethod(functools.partial(dump, 1))
    opener = Opener()
    dumper = Dumper()

@auto_session_func
def three(x: Model, *, session: Session = NEW_SESSION) -> None: ...

assert "model" in str(describe(Accounts)).lower()
assert type(globals()["Model"]) is types.LazyImportType
assert "model" not in sys.modules
of_one = Accounts.one.__annotations__["return"]
assert of_one == "Model" or of_one is sys.modules["model"].Model

class Clients(SessionAwareService):
    def fetch(self, *, session: ClientSession = None) -> None:
        return session

assert Clients().fetch() is None
"""


@pytest.mark.skipif(sys.version_info < (3, 15), reason="Python 3.15 has lazy imports")
@pytest.mark.parametrize("first", ["", "from __future__ import annotations"])
def test_nothing_is_imported_that_nobody_has_needed_yet(first: str, tmp_path: Path) -> None:
    assert run(first + LAZY, tmp_path, model="class Model: ...", client="class ClientSession: ...") == []
