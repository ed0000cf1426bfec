"""The failure of the fixtures that the user has to override."""

from __future__ import annotations

from typing import NoReturn

import pytest

__all__ = ["refuse_missing"]


def refuse_missing(fixture: str, imports: str, call: str) -> NoReturn:
    """Fail with a message that contains the fixture to write."""
    pytest.fail(
        f"{fixture}: no engine is named for the tests. Write in conftest.py:\n\n"
        f"import pytest\n{imports}\n\n"
        f'@pytest.fixture(scope="session")\n'
        f"def {fixture}():\n"
        f"    return {call}\n",
        pytrace=False,
    )
