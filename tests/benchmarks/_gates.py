"""The bounds of ``--check``: ratios within one run, and counts that stand for a time."""

import sys
from collections.abc import Iterator
from typing import NamedTuple

from tests.benchmarks._meter import Costs

__all__ = ["PER_MICROSECOND", "PER_MICROSECOND_COLD", "Gate", "gates", "microseconds", "milliseconds_of_import"]

PER_MICROSECOND = 9_000
"""Instructions that a microsecond of warm code takes here: a constant, so that no clock decides a gate."""

PER_MICROSECOND_COLD = 6_000
"""The same for imports, whose code runs once."""

_US = "session-aware"


class Gate(NamedTuple):
    """A bound: ``cost`` may be ``bound`` at most, or must be below it."""

    name: str
    cost: float
    bound: float
    is_open: bool = False

    @property
    def is_missed(self) -> bool:
        """Say so."""
        return self.cost >= self.bound if self.is_open else self.cost > self.bound

    def __str__(self) -> str:
        """Tell it in one line."""
        verdict = "MISSED" if self.is_missed else "kept"
        return f"{verdict:6}  {self.cost:6.2f} {'<' if self.is_open else '<='} {self.bound:<5g} {self.name}"


def gates(costs: Costs, *, is_counted: bool) -> Iterator[Gate]:
    """Yield every gate of what was measured."""
    if ("manual: instance method", _US) in costs:
        yield from _manual(costs)
    if ("auto: instance method", _US) in costs:
        yield from _auto(costs)
    if ("creation: a method", _US) in costs:
        over = costs["creation: a method", _US] - costs["creation: a method", "raw call"]
        yield Gate("creation: a method, us", microseconds(over, is_counted=is_counted), 30)
    yield Gate("import, ms", milliseconds_of_import(costs["import", _US], is_counted=is_counted), 15)


def _manual(costs: Costs) -> Iterator[Gate]:
    kinds = {"instance method": 2.5, "class method": 2.0, "static method": 2.6}
    kinds["async def, sent to"] = 1.3 if sys.version_info >= (3, 12) else 1.45
    for kind, bound in kinds.items():
        case = f"manual: {kind}"
        yield Gate(f"{case}, x raw call", _ratio(costs, case, "raw call"), bound)
        for peer in ("airflow (1)", "sa-decor"):
            if (case, peer) in costs:
                yield Gate(f"{case}, x {peer}", _ratio(costs, case, peer), 0.7)


def _auto(costs: Costs) -> Iterator[Gate]:
    for case in ("auto: instance method", "auto: select", "auto: insert"):
        yield Gate(f"{case}, x 'with maker.begin()'", _ratio(costs, case, "by hand"), 1.0)
        for peer in ("oslo.db", "fastapi-transactional", "transactional-boundary"):
            bound = 0.9 if case == "auto: instance method" else 1.0  # a statement costs all of them the same
            yield Gate(f"{case}, x {peer}", _ratio(costs, case, peer), bound, is_open=True)
    case = "auto: async def"
    yield Gate(f"{case}, x 'async with maker.begin()'", _ratio(costs, case, "by hand"), 0.8)


def _ratio(costs: Costs, case: str, subject: str) -> float:
    return costs[case, _US] / costs[case, subject]


def microseconds(cost: float, *, is_counted: bool) -> float:
    """Turn a cost into time."""
    return cost / PER_MICROSECOND if is_counted else cost * 1e6


def milliseconds_of_import(cost: float, *, is_counted: bool) -> float:
    """Turn the cost of an import into time."""
    return cost / PER_MICROSECOND_COLD / 1000 if is_counted else cost * 1000
