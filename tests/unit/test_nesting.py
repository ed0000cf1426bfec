"""``_database.stack``: where a warning points."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from session_aware import NestedSessionWarning
from session_aware._database.stack import warn


def test_warning_points_to_the_line_that_is_neither_ours_nor_plumbing() -> None:
    plumbing: dict[str, Any] = {"__name__": "contextlib", "warn": warn, "NestedSessionWarning": NestedSessionWarning}
    exec("def call():\n    warn('...', NestedSessionWarning)", plumbing)  # noqa: S102 - a frame of contextlib's
    with pytest.warns(NestedSessionWarning) as caught:
        plumbing["call"]()  # the line that is meant
    assert caught[0].filename == __file__
    assert caught[0].lineno == test_warning_points_to_the_line_that_is_neither_ours_nor_plumbing.__code__.co_firstlineno + 4


def test_warning_points_somewhere_even_if_there_is_nothing_but_plumbing() -> None:
    caught: list[warnings.WarningMessage] = []

    def run() -> None:
        with warnings.catch_warnings(record=True) as inside:
            warnings.simplefilter("always")
            warn("...", NestedSessionWarning)
        caught.extend(inside)

    exec("run()", {"__name__": "wrapt", "run": run})  # noqa: S102 - a frame of wrapt's
    assert len(caught) == 1
