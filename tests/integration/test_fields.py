"""Services whose fields another library collects: dataclasses, attrs, msgspec, pydantic, SQLModel."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Any, ClassVar, get_type_hints

import attrs
import msgspec
import pydantic
import pytest
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from session_aware import NEW_SESSION, SessionAwareService, SessionFactoryError, configure
from tests.databases import SyncDatabase
from tests.services import OWNED


@dataclass
class Greeter(SessionAwareService):
    session_factory: sessionmaker[Session]
    name: str

    def greet(self, *, session: Session = NEW_SESSION) -> str:
        return f"{session.scalar(text('select 1'))} {self.name}"


@dataclass(slots=True)
class Slotted(SessionAwareService):
    session_factory: sessionmaker[Session]

    @classmethod
    def count(cls, *, session: Session = NEW_SESSION) -> int:
        return 1


def test_slot_of_a_factory_is_no_factory_of_the_class() -> None:
    with pytest.raises(SessionFactoryError, match="but there is no session_factory"):
        Slotted.count()


def test_factory_may_be_a_required_field(sqlite: SyncDatabase) -> None:
    assert Greeter(sqlite.maker, "ann").greet() == "1 ann"


def test_field_gets_no_default_from_the_service() -> None:
    with pytest.raises(TypeError, match="missing 2 required positional arguments: 'session_factory' and 'name'"):
        Greeter()  # type: ignore[call-arg]


# What looks at the annotations of every base finds none of the service's


@dataclass
class Data(SessionAwareService):
    x: int = 1

    def own(self, *, session: Session = NEW_SESSION) -> tuple[int, bool]:
        return self.x, session.in_transaction()


@attrs.define
class Attrs(SessionAwareService):
    x: int = 1

    def own(self, *, session: Session = NEW_SESSION) -> tuple[int, bool]:
        return self.x, session.in_transaction()


class Struct(SessionAwareService, msgspec.Struct):
    x: int = 1

    def own(self, *, session: Session = NEW_SESSION) -> tuple[int, bool]:
        return self.x, session.in_transaction()


class Model(SessionAwareService, pydantic.BaseModel):
    x: int = 1

    def own(self, *, session: Session = NEW_SESSION) -> tuple[int, bool]:
        return self.x, session.in_transaction()

    @classmethod
    def of_class(cls, *, session: Session = NEW_SESSION) -> str:
        return cls.__name__

    @staticmethod
    def of_nobody(*, session: Session = NEW_SESSION) -> bool:
        return session.in_transaction()


class Frozen(pydantic.BaseModel, SessionAwareService, frozen=True):
    x: int = 1

    def own(self, *, session: Session = NEW_SESSION) -> tuple[int, bool]:
        return self.x, session.in_transaction()


class Table(SessionAwareService, DeclarativeBase):
    """The base of mapped classes that are services."""


class Row(Table):
    __tablename__ = "row"
    x: Mapped[int] = mapped_column(primary_key=True)

    def own(self, *, session: Session = NEW_SESSION) -> tuple[int, bool]:
        return self.x, session.in_transaction()


@pytest.mark.parametrize("service", [Data, Attrs, Struct, Model, Frozen, Row])
def test_class_with_fields_is_a_service(service: Any, sqlite: SyncDatabase) -> None:
    configure(session_factory=sqlite.maker)
    assert service(x=3).own() == (3, True)
    assert set(get_type_hints(service)) - {"__tablename__", "registry", "metadata"} >= {"x"}
    assert not [name for name in get_type_hints(service) if "session" in name]


def test_tools_that_convert_fields_see_the_classs_own(sqlite: SyncDatabase) -> None:
    configure(session_factory=sqlite.maker)
    assert [field.name for field in attrs.fields(attrs.resolve_types(Attrs))] == ["x"]
    assert msgspec.convert({"x": 2}, Data) == Data(2)
    assert msgspec.convert({"x": 2}, Struct) == Struct(2)
    assert list(Model.model_json_schema()["properties"]) == ["x"]
    assert Model.model_validate({"x": 4}).own() == (4, True)
    assert (Model.of_class(), Model.of_nobody()) == ("Model", True)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="SQLModel needs a later SQLAlchemy than the one tested on 3.11")
def test_sqlmodel_table_is_a_service(sqlite: SyncDatabase) -> None:
    program = """
class Hero(SessionAwareService, SQLModel, table=True):
    session_factory: ClassVar[Any] = maker  # SQLModel hands no class keywords on
    id: int | None = Field(default=None, primary_key=True)
    name: str = ""

    def save(self, *, session: Session = NEW_SESSION) -> "Hero":
        session.add(self)
        return self

    @classmethod
    def named(cls, name: str, *, session: Session = NEW_SESSION) -> "Hero":
        return session.scalars(select(cls).where(cls.name == name)).one()
"""
    sqlmodel: Any = importlib.import_module("sqlmodel")
    names: dict[str, Any] = {**vars(sqlmodel), "SessionAwareService": SessionAwareService, "NEW_SESSION": NEW_SESSION}
    names.update(maker=sqlite.maker, Session=Session, ClassVar=ClassVar, Any=Any, __name__=__name__)
    exec(program, names)  # noqa: S102 - sqlmodel is not installed everywhere
    hero = names["Hero"]
    hero.__table__.create(sqlite.engine)
    sqlite.recorder.take()
    assert hero(name="ann").save().id == 1
    assert hero.named("ann").id == 1
    assert sqlite.recorder.events == OWNED * 2
