from __future__ import annotations

from typing import TYPE_CHECKING

import mypy.api

if TYPE_CHECKING:
    from tests.mypy_plugin.checking import Project


def test_code_without_sessions_and_sqlalchemy_itself_are_left_alone(project: Project) -> None:
    packages = ["anyio", "coverage", "pluggy", "psycopg", "wrapt", "sqlalchemy.orm", "sqlalchemy.ext"]
    out, err, _ = mypy.api.run([*project.arguments(), *(f"--package={package}" for package in packages)])
    assert not err
    assert "Traceback" not in out
    assert "[session-" not in out
