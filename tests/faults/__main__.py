"""The harness from the command line.

``python -m tests.faults --all`` plays the matrix; ``--engine``, ``--driver`` and ``--client`` choose from it. It ends with
status 1 if the library did damage, leaked or hung, or if the naive client did no damage in the same run: a harness that
cannot bite proves nothing. So it does if an attack met nobody. ``--seeded`` plays short rounds with faults seeded into the
library, and ends with status 1 unless each is found. ``anomalies`` tells what each engine's isolation levels allow, ``soak``
runs many units without faults and looks at the memory.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from tests.faults import anomalies
from tests.faults.clients import CLIENTS
from tests.faults.journal import HEADER
from tests.faults.round import play
from tests.faults.seeded import try_all
from tests.faults.soak import soak
from tests.faults.stages import DRIVERS, STAGES

if TYPE_CHECKING:
    from tests.faults.journal import Report


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="The bank under faults.")
    parser.add_argument("what", nargs="?", choices=("rounds", "soak", "anomalies"), default="rounds")
    parser.add_argument("--units", type=int, default=200_000, help="of the soak (default: 200000)")
    parser.add_argument("--all", action="store_true", help="play the matrix: every engine with every driver")
    parser.add_argument("--engine", action="append", choices=STAGES, help="default: postgresql")
    parser.add_argument("--driver", action="append", choices=sorted({name for names in DRIVERS.values() for name in names}))
    parser.add_argument("--client", action="append", choices=CLIENTS, help="default: all of them")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each round (default: 10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeded", action="store_true", help="seed faults into the library: each must be found")
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _clients(wanted: list[str] | None, engine: str) -> list[str]:
    return [name for name in CLIENTS if name in (wanted or CLIENTS) and (engine == "postgresql" or "resolve" not in name)]


def _verdicts(reports: list[Report]) -> list[str]:
    """Say what is wrong."""
    wrong = []
    for report in reports:
        where = f"{report.engine} with {report.driver}"
        if report.client.startswith("library") and not report.is_clean:
            wrong.append(f"{where}: {report.client} is not clean")
        if report.client == "naive" and not report.damage:
            wrong.append(f"{where}: naive did no damage, so that the round proves nothing")
        if report.missed:
            wrong.append(f"{where}: {report.client} met too few attacks ({', '.join(report.missed)}) to prove anything")
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Play what is asked for; return the exit status."""
    options = _arguments(arguments)
    logging.disable()  # pools tell of every connection that the adversary cut,
    sys.unraisablehook = lambda _: None  # and Python of every stream that was dropped on one
    engines = list(STAGES) if options.all else options.engine or ["postgresql"]
    if options.what == "soak":
        return _soak(options.units)
    if options.what == "anomalies":
        return _anomalies(options.engine or list(STAGES))
    return _seeded(options) if options.seeded else _rounds(options, engines)


def _seeded(options: argparse.Namespace) -> int:
    wrong = try_all(seconds=options.seconds, seed=options.seed, say=_say)
    for line in wrong:
        _say(f"WRONG: {line}")
    return 1 if wrong else 0


def _soak(units: int) -> int:
    is_clean = True
    for soaked in soak(units):
        _say(str(soaked))
        is_clean = is_clean and soaked.is_clean
    _say("clean" if is_clean else "WRONG: not everything applied, memory not flat, or something left")
    return 0 if is_clean else 1


def _anomalies(engines: list[str]) -> int:
    _say(anomalies.HEADER)
    for found in anomalies.anomalies(engines):
        _say(found.row())
    return 0


def _rounds(options: argparse.Namespace, engines: list[str]) -> int:
    reports: list[Report] = []
    _say(HEADER)
    for engine in engines:
        wanted = DRIVERS[engine] if options.all else options.driver or DRIVERS[engine][:1]
        with STAGES[engine]() as stage:
            for driver in (name for name in wanted if name in DRIVERS[engine]):
                for client in _clients(options.client, engine):
                    reports.append(play(stage, driver, client, seconds=options.seconds, seed=options.seed))
                    _say(reports[-1].row())
                    sys.stderr.write(f"  {engine} {driver} {client}: {reports[-1].attacks}\n")
    wrong = _verdicts(reports)
    for line in wrong:
        _say(f"WRONG: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
