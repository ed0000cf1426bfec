"""``python -m tests.benchmarks``: print the table, the growth, and with ``--check`` the gates that are missed."""

import argparse
import importlib.metadata
import platform
import sys
from datetime import UTC, datetime

from tests.benchmarks import _growth
from tests.benchmarks._gates import gates
from tests.benchmarks._meter import CHILDREN, can_count, measure
from tests.benchmarks._table import table

_SECTIONS = ("manual", "auto", "creation", "growth")
_GATED = (  # the cases that a gate names; the others would take most of the time
    *(f"manual: {kind}" for kind in ("instance method", "class method", "static method", "async def, sent to")),
    *(f"auto: {kind}" for kind in ("instance method", "select", "insert", "async def")),
    "creation: a method",
)
_LIBRARIES = (
    "sqlalchemy",
    "wrapt",
    "sa-decor",
    "oslo.db",
    "transactional-boundary",
    "fastapi-transactional",
    "sqlalchemy-transactional",
)


def main() -> int:
    """Measure what the command line asks for; return 1 if a gate is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"one or more of {', '.join(_SECTIONS)}; all by default"
    )
    parser.add_argument("--check", action="store_true", help="measure what the gates need, and exit with 1 if one is missed")
    parser.add_argument("--time", action="store_true", help="take CPU times even where valgrind is installed")
    parser.add_argument(
        "--slow", action="store_true", help="seed one dict copy into the manual path, so that --check must fail"
    )
    options = parser.parse_args()
    if unknown := set(options.sections) - set(_SECTIONS):
        parser.error(f"unknown section: {', '.join(sorted(unknown))}")
    is_counted = can_count() and not options.time
    sections = tuple(options.sections) or _SECTIONS
    print(_heading(is_counted=is_counted))
    if options.check:
        return _check(sections, is_counted=is_counted, is_slow=options.slow)
    if names := tuple(f"{section}:" for section in sections if section != "growth"):
        print(table(measure(CHILDREN, names, is_counted=is_counted, is_slow=options.slow), is_counted=is_counted))
    if "growth" in sections:
        _growth.main()
    return 0


def _check(sections: tuple[str, ...], *, is_counted: bool, is_slow: bool) -> int:
    children = [child for child in CHILDREN if child.is_gated]
    names = [name for name in _GATED if name.partition(":")[0] in sections]
    costs = measure(children, names, is_counted=is_counted, is_slow=is_slow, is_exact=True)
    missed = 0
    for gate in gates(costs, is_counted=is_counted):
        print(gate)
        missed += gate.is_missed
    print(f"\n{missed} gate(s) missed" if missed else "\nevery gate is kept")
    return int(bool(missed))


def _heading(*, is_counted: bool) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES)
    meter = "instructions (callgrind)" if is_counted else "least CPU time of interleaved rounds"
    system = f"{platform.machine()}, {platform.system()}"
    return f"CPython {platform.python_version()} on {system}; {meter}; {datetime.now(UTC):%Y-%m-%d}\n{versions}\n"


if __name__ == "__main__":
    sys.exit(main())
