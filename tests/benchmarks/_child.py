"""Measure the runs of a plan, each in a process that is forked from this one, and write the results as JSON.

``_meter`` starts it. All runs share what was imported before the fork: SQLAlchemy, the driver and the database. A fork
also keeps what valgrind has translated, which takes most of the time of a short run, and all begin with the same memory.

Under callgrind a run calls ``os.ctermid`` before and after each loop: a function of the C library that nobody else calls, at
which callgrind is told to write its counts. The parent finds them in the order of the results.
"""

import gc
import json
import os
import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from tests.benchmarks._case import Case

__all__ = ["IMPORT", "NOTHING", "Result", "Run"]

Cases: TypeAlias = "Iterable[tuple[str, str, Case]]"

NOTHING = "nothing"
"""The name of the empty loop among the results."""

IMPORT = "import"
"""The name of the import of a library among the cases."""

_ROUNDS = 5  # of a timed loop, of which the least counts
_SECONDS = 0.02  # that a timed loop takes at least
_METHODS = 200  # at least, to see what memory one takes


class Result(NamedTuple):
    """What one case cost.

    Attributes:
        subject: Who was measured.
        name: The case.
        calls: Under callgrind, by how much the difference of the next two counts is divided; else 0.
        cost: CPU seconds, or bytes; 0 if it stands in callgrind's counts.
    """

    subject: str
    name: str
    calls: int
    cost: float


class Run(NamedTuple):
    """What one forked process measures.

    Attributes:
        module: The module of ``subjects``; empty if the import of the library is measured.
        library: The library that is imported.
        names: The cases, or their sections (``auto:``).
        environment: Variables that tell the module what to prepare.
        place: Where in memory the objects of the run are; each number is another place.
    """

    module: str
    library: str
    names: Sequence[str]
    environment: Mapping[str, str]
    place: int

    @property
    def of(self) -> str:
        """Return the name of the module that it imports first."""
        return f"tests.benchmarks.subjects.{self.module}" if self.module else self.library


def _counted(cases: Cases, nothing: "Case") -> Iterator[Result]:
    measured = 0
    for subject, name, case in sorted(cases, key=lambda one: one[2].times):
        if case.times != measured:
            measured = case.times
            nothing.measure(os.ctermid, times=measured)
            yield Result("", NOTHING, measured, 0)
        case.measure(os.ctermid, times=measured)
        yield Result(subject, name, measured * case.items, 0)


def _timed(cases: Cases, nothing: "Case") -> Iterator[Result]:
    return (_timed_case(*one, nothing) for one in cases)


def _timed_case(subject: str, name: str, case: "Case", nothing: "Case") -> Result:
    times = case.times
    while (seconds := _least_seconds(case, times, 1)) < _SECONDS:
        times *= 2 if seconds * 2 > _SECONDS else 4
    loop = _least_seconds(nothing, times, _ROUNDS)
    return Result(subject, name, 0, max(0.0, _least_seconds(case, times, _ROUNDS) - loop) / times / case.items)


def _least_seconds(case: "Case", times: int, rounds: int) -> float:
    marks: list[float] = []

    def mark() -> None:
        marks.append(time.process_time())

    case.measure(mark, times=times, rounds=rounds)
    return min(after - before for before, after in zip(marks[::2], marks[1::2], strict=True))


def _memory(subject: str, name: str, case: "Case") -> Result:
    define: Any = case.names["define"]
    define()
    tracemalloc.start()
    kept = [define() for _ in range(max(1, _METHODS // case.items))]
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return Result(subject, name.replace("creation", "memory"), 0, size / len(kept) / case.items)


def _import(library: str, *, is_counted: bool) -> Iterator[Result]:
    os.ctermid()
    started = time.process_time()
    __import__(library)
    seconds = time.process_time() - started
    os.ctermid()
    yield Result("", IMPORT, int(is_counted), 0 if is_counted else seconds)


def _cases(module: str, names: Sequence[str]) -> Cases:
    """Yield the cases that are named, or whose section is (``auto:``)."""
    for subject, cases in import_module(module).SUBJECTS.items():
        for name, case in cases.items():
            if name in names or f"{name.partition(':')[0]}:" in names:
                yield subject, name, case


def _measured(run: Run, *, is_counted: bool) -> Iterator[Result]:
    moved = [bytes(size) for size in range(0, 480, 16) for _ in range(61 * run.place)]  # what comes later lies elsewhere
    moved += [getattr(type("Moved", (), {}), "name", b"") for _ in range(97 * run.place)]  # and its types have other numbers
    os.environ.update(run.environment)
    if not run.module:
        yield from _import(run.library, is_counted=is_counted)
        return
    cases = list(_cases(run.of, run.names))
    nothing = import_module("tests.benchmarks._case").NOTHING
    gc.freeze()  # the collection before each loop is dear under valgrind, and has little to find
    yield from (_counted if is_counted else _timed)(cases, nothing)
    yield from (_memory(*one) for one in cases if "define" in one[2].names)
    del moved


def _forked(work: Callable[[], object]) -> int:
    """Do the work in a process of its own; return its number."""
    if process := os.fork():
        return process
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - also what ends a process: this is the last frame of the child
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _write(run: Run, folder: Path, *, is_counted: bool) -> None:
    results = list(_measured(run, is_counted=is_counted))
    (folder / f"{os.getpid()}.json").write_text(json.dumps(results))


def _all(runs: Iterable[tuple[int, Run]], folder: Path, at_once: int, *, is_counted: bool) -> Iterator[tuple[int, int]]:
    """Yield the place of each run in the plan, and the number of its process, when it has ended."""
    under_way: dict[int, int] = {}
    for number, run in runs:
        if len(under_way) == at_once:
            yield _ended(under_way)
        under_way[_forked(lambda run=run: _write(run, folder, is_counted=is_counted))] = number  # type: ignore[misc]
    while under_way:
        yield _ended(under_way)


def _ended(under_way: dict[int, int]) -> tuple[int, int]:
    process, status = os.wait()
    if status:
        sys.exit(f"run {under_way[process]} of the plan failed")
    return under_way.pop(process), process


def main(meter: str, at_once: str, plan: str) -> None:
    """Carry out the plan, a file: imports first, while little is loaded, then the cases."""
    is_counted = meter == "instructions"
    runs = list(enumerate(Run(*one) for one in json.loads(Path(plan).read_text())))
    folder = Path(plan).parent
    import sqlalchemy.orm  # noqa: F401, PLC0415 - what the imports of the libraries are measured over
    import wrapt  # noqa: F401, PLC0415 - likewise

    ended = dict(_all((one for one in runs if not one[1].module), folder, int(at_once), is_counted=is_counted))
    for module in ("_case", "_creation", "_database", "_service"):
        import_module(f"tests.benchmarks.{module}")
    ended.update(_all((one for one in runs if one[1].module), folder, int(at_once), is_counted=is_counted))
    (folder / "ended.json").write_text(json.dumps(ended))


if __name__ == "__main__":
    main(*sys.argv[1:])
