"""The bounds of ``--check``: ratios within one run, and counts that stand for a time."""

import sys
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from tests.benchmarks._child import IMPORT
from tests.benchmarks._meter import Child, Costs

__all__ = [
    "KNOWN",
    "PER_MICROSECOND",
    "PER_MICROSECOND_COLD",
    "Gate",
    "Known",
    "gates",
    "microseconds",
    "milliseconds_of_import",
    "needed",
]

PER_MICROSECOND = 9_000
"""Instructions that a microsecond of warm code takes here: a constant, so that no clock decides a gate."""

PER_MICROSECOND_COLD = 6_000
"""The same for imports, whose code runs once."""

_US = "session-aware"
_CREATION = "creation: a method"
_EMPTY = "options: empty unit"


class Known(NamedTuple):
    """Why a gate is missed today.

    Attributes:
        bound: What the cost must not exceed meanwhile.
        reason: What costs it, in one sentence.
    """

    bound: float
    reason: str


_CHECKS = "the look up the stack is a tenth of an empty unit, the rest some sixty calls that decide, watch and check"
_PLACES = (
    "no code of the library runs there but SQLAlchemy's for the one listener on all engines; 1 to 2 % are places in memory"
)

KNOWN: Mapping[str, Known] = {
    "manual: instance method, x raw call": Known(2.6, "a call of CPython 3.14 costs more of a shorter whole"),
    "auto: instance method, x by hand": Known(1.32, _CHECKS),
    "auto: select, x by hand": Known(1.14, _CHECKS),
    "auto: insert, x by hand": Known(1.08, _CHECKS),
    "auto: async def, x by hand": Known(1.21, _CHECKS),
    "auto: async def, select, x by hand": Known(1.08, _CHECKS),
    "auto: async def, insert, x by hand": Known(1.07, _CHECKS),
    "auto: instance method, x oslo.db": Known(1.12, _CHECKS),
    "auto: select, x oslo.db": Known(1.09, _CHECKS),
    "auto: insert, x oslo.db": Known(1.05, _CHECKS),
    "auto: instance method, x fastapi-transactional": Known(1.06, _CHECKS),
    "auto: select, x fastapi-transactional": Known(1.05, _CHECKS),
    "auto: insert, x fastapi-transactional": Known(1.03, _CHECKS),
    "auto: async def, x fastapi-transactional": Known(1.16, _CHECKS),
    "options: block, given, x by hand": Known(7.6, "an open block is noted, so that a forgotten session inside it is found"),
    **{
        f"others: {work}, used on {engine} engine, x never imported": Known(1.04, _PLACES)
        for work in ("commit", "ORM select", "Core statement")
        for engine in ("another", "the same")
    },
    "creation: a method, us": Known(36, "each method is read, refused or wrapped, and gets a lane and a wrapper of its own"),
}
"""Gates that are known to be missed, on one interpreter at least, by name. Remove a line when its gate is kept on all."""


class Gate(NamedTuple):
    """A bound: what a case costs a subject may be ``bound`` times the reference at most, or must be below it.

    Attributes:
        case: What is measured.
        of: The subject whose cost is 1; of a time, the subject that is taken off. Empty for none.
        bound: The bound.
        is_open: Whether the bound itself is too much.
        of_case: The case of the reference; empty if it is the same.
        who: The subject that is measured.
        cost: What it costs; None if one of both was not measured.
        known: Why it is missed today, if that is known.
    """

    case: str
    of: str
    bound: float
    is_open: bool = False
    of_case: str = ""
    who: str = _US
    cost: float | None = None
    known: Known | None = None

    @property
    def section(self) -> str:
        """Say to which section of the table it belongs."""
        return "creation" if self.case == IMPORT else self.case.partition(":")[0]

    @property
    def name(self) -> str:
        """Name it."""
        if self.case in {_CREATION, IMPORT}:
            return f"{self.case}, {'us' if self.case == _CREATION else 'ms'}"
        who = "" if self.who == _US else f", {self.who}"
        return f"{self.case}{who}, x {'the empty unit' if self.of_case == _EMPTY else self.of}"

    @property
    def is_kept(self) -> bool:
        """Say so; what was not measured is not kept."""
        if self.cost is None:
            return False
        return self.cost < self.bound if self.is_open else self.cost <= self.bound

    @property
    def is_missed(self) -> bool:
        """Say whether the check fails by it: it is not kept, and that is not known or worse than what is known."""
        return not self.is_kept and not self.is_known

    @property
    def is_known(self) -> bool:
        """Say whether it is missed as is known."""
        return not self.is_kept and self.cost is not None and self.known is not None and self.cost <= self.known.bound

    def __str__(self) -> str:
        """Tell it in one line."""
        verdict = "ABSENT" if self.cost is None else "MISSED" if self.is_missed else "KNOWN" if self.is_known else "kept"
        cost = "?" if self.cost is None else f"{self.cost:.3f}"
        known = "" if self.is_kept or self.known is None else f"; known up to {self.known.bound:g}: {self.known.reason}"
        return f"{verdict:6}  {cost:>6} {'<' if self.is_open else '<=':2} {self.bound:<5g} {self.name}{known}"


_COROUTINE = 1.3 if sys.version_info >= (3, 12) else 1.45
_BODIES = ("auto: instance method", "auto: select", "auto: insert")
_ASYNC_BODIES = ("auto: async def", "auto: async def, select", "auto: async def, insert")
# Which bodies: a statement costs all the same. sa-decor and Airflow's way leave out what the notes of the table say.
_PEERS = {
    "oslo.db": _BODIES,
    "fastapi-transactional": (*_BODIES, "auto: async def"),
    "transactional-boundary": _BODIES,
    "sqlalchemy-transactional": ("auto: async def",),
}
_GATES = (
    Gate("manual: instance method", "raw call", 2.5),
    Gate("manual: class method", "raw call", 2.0),
    Gate("manual: static method", "raw call", 2.6),
    Gate("manual: async def, sent to", "raw call", _COROUTINE),
    *(
        Gate(f"manual: {kind}", peer, 0.7)
        for kind in ("instance method", "class method", "static method")
        for peer in ("Airflow's way", "sa-decor")
    ),
    *(Gate(case, "by hand", 1.0) for case in (*_BODIES, *_ASYNC_BODIES)),
    *(Gate(case, peer, 1.0, is_open=True) for peer, cases in _PEERS.items() for case in cases),
    Gate("options: block, given", "by hand", 3.0),
    Gate("options: after_commit", _US, 1.1, of_case=_EMPTY),
    Gate("options: retry", _US, 1.1, of_case=_EMPTY),
    *(
        Gate(f"others: {work}", "never imported", 1.01, who=f"used on {engine} engine")
        for engine in ("another", "the same")
        for work in ("commit", "ORM select", "Core statement")
    ),
    Gate(_CREATION, "raw call", 30),
    Gate(IMPORT, "", 15),
)


def needed(children: Collection[Child], sections: Collection[str]) -> dict[Child, list[str]]:
    """Return the children that the gates of the sections need, each with its cases: all would take minutes more."""
    wanted: dict[Child, list[str]] = {}
    for child in children:
        subjects = set(child.subjects)
        cases: dict[str, None] = {}
        for gate in _GATES:
            if gate.section in sections:
                cases |= {gate.case: None} if gate.who in subjects else {}
                cases |= {gate.of_case or gate.case: None} if gate.of in subjects else {}
        if cases:
            wanted[child] = list(cases)
    return wanted


def gates(costs: Costs, sections: Collection[str], *, is_counted: bool) -> Iterator[Gate]:
    """Yield every gate of the sections, with what was measured."""
    for gate in _GATES:
        if gate.section in sections:
            yield gate._replace(cost=_cost(gate, costs, is_counted=is_counted), known=KNOWN.get(gate.name))


def _cost(gate: Gate, costs: Costs, *, is_counted: bool) -> float | None:
    ours = costs.get((gate.case, gate.who))
    other = costs.get((gate.of_case or gate.case, gate.of), None if gate.of else 0.0)
    if ours is None or other is None:
        return None
    if gate.case == _CREATION:
        return microseconds(ours - other, is_counted=is_counted)
    return milliseconds_of_import(ours, is_counted=is_counted) if gate.case == IMPORT else ours / other


def microseconds(cost: float, *, is_counted: bool) -> float:
    """Turn a cost into time."""
    return cost / PER_MICROSECOND if is_counted else cost * 1e6


def milliseconds_of_import(cost: float, *, is_counted: bool) -> float:
    """Turn the cost of an import into time."""
    return cost / PER_MICROSECOND_COLD / 1000 if is_counted else cost * 1000
