"""The bounds of ``--check``: ratios within one run, and counts that stand for a time."""

import sys
from collections.abc import Collection, Iterator
from typing import NamedTuple

from tests.benchmarks._meter import Child, Costs

__all__ = ["PER_MICROSECOND", "PER_MICROSECOND_COLD", "Gate", "gates", "microseconds", "milliseconds_of_import", "needed"]

PER_MICROSECOND = 9_000
"""Instructions that a microsecond of warm code takes here: a constant, so that no clock decides a gate."""

PER_MICROSECOND_COLD = 6_000
"""The same for imports, whose code runs once."""

_US = "session-aware"
_CREATION = "creation: a method"
_IMPORT = "import"


class Gate(NamedTuple):
    """A bound: what a case costs this library may be ``bound`` at most, or must be below it.

    Attributes:
        case: What is measured.
        of: The subject whose cost is 1; of a time, the subject that is taken off. Empty for none.
        bound: The bound.
        is_open: Whether the bound itself is too much.
        cost: What it costs; None if one of both was not measured.
    """

    case: str
    of: str
    bound: float
    is_open: bool = False
    cost: float | None = None

    @property
    def section(self) -> str:
        """Say to which section of the table it belongs."""
        return "creation" if self.case == _IMPORT else self.case.partition(":")[0]

    @property
    def name(self) -> str:
        """Name it."""
        return {_CREATION: f"{self.case}, us", _IMPORT: "import, ms"}.get(self.case, f"{self.case}, x {self.of}")

    @property
    def is_missed(self) -> bool:
        """Say so; what was not measured is not kept either."""
        if self.cost is None:
            return True
        return self.cost >= self.bound if self.is_open else self.cost > self.bound

    def __str__(self) -> str:
        """Tell it in one line."""
        verdict = "ABSENT" if self.cost is None else "MISSED" if self.is_missed else "kept"
        cost = "?" if self.cost is None else f"{self.cost:.3f}"
        return f"{verdict:6}  {cost:>6} {'<' if self.is_open else '<=':2} {self.bound:<5g} {self.name}"


_COROUTINE = 1.3 if sys.version_info >= (3, 12) else 1.45
_BODIES = {  # a statement costs all of them the same
    "auto: instance method": 0.9,
    "auto: select": 1.0,
    "auto: insert": 1.0,
}
_GATES = (
    Gate("manual: instance method", "raw call", 2.5),
    Gate("manual: class method", "raw call", 2.0),
    Gate("manual: static method", "raw call", 2.6),
    Gate("manual: async def, sent to", "raw call", _COROUTINE),
    *(
        Gate(f"manual: {kind}", peer, 0.7)
        for kind in ("instance method", "class method", "static method")
        for peer in ("airflow's way", "sa-decor")
    ),
    *(Gate(case, "by hand", 1.0) for case in _BODIES),
    *(
        Gate(case, peer, bound, is_open=True)
        for case, bound in _BODIES.items()
        for peer in ("oslo.db", "fastapi-transactional", "transactional-boundary")
    ),
    Gate("auto: async def", "by hand", 0.8),
    Gate(_CREATION, "raw call", 30),
    Gate(_IMPORT, "", 15),
)


def needed(children: Collection[Child], sections: Collection[str]) -> dict[Child, list[str]]:
    """Return the children that the gates of the sections need, each with its cases: all would take minutes more."""
    wanted: dict[Child, list[str]] = {}
    for child in children:
        of_child = [gate for gate in _GATES if gate.section in sections and {gate.of, _US} & set(child.subjects)]
        if of_child:
            wanted[child] = list(dict.fromkeys(gate.case for gate in of_child))
    return wanted


def gates(costs: Costs, sections: Collection[str], *, is_counted: bool) -> Iterator[Gate]:
    """Yield every gate of the sections, with what was measured."""
    for gate in _GATES:
        if gate.section in sections:
            yield gate._replace(cost=_cost(gate, costs, is_counted=is_counted))


def _cost(gate: Gate, costs: Costs, *, is_counted: bool) -> float | None:
    ours, other = costs.get((gate.case, _US)), costs.get((gate.case, gate.of), None if gate.of else 0.0)
    if ours is None or other is None:
        return None
    if gate.case == _CREATION:
        return microseconds(ours - other, is_counted=is_counted)
    return milliseconds_of_import(ours, is_counted=is_counted) if gate.case == _IMPORT else ours / other


def microseconds(cost: float, *, is_counted: bool) -> float:
    """Turn a cost into time."""
    return cost / PER_MICROSECOND if is_counted else cost * 1e6


def milliseconds_of_import(cost: float, *, is_counted: bool) -> float:
    """Turn the cost of an import into time."""
    return cost / PER_MICROSECOND_COLD / 1000 if is_counted else cost * 1000
