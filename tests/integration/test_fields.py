"""Services that are dataclasses, with a factory among their fields."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from session_aware import NEW_SESSION, SessionAwareService, SessionFactoryError
from tests.databases import SyncDatabase


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
