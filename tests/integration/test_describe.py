"""What ``describe`` and ``python -m session_aware show`` tell of classes and modules."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from session_aware import (
    NEW_SESSION,
    CallableDescription,
    Description,
    Propagation,
    Retry,
    SessionAwareService,
    auto_session_func,
    configure,
    describe,
)
from session_aware.__main__ import main

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

maker = sessionmaker(create_engine("sqlite:///shop.sqlite"))


class Mixin(SessionAwareService):
    def mixed(self, *, session: Session = NEW_SESSION) -> int:
        return 1


class Base(SessionAwareService, session_factory=maker, isolation_level="SERIALIZABLE"):
    def plain(self, *, session: Session = NEW_SESSION) -> int:
        return 1

    half = functools.partialmethod(plain)

    def __init__(self, session: object = None) -> None:
        pass

    def fetch(self, *, session: bytes | None = None) -> None:
        """Take another library's."""


class Shop(Mixin, Base, propagation=Propagation.NESTED):
    @classmethod
    def of_class(cls, *, session: Session = NEW_SESSION) -> int:
        return 1

    @staticmethod
    @auto_session_func(read_only=True)
    def of_nobody(*, session: Session = NEW_SESSION) -> int:
        return 1

    def stream(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
        yield 1

    async def astream(self, *, session: Any = NEW_SESSION) -> AsyncIterator[int]:
        yield 1

    @contextlib.contextmanager
    def held(self, *, session: Session = NEW_SESSION) -> Iterator[int]:
        yield 1


def by_name(description: Description) -> dict[str, CallableDescription]:
    return {one.name.rpartition(".")[2]: one for one in description.callables}


def test_every_kind_is_named() -> None:
    assert {name: one.kind for name, one in by_name(describe(Shop)).items()} == {
        "astream": "async generator",
        "half": "def",
        "held": "context manager",
        "mixed": "def",
        "of_class": "class def",
        "of_nobody": "static def",
        "plain": "def",
        "stream": "generator",
    }


def test_every_value_of_a_policy_says_where_it_comes_from() -> None:
    configure(resolve_commit=True)
    assert by_name(describe(Shop))["of_nobody"].policy == {
        "propagation": (Propagation.NESTED, "class Shop"),
        "read_only": (True, "method"),
        "isolation_level": ("SERIALIZABLE", "class Base"),
        "resolve_commit": (True, "configure"),
    }


def unquoted(signature: str) -> str:
    """Show texts as ``help()`` does, since Python 3.14 without quotes."""
    return signature.replace("'", "") if sys.version_info >= (3, 14) else signature


def test_defining_class_signature_and_factory_are_told() -> None:
    one = by_name(describe(Shop))["plain"]
    assert one == CallableDescription(
        name="Shop.plain",
        kind="def",
        policy=one.policy,
        factory="sessionmaker on sqlite:///shop.sqlite",
        defined_in=f"{__name__}.Base",
        signature=unquoted("(self, *, session: 'Session' = NEW_SESSION) -> 'int'"),
    )


def test_missing_factory_is_a_finding_once_another_is_configured() -> None:
    assert describe(Shop).findings == ()  # configure() may be still to come
    configure(session_factory=maker)
    (finding,) = describe(Shop).findings
    assert finding == (
        f"{__name__}.Shop: nothing names async_session_factory, so astream can only be called with 'session='. Name one on "
        "the class Shop, or in 'configure(async_session_factory=...)'."
    )

    class Plain(SessionAwareService):
        def get(self, *, session: Session = NEW_SESSION) -> int:
            return 1

    assert describe(Plain).findings == ()


def test_factory_of_the_object_counts() -> None:
    class Tenant(SessionAwareService):
        @property
        def session_factory(self) -> Any:  # type: ignore[override]
            return maker

        def get(self, *, session: Session = NEW_SESSION) -> int:
            return 1

    assert by_name(describe(Tenant))["get"].factory == "session_factory of the object"


def test_function_as_factory_is_named() -> None:
    def make() -> Session:
        return maker()

    class Made(SessionAwareService, session_factory=make):
        def get(self, *, session: Session = NEW_SESSION) -> int:
            return 1

    assert str(by_name(describe(Made))["get"].factory).endswith("make")


def test_method_that_came_later_is_a_finding() -> None:
    class Late(SessionAwareService, session_factory=maker):
        pass

    def late(self: Late, *, session: Session = NEW_SESSION) -> None:
        pass

    Late.late = late  # type: ignore[attr-defined]
    (finding,) = describe(Late).findings
    assert finding.endswith(
        "Late.late: takes 'session' but is not wrapped: it was added to the class after the class statement. Write it in "
        "the class body, or decorate it with @auto_session_func."
    )


def test_policy_beneath_another_decorator_is_no_finding() -> None:
    def logged(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    class Decorated(SessionAwareService, session_factory=maker):
        @logged
        @auto_session_func(read_only=True)
        def get(self, *, session: Session = NEW_SESSION) -> int:
            return 1

    assert describe(Decorated).findings == ()


def test_module_is_described_with_its_functions_and_services_alone() -> None:
    module = ModuleType("shop_of_test")
    code = (
        "from sqlalchemy.orm import Session\n"
        "from session_aware import *\n"
        "from tests.integration.test_describe import Shop\n"
        "@auto_session_func\n"
        "def clean(*, session: Session = NEW_SESSION): ...\n"
        "class Own(SessionAwareService):\n"
        "    def get(self, *, session: Session = NEW_SESSION): ...\n"
    )
    exec(code, module.__dict__)  # noqa: S102 - a module of the test's own
    configure(async_session_factory=async_sessionmaker())
    description = describe(module)
    assert [one.name for one in description.callables] == ["Own.get", "clean"]
    assert [finding.partition(":")[0] for finding in description.findings] == ["shop_of_test", "shop_of_test.Own"]


def test_neither_a_service_nor_a_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^describe: 3 is neither a SessionAwareService nor a module"):
        describe(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        describe(int)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_table_is_as_wide_as_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    configure(session_factory=maker, retry=Retry())
    lines = str(describe(Shop)).splitlines()
    assert lines[0] == f"{__name__}.Shop"
    assert lines[2].split() == ["callable", "kind", "policy", "factory"]
    assert sum(line.startswith("Shop.") for line in lines) == 8
    assert sum(line.startswith("! ") for line in lines) == 1
    assert max(map(len, lines)) <= columns
    assert not any(line.endswith(" ") for line in lines)
    words = "".join("".join(lines).split())
    assert "isolation_level='SERIALIZABLE'(classBase)" in words or columns < 120
    assert f"in{__name__}.Mixin" in words
    assert f"in{__name__}.Shop" not in words


@pytest.fixture
def shop_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "shop_on_disk.py").write_text(
        "from sqlalchemy import create_engine\n"
        "from sqlalchemy.orm import Session, sessionmaker\n"
        "from session_aware import *\n"
        "class Good(SessionAwareService, session_factory=sessionmaker(create_engine('sqlite://'))):\n"
        "    class Inner(SessionAwareService): ...\n"
        "    def get(self, *, session: Session = NEW_SESSION): ...\n"
        "class Bad(SessionAwareService):\n"
        "    def get(self, *, session: Session = NEW_SESSION): ...\n"
        "Bad.late = lambda self, *, session: None\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "shop_on_disk"
    sys.modules.pop("shop_on_disk", None)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 the def evaluates annotations")
def test_show_evaluates_no_annotation(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from session_aware import NEW_SESSION, SessionAwareService, auto_session_func\n"
        "if TYPE_CHECKING:\n"
        "    from sqlalchemy.orm import Session\n"
        "class Shop(SessionAwareService):\n"
        "    @staticmethod\n"
        "    def static(x: Nowhere, *, session: Session = NEW_SESSION) -> Nowhere: ...\n"
        "@auto_session_func\n"
        "def free(x: Nowhere, *, session: Session = NEW_SESSION) -> Nowhere: ...\n"
        "Shop.late = lambda self, *, session: None\n"
    )
    command = [sys.executable, "-W", "error", "-m", "session_aware", "show", "shop"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("(x: Nowhere, *, session: Session = NEW_SESSION) -> Nowhere") == 2
    assert "! shop.Shop.late: takes 'session' but is not wrapped" in done.stdout


def test_show_exits_with_1_on_findings(shop_module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", f"{shop_module}:Good"]) == 0
    assert main(["show", f"{shop_module}:Good.Inner"]) == 0
    assert main(["show", f"{shop_module}:Bad"]) == main(["show", shop_module]) == 1
    assert "! shop_on_disk.Bad.late: takes 'session' but is not wrapped" in capsys.readouterr().out


def test_show_prints_json(shop_module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", f"{shop_module}:Good", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["target"] == "shop_on_disk.Good"
    assert printed["callables"][0]["name"] == "Good.get"


@pytest.mark.parametrize("target", ["no_such_module_anywhere", "json:Nothing", "json:JSONDecoder", "json.no.such", ""])
def test_show_exits_with_2_on_what_it_cannot_describe(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", target]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"show: {target}")
    assert said.endswith("Write 'show package.module:Class'.\n")


def test_show_imports_first_what_sets_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app_setup.py").write_text(
        "from sqlalchemy import create_engine\n"
        "from sqlalchemy.orm import sessionmaker\n"
        "from session_aware import configure\n"
        "engine = create_engine('sqlite://')\n"
        "configure(session_factory=sessionmaker(engine))\n"
    )
    (tmp_path / "app_rates.py").write_text(
        "from sqlalchemy import text\n"
        "from sqlalchemy.orm import Session\n"
        "from session_aware import NEW_SESSION, auto_session_func\n"
        "@auto_session_func\n"
        "def one(*, session: Session = NEW_SESSION): return session.scalar(text('SELECT 1'))\n"
        "ONE = one()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main(["show", "app_rates"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("show: app_rates cannot be imported: SessionFactoryError: one: called without 'session='")
    assert main(["show", "--first", "app_setup", "app_rates"]) == 0
    sys.modules.pop("app_setup").engine.dispose()
    assert main(["show", "--first", "no_such_setup", sys.modules.pop("app_rates").__name__]) == 2
    out, said = capsys.readouterr()
    assert "sessionmaker on sqlite://" in out
    assert said.startswith("show: no_such_setup")


def test_show_names_the_error_of_a_module_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop_without_settings.py").write_text("raise LookupError('no settings')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main(["show", "shop_without_settings"]) == 2
    assert capsys.readouterr().err == "show: shop_without_settings cannot be imported: LookupError: no settings\n"
