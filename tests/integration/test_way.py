"""The way of a call through the library's files is the one that the manual shows."""

from __future__ import annotations

import re
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

import session_aware
from session_aware import NEW_SESSION, SessionAwareService
from session_aware._call.lane import IS_ON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

PACKAGE: Final = Path(session_aware.__file__).parent
THIS: Final = Path(__file__)


def way_of(call: Callable[[], object]) -> list[tuple[str, list[str]]]:
    """Name each file of the library that a call enters, with the functions that it calls there one after the other."""
    found: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _arg: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and (file == THIS or file.is_relative_to(PACKAGE)):
            where = "" if file == THIS else file.relative_to(PACKAGE).as_posix()
            found.append((where, frame.f_code.co_qualname))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    return [(file, [name for _, name in calls]) for file, calls in groupby(found, key=lambda one: one[0])]


@pytest.fixture
def sessions() -> Iterator[sessionmaker[Session]]:
    engine = create_engine("sqlite://")
    yield sessionmaker(engine)
    engine.dispose()


def service_on(sessions: sessionmaker[Session]) -> Any:
    class Accounts(SessionAwareService, session_factory=sessions):
        def count(self, *, session: Session = NEW_SESSION) -> int:
            return int(session.connection().exec_driver_sql("SELECT 1").scalar_one())

    return Accounts


def test_manual_call_enters_no_file_of_the_library(sessions: sessionmaker[Session]) -> None:
    accounts = service_on(sessions)()
    with sessions() as session:
        session.connection()  # the library listens when a session takes one, whoever made it
        accounts.count(session=session)  # without a lane the first call is decided, and that is kept
        way = way_of(lambda: accounts.count(session=session))
    method = f"{service_on.__qualname__}.<locals>.Accounts.count"
    assert [file for file, _ in way] == ([""] if IS_ON else ["", "_call/wrapper.py", ""])
    if IS_ON:  # the lambda, the lane in the line of the method's def, and the method
        assert way[0][1][1:] == [method, method]


def test_auto_call_goes_the_way_that_the_manual_shows(sessions: sessionmaker[Session]) -> None:
    page = PACKAGE.joinpath("manual", "inside.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"^```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^(_\w+/\w+\.py) +([\w.]+(?:, [\w.]+)*)", shown, re.MULTILINE)
    accounts = service_on(sessions)()
    accounts.count()  # decides what such a call does, which is kept
    way = way_of(accounts.count)
    assert [entry for entry in way if entry[0]] == [(file, names.split(", ")) for file, names in lines]
