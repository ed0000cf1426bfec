"""``python -m session_aware check``: the findings of the mypy plugin, for projects that use another type checker."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "find mistakes in the use of sessions, also in projects that do not use mypy"

_FINDINGS: Final = 1
_FAILED: Final = 2

# Nothing that a project of another checker would have to be changed for: only the findings of the plugin are shown.
_CONFIGURATION: Final = """\
[mypy]
plugins = session_aware.mypy_plugin
cache_dir = .session_aware_cache
check_untyped_defs = True
ignore_missing_imports = True
follow_imports = silent
"""
_OPTIONS: Final = (
    "--no-error-summary",
    "--hide-error-context",
    "--no-pretty",
    "--show-column-numbers",
    "--show-error-codes",
)
_LINE: Final = re.compile(
    r"^(?P<file>.+?):(?P<line>\d+):(?P<column>\d+): error: (?P<message>.*)  \[(?P<code>session-[a-z-]+)\]$",
    re.MULTILINE,
)
_PLUGIN_FAILED: Final = re.compile(r"^.*: note: session_aware\.mypy_plugin .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Finding:
    """A finding; lines and columns count from 1."""

    file: str
    line: int
    column: int
    code: str
    message: str


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = (
        "Check files and folders with the rules of session_aware.mypy_plugin. mypy runs underneath, with a configuration of "
        "its own: that of the project is not read, and mypy's own errors are not shown. The modules that the code imports "
        "must be installed here, or in src. '# type: ignore[session-owned]' switches off what is found in its line. "
        "The exit code is 1 with findings, 2 if mypy is missing or cannot read the code."
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a Python file, or a folder of them")
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="text",
        help="text (the default), json, or github: workflow commands that mark the lines of a pull request",
    )


def run(options: Namespace) -> int:
    """Print the findings.

    Returns:
        0, 1 with findings, 2 without mypy or if it cannot read the code.
    """
    if find_spec("mypy") is None:
        print("check: mypy is not installed. Write \"pip install 'session-aware[check]'\".", file=sys.stderr)  # noqa: T201 - output
        return _FAILED
    missing = [path for path in options.paths if not Path(path).exists()]
    if missing:
        print(f"check: {missing[0]}: there is no such file or folder.", file=sys.stderr)  # noqa: T201 - output
        return _FAILED
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "mypy.ini"
        sources = "mypy_path = src\n" if Path("src").is_dir() else ""
        configuration.write_text(_CONFIGURATION + sources, encoding="utf-8")
        command = [sys.executable, "-m", "mypy", "--config-file", str(configuration), *_OPTIONS, "--", *options.paths]
        done = subprocess.run(command, capture_output=True, check=False, encoding="utf-8", errors="replace")  # noqa: S603 - no shell
    if failed := _PLUGIN_FAILED.search(done.stdout):
        print(f"check: {failed[0]}", file=sys.stderr)  # noqa: T201 - output
        return _FAILED
    if done.returncode not in {0, 1}:
        print(f"check: mypy failed.\n{done.stdout}{done.stderr}", end="", file=sys.stderr)  # noqa: T201 - output
        return _FAILED
    found = [
        _Finding(one["file"], int(one["line"]), int(one["column"]), one["code"], one["message"])
        for one in _LINE.finditer(done.stdout)
    ]
    print(_FORMATS[options.format](found), end="")  # noqa: T201 - the output of the command
    return _FINDINGS if found else 0


def _as_text(findings: list[_Finding]) -> str:
    lines = [f"{one.file}:{one.line}:{one.column}: {one.code}: {one.message}" for one in findings]
    closing = f"{len(findings)} finding{'s' * (len(findings) != 1)}" if findings else "no findings"
    return "\n".join([*lines, closing, ""])


def _as_json(findings: list[_Finding]) -> str:
    return json.dumps([asdict(one) for one in findings], indent=2) + "\n"


def _as_github(findings: list[_Finding]) -> str:
    return "".join(
        f"::error file={_property(one.file)},line={one.line},col={one.column},title={one.code}::{_data(one.message)}\n"
        for one in findings
    )


def _data(value: str) -> str:
    """Escape what a workflow command would read as its end."""
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")


_FORMATS: Final = {"text": _as_text, "json": _as_json, "github": _as_github}
