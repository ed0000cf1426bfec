"""Run mypy with the plugin over a few modules, in this process, so that coverage sees the plugin."""

from __future__ import annotations

import re
import sysconfig
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mypy.api

import session_aware

__all__ = ["HEADER", "PATHS", "Project", "expected"]

_SOURCES: Final = Path(session_aware.__file__).parent.parent
_STUBS: Final = Path(__file__).parent.parent.parent / "stubs"
# Installed it is found anyway, and mypy refuses site-packages as a path.
PATHS: Final = [_STUBS] if Path(sysconfig.get_path("purelib")) == _SOURCES else [_SOURCES, _STUBS]
_FINDING: Final = re.compile(r"^(?P<file>[^:\n]+):(?P<line>\d+): error: (?P<text>.*?)  \[(?P<code>[\w-]+)\]$", re.MULTILINE)
_MARK: Final = re.compile(r"# E: (?P<codes>[\w-]+(?:, [\w-]+)*)")

HEADER: Final = """\
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any, Generic, Optional, Protocol, Self, TypeVar, Union, overload
from sqlalchemy import Engine, select
from sqlalchemy.engine import Result, ScalarResult
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Query, Session
from session_aware import NEW_SESSION, SessionAwareService, auto_session_ctx, auto_session_func
"""

Findings = set[tuple[str, int, str]]


@dataclass
class Project:
    """A folder of modules that are checked together."""

    folder: Path
    cache: Path
    output: str = ""
    shows_traceback: bool = True

    def write(self, name: str, source: str, *, header: str = HEADER) -> Path:
        """Write a module beneath the usual imports."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(header + textwrap.dedent(source), encoding="utf-8")
        return path

    @property
    def modules(self) -> list[Path]:
        """The modules in order."""
        return sorted(path for path in self.folder.rglob("*.py*") if path.suffix in {".py", ".pyi"})

    def arguments(self, *flags: str, configuration: str = "") -> list[str]:
        """Return mypy's command line."""
        ini = self.folder / "mypy.ini"
        ini.write_text(
            f"[mypy]\nplugins = session_aware.mypy_plugin\nmypy_path = {':'.join(map(str, [*PATHS, self.folder]))}\n"
            f"strict = true\npython_version = 3.12\nshow_traceback = {self.shows_traceback}\n"
            f"cache_dir = {self.cache}\n{configuration}\n",
            encoding="utf-8",
        )
        return ["--config-file", str(ini), "--no-error-summary", "--hide-error-context", *flags]

    def check(self, *flags: str, configuration: str = "") -> Findings:
        """Return what mypy reports: module, line, code. The text stays in ``output``."""
        out, err, _ = mypy.api.run([*self.arguments(*flags, configuration=configuration), *map(str, self.modules)])
        assert not err, err
        return self.findings(out)

    def findings(self, output: str) -> Findings:
        """Read mypy's output."""
        assert "Traceback" not in output, output
        self.output = output
        found = [(Path(m["file"]).name, int(m["line"]), _code(m)) for m in _FINDING.finditer(output)]
        assert len(found) == output.count(" error: "), output
        return set(found)

    def expected(self) -> Findings:
        """Return what the modules' own ``# E: code, code`` marks say."""
        return {finding for path in self.modules for finding in expected(path)}

    def verify(self, *flags: str, configuration: str = "") -> None:
        """Check, and demand that exactly the marked lines are reported."""
        found = self.check(*flags, configuration=configuration)
        assert found == self.expected(), self.output


def _code(match: re.Match[str]) -> str:
    """Return the code of a finding as the newest mypy names it."""
    return "call-arg" if match["text"].startswith("Too many positional arguments") else match["code"]  # "misc" in mypy 1.8


def expected(path: Path) -> Findings:
    """Read the marks of one module."""
    lines = path.read_text(encoding="utf-8").splitlines()
    marked = ((number, _MARK.search(line)) for number, line in enumerate(lines, start=1))
    return {(path.name, number, code) for number, mark in marked if mark for code in mark["codes"].split(", ")}
