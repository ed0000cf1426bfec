"""Start the children and read what they measured: by callgrind's counts, or by the least CPU time of several rounds."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeAlias

from tests.benchmarks._child import NOTHING, Result

__all__ = ["CHILDREN", "Child", "Costs", "can_count", "measure", "version"]

Costs: TypeAlias = dict[tuple[str, str], float]
"""(case, subject) -> instructions, or seconds, of one call; of a memory case bytes."""

_ROUNDS = 3
_LAYOUTS = 8
_ROOT = Path(__file__).parents[2]
_NO_LIBRARY = "os"


class Child(NamedTuple):
    """A process that measures a module of ``subjects``.

    Attributes:
        module: The module.
        subjects: Who is measured in it; the library is the first of them.
        library: The module whose import it measures; one that is always there for code without a library.
        distribution: What has to be installed for it, if anything.
        is_close: Whether gates compare it so closely that it is measured several times.
    """

    module: str
    subjects: tuple[str, ...]
    library: str = _NO_LIBRARY
    distribution: str = ""
    is_close: bool = False

    @property
    def is_installed(self) -> bool:
        """Say whether it can be measured here."""
        return not self.distribution or version(self.distribution) is not None


CHILDREN = (
    Child("plain", ("raw call", "by hand", "airflow's way"), is_close=True),
    Child("session_aware", ("session-aware",), "session_aware._declare.service", is_close=True),
    Child("closures", ("functools.wraps closure", "wrapt.decorator")),
    Child("sa_decor", ("sa-decor",), "sa_decor", "sa-decor"),
    Child("oslo", ("oslo.db",), "oslo_db.sqlalchemy.enginefacade", "oslo.db", is_close=True),
    Child("fastapi", ("fastapi-transactional",), "fastapi_transactional", "fastapi-transactional"),
    Child("txbound", ("transactional-boundary",), "txbound", "transactional-boundary"),
    Child("spring", ("sqlalchemy-transactional",), "sqlalchemy_transactional.asyncio", "sqlalchemy-transactional"),
)


def version(distribution: str) -> str | None:
    """Return the version that is installed, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def can_count() -> bool:
    """Say whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def measure(
    wanted: Mapping[Child, Sequence[str]], *, is_counted: bool, is_slow: bool = False, is_exact: bool = False
) -> Costs:
    """Run the children that can be run and return what each case cost.

    Counts do not depend on what else the machine does, so as many children as there are processors run at once. Times do:
    the children take turns, and of the rounds the least counts.

    Args:
        wanted: The processes, each with the cases that it measures, or their sections (``auto:``).
        is_counted: Count instructions; else take times.
        is_slow: Seed a slow-down into this library, see ``subjects.session_aware``.
        is_exact: Count the auto mode of the closest with its objects at several places in memory, and take the least: the
            interpreter's caches go by address, which is worth 2 % of a SELECT.
    """
    environment = {"SEED_SLOW_DOWN": "1"} if is_slow else {}
    once = [_Run(child, tuple(names), environment) for child, names in wanted.items() if child.is_installed]
    costs: Costs = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_compile, [run.child for run in once]))
        if is_counted:
            again = [run for one in once if is_exact and one.child.is_close for run in _elsewhere(one)]
            runs: Iterable[Costs] = list(pool.map(_counted, [*once, *again]))
        else:
            runs = (_timed(run) for _ in range(_ROUNDS) for run in once)
    for run in runs:
        for key, cost in run.items():
            costs[key] = min(cost, costs.get(key, cost))
    for child in wanted:
        if child.library == _NO_LIBRARY:
            costs.pop(("import", child.subjects[0]), None)
    return costs


class _Run(NamedTuple):
    child: Child
    names: tuple[str, ...]
    environment: dict[str, str]


def _elsewhere(run: _Run) -> Iterator[_Run]:
    if of_auto := tuple(name for name in run.names if name.startswith("auto:")):
        for layout in range(1, _LAYOUTS):
            yield _Run(run.child, of_auto, {**run.environment, "LAYOUT": str(layout)})


def _counted(run: _Run) -> Costs:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        valgrind = [
            "valgrind",
            "-q",
            "--tool=callgrind",
            "--dump-line=no",
            "--dump-before=ctermid",
            f"--callgrind-out-file={out}",
        ]
        results = _results(valgrind, run, "instructions")
        files = iter(sorted(out.parent.glob("out.*"), key=lambda file: int(file.suffix[1:])))
        counts = _between_marks(files)
        costs: Costs = {}
        nothing = 0  # what the loop alone counts, which comes before the cases that are repeated as often
        for result in results:
            if not result.calls:
                costs[result.name, result.subject] = result.cost
            elif result.name == NOTHING:
                nothing = next(counts)
            elif result.name == "import":
                costs[result.name, run.child.subjects[0]] = next(counts)
            else:
                costs[result.name, result.subject] = (next(counts) - nothing) / result.calls
    return costs


def _between_marks(files: Iterator[Path]) -> Iterator[int]:
    """Yield the counts of what stood between two marks: every other file, since the first holds the start."""
    for _ in files:
        with next(files).open() as lines:
            yield next(int(line.split()[1]) for line in lines if line.startswith("totals:"))


def _timed(run: _Run) -> Costs:
    results = _results([], run, "seconds")
    return {(result.name, result.subject or run.child.subjects[0]): result.cost for result in results}


def _results(before: list[str], run: _Run, meter: str) -> list[Result]:
    command = ["-m", "tests.benchmarks._child", run.child.module, run.child.library, meter, *run.names]
    printed = _run(run.child, [*before, sys.executable, *command], run.environment)
    return [Result(*one) for one in json.loads(printed)]


def _compile(child: Child) -> None:
    """Import everything once, so that no measured import has to compile."""
    _run(child, [sys.executable, "-c", f"import {child.library}, tests.benchmarks.subjects.{child.module}"], {})


def _run(child: Child, command: list[str], environment: dict[str, str]) -> str:
    path = os.pathsep.join(filter(None, (str(_ROOT / "src"), str(_ROOT), os.environ.get("PYTHONPATH"))))
    fixed = {"PYTHONHASHSEED": "0", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""}
    run = subprocess.run(
        command, cwd=_ROOT, env={**os.environ, **fixed, **environment}, check=False, capture_output=True, text=True
    )
    if run.returncode:
        sys.exit(f"The benchmark of {child.module} failed ({run.returncode}):\n{run.stderr[-2000:]}")
    return run.stdout
