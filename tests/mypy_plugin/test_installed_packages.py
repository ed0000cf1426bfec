from __future__ import annotations

from typing import TYPE_CHECKING

import mypy.api
import pytest

if TYPE_CHECKING:
    from tests.mypy_plugin.checking import Project


@pytest.mark.parametrize("package", ["anyio", "coverage", "pluggy", "psycopg", "wrapt"])
def test_code_without_sessions_is_left_alone(project: Project, package: str) -> None:
    out, err, _ = mypy.api.run([*project.arguments(), "-p", package])
    assert not err
    assert "Traceback" not in out
    assert "[session-" not in out


def test_code_of_sqlalchemy_itself_is_left_alone(project: Project) -> None:
    out, err, _ = mypy.api.run([*project.arguments(), "-p", "sqlalchemy.orm", "-p", "sqlalchemy.ext"])
    assert not err
    assert "Traceback" not in out
    assert "[session-" not in out
