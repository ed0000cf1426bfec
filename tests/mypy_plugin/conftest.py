from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.mypy_plugin.checking import HEADER, Project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mypy cache that holds SQLAlchemy, which takes seconds to analyse."""
    folder = tmp_path_factory.mktemp("warm")
    project = Project(folder / "modules", folder / "cache")
    project.write("warm.py", "", header=HEADER)
    assert project.check() == set()
    return project.cache


@pytest.fixture
def project(tmp_path: Path, cache: Path) -> Project:
    return Project(tmp_path, cache)
