from __future__ import annotations

from typing import TYPE_CHECKING

from session_aware.mypy_plugin import _rules
from tests.mypy_plugin.fuzz import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

DATA = """\
-- Comments stand between the cases.

[case testMethods]
import helper
class Animal:
    def eat(self) -> int:
        return helper.amount()
class Cat(Animal):
    async def purr(self) -> int:
        return self.eat()
    def hunt(self) -> int: return 1
    def sleep(self) -> int: return 1
    def eat(self) -> int:
        return super().eat()
Cat().eat("too much")  # E: Too many arguments for "eat" of "Cat"
[file helper.py]
def amount() -> int: return 1
[out]

[case testRefusedByMypy]
def f(x, *): ...
[case testBlocked]
await x
"""


def test_programs_are_checked_as_they_stand_and_with_sessions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "check-some.test").write_text(DATA)
    (tmp_path / "cmdline.test").write_text(DATA)
    cache = f"--cache={tmp_path / 'cache'}"
    assert main(str(tmp_path), cache) == 0
    head, plain, _, changed, _ = capsys.readouterr().out.splitlines()
    assert head.endswith(": 2 of 2 programs")
    assert plain == "as they stand: {'checked': 2}, 0 failures of a rule"
    assert changed.startswith("with sessions: {'checked': 2, 'session-")
    assert changed.endswith(", 0 failures of a rule")

    def fails(*_: object) -> bool:
        msg = "seeded"
        raise ValueError(msg)

    monkeypatch.setattr(_rules, "is_service", fails)
    assert main(str(tmp_path), cache) == 1
    assert "check-some.testMethods: ValueError: seeded" in capsys.readouterr().out
