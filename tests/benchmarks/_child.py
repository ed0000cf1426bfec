"""Measure one module of ``subjects`` in this process, and print the results as JSON; ``_meter`` starts it.

Under callgrind it calls ``os.ctermid`` before and after each loop: a function of the C library that nobody else calls, at
which callgrind is told to write its counts. The parent finds them in the order of what is printed.
"""

import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.benchmarks._case import Case

__all__ = ["Result"]

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


def _counted(name: str, subject: str, case: "Case", nothing: "Case") -> Result:
    nothing.measure(os.ctermid, times=case.times)
    case.measure(os.ctermid, times=case.times)
    return Result(subject, name, case.times * case.items, 0)


def _timed(name: str, subject: str, case: "Case", nothing: "Case") -> Result:
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


def _cases(module: str, prefixes: tuple[str, ...]) -> Iterator[tuple[str, str, "Case"]]:
    for subject, cases in import_module(f"tests.benchmarks.subjects.{module}").SUBJECTS.items():
        yield from ((subject, name, case) for name, case in cases.items() if name.startswith(prefixes))


def main(module: str, library: str, meter: str, *prefixes: str) -> None:
    """Measure the import of ``library`` first, while it is new, then the cases whose names start with a prefix."""
    is_counted = meter == "instructions"
    moved = [bytes(500) for _ in range(97 * int(os.environ.get("LAYOUT", "0")))]  # what comes later lies elsewhere
    results = [_import(library, is_counted=is_counted)]
    measured: Callable[..., Result] = _counted if is_counted else _timed
    cases = list(_cases(module, prefixes))
    nothing = import_module("tests.benchmarks._case").NOTHING
    results += [measured(name, subject, case, nothing) for subject, name, case in cases]
    results += [_memory(subject, case) for subject, name, case in cases if name.startswith("creation")]
    json.dump(results, sys.stdout)
    del moved


if __name__ == "__main__":
    main(*sys.argv[1:])
