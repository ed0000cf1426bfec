"""Have the runs carried out and read what they measured: callgrind's counts, or the least CPU time of several rounds."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from tests.benchmarks._child import IMPORT, NOTHING, Result, Run

__all__ = ["CHILDREN", "PLACES", "Child", "Costs", "can_count", "measure", "version"]

Costs: TypeAlias = dict[tuple[str, str], float]
"""(case, subject) -> instructions, or seconds, of one call; of a memory case bytes."""

PLACES = 3
"""At how many places in memory every case is counted, and how many rounds are timed; the least counts."""

_ROOT = Path(__file__).parents[2]


class Child(NamedTuple):
    """A process that measures a module of ``subjects``.

    Attributes:
        module: The module.
        subjects: Who is measured in it; the library is the first of them.
        library: The module whose import it measures; empty for code without a library.
        distribution: What has to be installed for it, if anything.
        environment: Names and values of variables that tell the module what to prepare.
        places: At how many places in memory its cases are counted at most.
    """

    module: str
    subjects: tuple[str, ...]
    library: str = ""
    distribution: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    places: int = PLACES

    @property
    def is_installed(self) -> bool:
        """Say whether it can be measured here."""
        return not self.distribution or version(self.distribution) is not None


CHILDREN = (
    Child("plain", ("raw call", "by hand", "as most write it", "Airflow's way")),
    Child("session_aware", ("session-aware",), "session_aware._declare.service"),
    Child("closures", ("functools.wraps closure", "wrapt.decorator")),
    Child("sa_decor", ("sa-decor",), "sa_decor", "sa-decor"),
    Child("oslo", ("oslo.db",), "oslo_db.sqlalchemy.enginefacade", "oslo.db"),
    Child("oslo", ("oslo.db, its own engine",), "", "oslo.db", (("OSLO_ENGINE", "own"),)),
    Child("fastapi", ("fastapi-transactional",), "fastapi_transactional", "fastapi-transactional"),
    Child("txbound", ("transactional-boundary",), "txbound", "transactional-boundary"),
    Child("spring", ("sqlalchemy-transactional",), "sqlalchemy_transactional.asyncio", "sqlalchemy-transactional"),
    Child("growth", ("10 methods", "100 methods", "1,000 methods"), places=1),
    Child("others", ("never imported",), environment=(("OTHERS", "never imported"),)),
    Child("others", ("used on another engine",), environment=(("OTHERS", "used on another engine"),)),
    Child("others", ("used on the same engine",), environment=(("OTHERS", "used on the same engine"),)),
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


def measure(wanted: Mapping[Child, Sequence[str]], *, is_counted: bool, slow: str = "", places: int = PLACES) -> Costs:
    """Run the children that can be run and return what each case cost.

    Counts do not depend on what else the machine does, so as many runs as there are processors take place at once. The
    interpreter's caches go by address, which is worth 2 % of a SELECT, so every case is counted at several places in memory.
    Times do depend on it: the children take turns, and of the rounds the least counts.

    Args:
        wanted: The processes, each with the cases that it measures, or their sections (``auto:``).
        is_counted: Count instructions; else take times.
        slow: The path into which a slow-down is seeded, see ``subjects.session_aware``; empty for none.
        places: How many places, or rounds.
    """
    installed = {child: names for child, names in wanted.items() if child.is_installed}
    plan = [
        one
        for place in range(places)
        for child, names in installed.items()
        if place < child.places
        for one in _runs(child, names, slow, place)
    ]
    with tempfile.TemporaryDirectory() as folder:
        costs: Costs = {}
        for child, found in _carried_out(plan, Path(folder), is_counted=is_counted):
            for (name, subject), cost in found:
                key = (name, subject or child.subjects[0])
                costs[key] = min(cost, costs.get(key, cost))
    return costs


_Cost: TypeAlias = tuple[tuple[str, str], float]


def _runs(child: Child, names: Sequence[str], slow: str, place: int) -> Iterator[tuple[Child, Run]]:
    environment = {**dict(child.environment), "SEED_SLOW_DOWN": slow}
    if child.library and {IMPORT, "creation:"} & set(names):
        yield child, Run("", child.library, (), environment, place)
    if cases := [name for name in names if name != IMPORT]:
        yield child, Run(child.module, child.library, cases, environment, place)


def _carried_out(
    plan: Sequence[tuple[Child, Run]], folder: Path, *, is_counted: bool
) -> Iterator[tuple[Child, Iterable[_Cost]]]:
    file = folder / "plan.json"
    file.write_text(json.dumps([run for _, run in plan]))
    out = f"--callgrind-out-file={folder}/out.%p"
    valgrind = ["valgrind", "-q", "--tool=callgrind", "--dump-line=no", "--dump-before=ctermid", out] if is_counted else []
    meter, at_once = ("instructions", os.cpu_count() or 1) if is_counted else ("seconds", 1)
    _python([], "-c", _COMPILE, *sorted({run.of for _, run in plan}))
    _python(valgrind, "-m", "tests.benchmarks._child", meter, str(at_once), str(file))
    ended = json.loads((folder / "ended.json").read_text())
    for number, (child, _) in enumerate(plan):
        process = ended[str(number)]
        results = [Result(*one) for one in json.loads((folder / f"{process}.json").read_text())]
        yield child, _costs(results, _between_marks(folder, process))


# What is imported under valgrind was compiled before.
_COMPILE = """\
import os, sys, importlib
for module in sys.argv[1:]:
    if not os.fork():
        importlib.import_module(module)
        os._exit(0)
    os.wait()
"""


def _costs(results: Iterable[Result], counts: Iterator[int]) -> Iterator[_Cost]:
    nothing = 0  # what the loop alone counts, which comes before the cases that are repeated as often
    for result in results:
        if not result.calls:
            yield (result.name, result.subject), result.cost
        elif result.name == NOTHING:
            nothing = next(counts)
        else:
            loop = 0 if result.name == IMPORT else nothing
            yield (result.name, result.subject), (next(counts) - loop) / result.calls


def _between_marks(folder: Path, process: int) -> Iterator[int]:
    """Yield the counts of what stood between two marks: every other file, since the first holds the start."""
    files = iter(sorted(folder.glob(f"out.{process}.*"), key=lambda file: int(file.suffix[1:])))
    for _ in files:
        with next(files).open() as lines:
            yield next(int(line.split()[1]) for line in lines if line.startswith("totals:"))


def _python(before: Sequence[str], *arguments: str) -> None:
    path = os.pathsep.join(filter(None, (str(_ROOT / "src"), str(_ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""}
    command = [*before, sys.executable, *arguments]
    run = subprocess.run(command, cwd=_ROOT, env=environment, check=False, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"The benchmark failed ({run.returncode}):\n{run.stderr[-3000:]}")
