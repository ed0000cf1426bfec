"""The bounds of ``--check``: each a ratio within the run, or a number of instructions."""

import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.benchmarks._meter import Costs

__all__ = ["GATES", "INSTRUCTIONS_PER_MICROSECOND", "Gate", "missed"]

INSTRUCTIONS_PER_MICROSECOND = 9_000
"""What turns counts into time: measured on one 2-core machine, the same for every run so that no clock decides."""

_US = "session-aware"


class Gate(NamedTuple):
    """A bound.

    Attributes:
        name: What is bounded, as PERFORMANCE says it.
        case: The case of this library.
        than: The case and subject that it is divided by; a number if the case's own cost is divided by that.
        bound: The most that is right.
        is_open: Whether the bound itself is too much.
    """

    name: str
    case: str
    than: tuple[str, str]
    bound: float
    is_open: bool = False


def _manual() -> Iterator[Gate]:
    bounds = {"instance method": 2.5, "class method": 2.0, "static method": 2.6}
    bounds["async def"] = 1.3 if sys.version_info >= (3, 12) else 1.45
    for kind, bound in bounds.items():
        yield Gate(f"manual, {kind}: x raw call", f"manual: {kind}", (f"manual: {kind}", "raw call"), bound)
    for peer in ("airflow (1)", "sa-decor"):
        for kind in ("instance method", "class method", "static method"):
            yield Gate(f"manual, {kind}: x {peer}", f"manual: {kind}", (f"manual: {kind}", peer), 0.7)


def _auto() -> Iterator[Gate]:
    for case, what in (("auto: instance method", "empty"), ("auto: select", "select"), ("auto: insert", "insert")):
        yield Gate(f"auto, {what}: x 'with maker.begin()'", case, (case, "by hand"), 1.0)
        for peer in ("oslo.db", "fastapi-transactional", "transactional-boundary"):
            yield Gate(f"auto, {what}: x {peer}", case, (case, peer), 0.9, is_open=True)
    case = "auto: async def"
    yield Gate("auto, async def, empty: x 'async with maker.begin()'", case, (case, "by hand"), 0.8)
