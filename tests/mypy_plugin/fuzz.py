"""Run the plugin over mypy's own test data: ``python -m tests.mypy_plugin.fuzz [--cases N] [FOLDER]``.

The programs are in mypy's source distribution, which pip fetches where no folder that holds it is named. Each is checked as
it stands, where the plugin must find nothing, and again with a session in every function and a service of every class, where
it has much to say but must not fail: an error in a rule is not caught here. ``--cases`` takes a sample, spread evenly.
"""

from __future__ import annotations

import ast
import gc
import re
import subprocess
import sys
import tarfile
import tempfile
import warnings
from argparse import ArgumentParser
from collections import Counter
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import mypy.version
from mypy.build import BuildSource, build
from mypy.errors import CompileError
from mypy.options import Options

from tests.mypy_plugin.checking import PATHS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Fuzz", "main", "programs", "with_sessions"]

BATCH: Final = 25
_CASE: Final = re.compile(r"^\[case (\w+)[^\n]*\]\n(.*?)(?=^\[case |\Z)", re.MULTILINE | re.DOTALL)
_SECTION: Final = re.compile(
    r"^\[(?:file|out|builtins|typing|stale|rechecked|targets|delete|triggered)[^\n]*$", re.MULTILINE
)
_NOT_PROGRAMS: Final = ("cmdline", "daemon", "envvars", "stubgen", "stubtest", "pep561", "reports", "parse", "ref-info")
_FINDING: Final = re.compile(r"\[(session-[\w-]+)\]$")
_HEAD: Final = """\
from sqlalchemy.ext.asyncio import AsyncSession as FuzzAsyncSession
from sqlalchemy.orm import Session as FuzzSession
from session_aware import NEW_SESSION as FUZZ_NEW, SessionAwareService as FuzzService, auto_session_func as fuzz_func
"""


def programs(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and source of each program that the running Python can parse."""
    for file in sorted(folder.rglob("*.test")):
        if file.stem.startswith(_NOT_PROGRAMS):
            continue
        for case in _CASE.finditer(file.read_text(encoding="utf-8")):
            source = _SECTION.split(case[2], maxsplit=1)[0].replace("\\[", "[")
            if _is_parsable(source):
                yield f"{file.stem}.{case[1]}", source


def _is_parsable(source: str) -> bool:
    with warnings.catch_warnings(action="ignore"):
        try:
            compile(source, "program", "exec", flags=ast.PyCF_ONLY_AST)
        except (SyntaxError, ValueError):
            return False
    return True


_F = TypeVar("_F", ast.FunctionDef, ast.AsyncFunctionDef)


class _Sessions(ast.NodeTransformer):
    """Declare a session in every function that has none, in turn required, optional and of the other kind."""

    def __init__(self) -> None:
        self.turn = 0
        self.is_in_class = False

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        outside, self.is_in_class = self.is_in_class, True
        self.generic_visit(node)
        self.is_in_class = outside
        if not node.keywords and all(ast.unparse(base) not in {"Enum", "NamedTuple", "TypedDict"} for base in node.bases):
            node.bases.append(ast.Name("FuzzService"))
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return self._changed(node, "FuzzSession")

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        return self._changed(node, "FuzzAsyncSession")

    def _changed(self, node: _F, session: str) -> _F:
        outside, self.is_in_class = self.is_in_class, False
        self.generic_visit(node)
        self.is_in_class = outside
        self.turn += 1
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if all(argument.arg != "session" for argument in every):
            annotation, default = [
                (session, "FUZZ_NEW"),
                (session, ""),
                (f"{session} | None", "None"),
                (f"'{session}'", "FUZZ_NEW"),
                ("FuzzSession" if session == "FuzzAsyncSession" else "FuzzAsyncSession", "FUZZ_NEW"),
            ][self.turn % 5]
            argument = ast.arg("session", ast.parse(annotation, mode="eval").body)
            if self.turn % 11 == 0 and not node.args.defaults:
                node.args.args.append(argument)
            else:
                node.args.kwonlyargs.append(argument)
                node.args.kw_defaults.append(ast.Name(default) if default else None)
        if not self.is_in_class and self.turn % 2:
            node.decorator_list.insert(0, ast.Name("fuzz_func"))
        node.body += ast.parse("session.commit()").body if self.turn % 7 == 0 else []
        return node


def with_sessions(source: str) -> str:
    """Return a program with a session in every function, and a service of every class; empty where that is no program."""
    with warnings.catch_warnings(action="ignore"):
        tree = _Sessions().visit(ast.parse(source))
    changed = _HEAD + ast.unparse(ast.fix_missing_locations(tree))
    return changed if _is_parsable(changed) else ""


class Fuzz:
    """Check programs many at a time, and look for the one where mypy gives up on all.

    Attributes:
        counts: How many programs were checked, refused by mypy itself, and how many findings of each code there are.
        failures: The names of programs in which a rule failed, and its error.
        findings: The lines that report something of ours.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.findings: list[str] = []
        self.folder = folder
        self.cache = cache
        self.configuration = folder / "mypy.ini"
        self.configuration.write_text("[mypy]\nplugins = session_aware.mypy_plugin\n")

    def check(self, batch: Sequence[tuple[str, str]]) -> None:
        """Check some programs as modules of one run, and free what it took, since mypy freezes its trees."""
        self._check(batch)
        gc.unfreeze()
        gc.collect()

    def _check(self, batch: Sequence[tuple[str, str]]) -> None:
        sources = []
        for number, (_, source) in enumerate(batch):
            path = self.folder / f"fuzz_{number}.py"
            path.write_text(source, encoding="utf-8")
            sources.append(BuildSource(str(path), path.stem))
        try:
            found = self._build(sources)
        except CompileError:
            self._apart(batch, "refused by mypy itself")
        except Exception as error:  # noqa: BLE001 - any is what is looked for
            if len(batch) == 1 and self._fails_without(sources):
                self.counts["fail in mypy itself"] += 1
            elif len(batch) == 1:
                self.failures.append(f"{batch[0][0]}: {type(error).__name__}: {error}")
            else:
                self._apart(batch, "")
        else:
            self.counts["checked"] += len(batch)
            ours = [(line, match[1]) for line in found if (match := _FINDING.search(line))]
            self.counts.update(code for _, code in ours)
            self.findings += [line for line, _ in ours]

    def _apart(self, batch: Sequence[tuple[str, str]], reason: str) -> None:
        if len(batch) == 1:
            self.counts[reason] += 1
            return
        middle = len(batch) // 2
        self._check(batch[:middle])
        self._check(batch[middle:])

    def _build(self, sources: list[BuildSource], *, has_plugin: bool = True) -> list[str]:
        options = Options()
        if has_plugin:
            options.config_file = str(self.configuration)
            options.plugins = ["session_aware.mypy_plugin"]
        options.cache_dir = str(self.cache / str(has_plugin))
        options.mypy_path = [str(path) for path in PATHS]
        options.python_executable = sys.executable
        options.check_untyped_defs = options.ignore_missing_imports = True
        options.show_traceback = options.raise_exceptions = True
        with redirect_stderr(StringIO()):  # an error in a rule is reported once, at the end
            return build(sources, options, stderr=StringIO()).errors

    def _fails_without(self, sources: list[BuildSource]) -> bool:
        try:
            self._build(sources, has_plugin=False)
        except CompileError:
            return False
        except Exception:  # noqa: BLE001 - likewise
            return True
        return False


def main(*arguments: str) -> int:
    """Print the counts; return 1 if a rule failed, or found something where there is no session."""
    parser = ArgumentParser(prog="python -m tests.mypy_plugin.fuzz")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--cache", type=Path, help="a folder to keep mypy's caches in (default: they are not kept)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        every = list(programs(options.folder or _fetched(folder)))
        sample = every[:: max(1, len(every) // (options.cases or len(every)))]
        print(f"mypy {mypy.version.__version__}: {len(sample)} of {len(every)} programs")
        cache = options.cache or folder / "cache"
        plain = _run(folder, cache, "as they stand", sample)
        changed = [(name, source) for name, program in sample if (source := with_sessions(program))]
        full = _run(folder, cache, "with sessions", changed)
    return int(bool(plain.failures or plain.findings or full.failures or not full.findings))


def _run(folder: Path, cache: Path, title: str, sample: Sequence[tuple[str, str]]) -> Fuzz:
    fuzz = Fuzz(folder, cache)
    for start in range(0, len(sample), BATCH):
        fuzz.check(sample[start : start + BATCH])
    print(f"{title}: {dict(sorted(fuzz.counts.items()))}, {len(fuzz.failures)} failures of a rule")
    print(*fuzz.failures, sep="\n")
    return fuzz


def _fetched(folder: Path) -> Path:
    """Fetch the source distribution of the running mypy."""
    requirement = f"mypy=={mypy.version.__version__}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "mypy", "--dest", str(folder)]
    subprocess.run([*pip, requirement], check=True)
    with tarfile.open(next(folder.glob("mypy-*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return folder


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
