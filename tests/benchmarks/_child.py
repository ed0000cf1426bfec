"""Measure one module of ``subjects`` in this process, and print the results as JSON; ``_meter`` starts it.

Under callgrind it calls ``os.ctermid`` before and after each loop: a function of the C library that nobody else calls, at
which callgrind is told to write its counts. The parent finds them in the order of what is printed.
"""

import json
import os
import sys
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from tests.benchmarks._case import Case

__all__ = ["NOTHING", "Result"]

Cases: TypeAlias = "Iterable[tuple[str, str, Case]]"

NOTHING = "nothing"
"""The name of the empty loop among the results."""

_ROUNDS = 5  # of a timed loop, of which the least counts
_SECONDS = 0.02  # that a timed loop takes at least
_CLASSES = 10  # to see what memory a method takes


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


def _memory(subject: str, case: "Case") -> Result:
    define: Any = case.names["define"]
    define()
    tracemalloc.start()
    kept = [define() for _ in range(_CLASSES)]
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return Result(subject, "memory: a method", 0, size / len(kept) / case.items)


def _import(library: str, *, is_counted: bool) -> Result:
    import sqlalchemy.orm  # noqa: F401, PLC0415 - what the imports of the libraries are measured over
    import wrapt  # noqa: F401, PLC0415 - likewise

    os.ctermid()
    started = time.process_time()
    __import__(library)
    seconds = time.process_time() - started
    os.ctermid()
    return Result("", "import", int(is_counted), 0 if is_counted else seconds)


def _cases(module: str, names: tuple[str, ...]) -> Cases:
    """Yield the cases that are named, or whose section is (``auto:``)."""
    for subject, cases in import_module(f"tests.benchmarks.subjects.{module}").SUBJECTS.items():
        for name, case in cases.items():
            if name in names or f"{name.partition(':')[0]}:" in names:
                yield subject, name, case


def main(module: str, library: str, meter: str, *names: str) -> None:
    """Measure the import of ``library`` first, while it is new, then the cases that are named."""
    is_counted = meter == "instructions"
    layout = int(os.environ.get("LAYOUT", "0"))
    moved = [bytes(size) for size in range(0, 480, 16) for _ in range(61 * layout)]  # what comes later lies elsewhere
    moved += [getattr(type("Moved", (), {}), "name", b"") for _ in range(97 * layout)]  # and its types have other numbers
    results = [_import(library, is_counted=is_counted)]
    cases = list(_cases(module, names))
    nothing = import_module("tests.benchmarks._case").NOTHING
    results += (_counted if is_counted else _timed)(cases, nothing)
    results += [_memory(subject, case) for subject, name, case in cases if name.startswith("creation")]
    json.dump(results, sys.stdout)
    del moved


if __name__ == "__main__":
    main(*sys.argv[1:])
