"""``NEW_SESSION``: one object that says what it is for."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any, cast
from unittest import mock

import pytest
from sqlalchemy.orm import Session

from session_aware import NEW_SESSION, SessionParameterError
from session_aware._call.sentinel import is_given

SENTINEL = cast("Any", NEW_SESSION)


def test_new_session_shows_its_name() -> None:
    assert repr(SENTINEL) == str(SENTINEL) == "NEW_SESSION"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_new_session_keeps_its_identity_through_pickle(protocol: int) -> None:
    assert pickle.loads(pickle.dumps(SENTINEL, protocol)) is SENTINEL


def test_new_session_keeps_its_identity_through_copy() -> None:
    assert copy.copy(SENTINEL) is SENTINEL
    assert copy.deepcopy({"session": SENTINEL})["session"] is SENTINEL


@pytest.mark.parametrize("attribute", ["add", "execute", "commit", "_private"])
def test_use_of_new_session_explains_itself(attribute: str) -> None:
    with pytest.raises(SessionParameterError, match=rf"^NEW_SESSION\.{attribute}: "):
        getattr(SENTINEL, attribute)


def test_probes_for_protocols_get_the_usual_answer() -> None:
    assert not hasattr(SENTINEL, "__wrapped__")
    assert getattr(SENTINEL, "__array__", "no") == "no"
    assert inspect.unwrap(SENTINEL) is SENTINEL


def test_new_session_takes_no_attributes() -> None:
    with pytest.raises(AttributeError):
        SENTINEL.autoflush = False


def test_neither_none_nor_new_session_is_given() -> None:
    assert not is_given(None)
    assert not is_given(SENTINEL)


def test_session_is_given_even_if_it_is_false() -> None:
    class Falsy(Session):
        def __bool__(self) -> bool:
            raise AssertionError

    assert is_given(Falsy())
    assert is_given(mock.sentinel.anything)
