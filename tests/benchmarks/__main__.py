"""``python -m tests.benchmarks``: print the tables, and with ``--check`` the gates that are missed."""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.benchmarks import _lists
from tests.benchmarks._gates import gates, needed
from tests.benchmarks._meter import CHILDREN, PLACES, can_count, measure, version
from tests.benchmarks._table import notes, tables

_SECTIONS = ("manual", "auto", "options", "others", "creation", "growth")
_UNCOUNTED = "valgrind is not installed, so no gate can be counted; --time takes CPU times instead, which vary"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; return 1 if a gate is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"one or more of {', '.join(_SECTIONS)}; all by default"
    )
    parser.add_argument("--check", action="store_true", help="measure what the gates need, and exit with 1 if one is missed")
    parser.add_argument("--time", action="store_true", help="take CPU times even where valgrind is installed")
    parser.add_argument(
        "--slow",
        choices=("manual", "auto"),
        default="",
        help="seed a slow-down into the path of this mode, so that --check must fail",
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(_SECTIONS):
        parser.error(f"unknown section: {', '.join(sorted(unknown))}")
    sections = tuple(options.sections) or _SECTIONS
    if options.check and not needed(CHILDREN, sections):
        parser.error(f"no gate is in: {', '.join(sections)}")
    is_counted = can_count() and not options.time
    print(heading(is_counted=is_counted), flush=True)
    if options.check:
        if not (is_counted or options.time):
            print(_UNCOUNTED)
            return 1
        return _check(sections, is_counted=is_counted, slow=options.slow)
    wanted = {child: [f"{section}:" for section in sections] for child in CHILDREN}
    print(tables(measure(wanted, is_counted=is_counted, slow=options.slow), is_counted=is_counted))
    if "growth" in sections:
        print(_lists.table())
    print(notes(sections, is_counted=is_counted))
    return 0


def _check(sections: Sequence[str], *, is_counted: bool, slow: str) -> int:
    costs = measure(needed(CHILDREN, sections), is_counted=is_counted, slow=slow)
    found = list(gates(costs, sections, is_counted=is_counted))
    print(*found, "", sep="\n")
    missed = sum(gate.is_missed for gate in found)
    absent = sum(gate.cost is None for gate in found)
    known = sum(gate.is_known for gate in found)
    if missed:
        print(f"{missed} gate(s) missed, {absent} of them since a library is not installed")
    elif known:
        print(f"{known} gate(s) are missed as is known, the others are kept")
    else:
        print("every gate is kept")
    return int(bool(missed))


def heading(*, is_counted: bool) -> str:
    """Say what measures, where, and which versions; and which libraries are left out."""
    meter = f"Instructions (callgrind), the least of {PLACES} places in memory" if is_counted else "Least CPU time of rounds"
    machine = f"CPython {platform.python_version()} on {platform.machine()}, {platform.system()}, {os.cpu_count()} cores"
    peers = list(dict.fromkeys(child.distribution for child in CHILDREN if child.distribution))
    names = ["sqlalchemy", "wrapt", *(peer for peer in peers if version(peer) is not None)]
    lines = [
        f"{meter}; {datetime.now(UTC):%Y-%m-%d}, {machine}, SQLite in memory, the garbage collector rests.",
        ", ".join(f"{name} {version(name)}" for name in names) + ".",
        *(f"{peer} is not installed: its lines are left out." for peer in peers if version(peer) is None),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
