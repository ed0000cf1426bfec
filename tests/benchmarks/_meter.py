"""Start the children and read what they measured: by callgrind's counts, or by the least CPU time of several rounds."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeAlias

from tests.benchmarks._child import NOTHING, Result

__all__ = ["CHILDREN", "Child", "Costs", "can_count", "measure"]

Costs: TypeAlias = dict[tuple[str, str], float]
"""(case, subject) -> instructions, or seconds, of one call; of a memory case bytes."""

_ROUNDS = 3
_LAYOUTS = 2
_ROOT = Path(__file__).parents[2]


class Child(NamedTuple):
    """A process that measures a module of ``subjects``.

    Attributes:
        module: The module.
        library: The library whose import it measures.
        imported_as: The subject whose import that is; empty for none.
        is_close: Whether gates compare it so closely that it is measured several times.
        is_gated: Whether a gate needs it at all.
    """

    module: str
    library: str
    imported_as: str
    is_close: bool = False
    is_gated: bool = True


CHILDREN = (
    Child("plain", "os", "", is_close=True),
    Child("session_aware", "session_aware._service", "session-aware", is_close=True),
    Child("closures", "os", "", is_gated=False),
    Child("sa_decor", "sa_decor", "sa-decor"),
    Child("oslo", "oslo_db.sqlalchemy.enginefacade", "oslo.db"),
    Child("ambient", "fastapi_transactional", "fastapi-transactional"),
    Child("txbound", "txbound", "transactional-boundary"),
)


def can_count() -> bool:
    """Say whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def measure(
    children: Sequence[Child], names: Iterable[str], *, is_counted: bool, is_slow: bool = False, is_exact: bool = False
) -> Costs:
    """Run the children and return what each case cost.

    Counts do not depend on what else the machine does, so as many children as there are processors run at once. Times do:
    the children take turns, and of the rounds the least counts.

    Args:
        children: The processes.
        names: The cases that are measured, or their sections (``auto:``).
        is_counted: Count instructions; else take times.
        is_slow: Seed a slow-down into this library, see ``subjects.session_aware``.
        is_exact: Count the auto mode of the closest with its objects at several places in memory, and take the least: the
            interpreter's caches go by address, which is worth 2 % of a SELECT.
    """
    names = tuple(names)
    of_auto = tuple(name for name in names if name.startswith("auto:"))
    costs: Costs = {}
    environment = {"SEED_SLOW_DOWN": "1"} if is_slow else {}
    for child in children:
        _compile(child)
    if is_counted:
        once = [(child, names, environment) for child in children]
        again = [
            (child, of_auto, {**environment, "LAYOUT": str(layout)})
            for child in children
            for layout in range(1, _LAYOUTS if is_exact and child.is_close and of_auto else 1)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            runs: Iterable[Costs] = list(pool.map(_counted, *zip(*once, *again, strict=True)))
    else:
        runs = (_timed(child, names, environment) for _ in range(_ROUNDS) for child in children)
    for run in runs:
        for key, cost in run.items():
            costs[key] = min(cost, costs.get(key, cost))
    return costs


def _counted(child: Child, names: tuple[str, ...], environment: dict[str, str]) -> Costs:
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
        results = _results(valgrind, child, "instructions", names, environment)
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
                costs[result.name, child.imported_as] = next(counts)
            else:
                costs[result.name, result.subject] = (next(counts) - nothing) / result.calls
    return costs


def _between_marks(files: Iterator[Path]) -> Iterator[int]:
    """Yield the counts of what stood between two marks: every other file, since the first holds the start."""
    for _ in files:
        with next(files).open() as lines:
            yield next(int(line.split()[1]) for line in lines if line.startswith("totals:"))


def _timed(child: Child, names: tuple[str, ...], environment: dict[str, str]) -> Costs:
    results = _results([], child, "seconds", names, environment)
    return {(result.name, result.subject or child.imported_as): result.cost for result in results}


def _results(
    before: list[str], child: Child, meter: str, names: tuple[str, ...], environment: dict[str, str]
) -> list[Result]:
    command = ["-m", "tests.benchmarks._child", child.module, child.library, meter, *names]
    return [Result(*one) for one in json.loads(_run(child, [*before, sys.executable, *command], environment))]


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
        sys.exit(f"The benchmark of {child.module} failed:\n{run.stderr[-2000:]}")
    return run.stdout
