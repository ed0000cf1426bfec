"""One operation to measure, and the loop around it."""

import asyncio
import gc
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, TypeAlias

__all__ = ["CALLS", "NOTHING", "Around", "Case", "Mark"]

Around: TypeAlias = Callable[[], AbstractContextManager[Any] | AbstractAsyncContextManager[Any]]
Mark: TypeAlias = Callable[[], object]

CALLS = 8
"""How often a call in auto mode is repeated: enough, since each takes some 300,000 instructions."""

WARM_UP = 64  # at most: more than the interpreter of 3.11 and later needs to specialise the code

_LOOP = """
{define} loop(times, mark):
    mark()
    for _ in times:
        {statement}
    mark()
"""


@dataclass(frozen=True)
class Case:
    """An operation, as a statement.

    Attributes:
        statement: One line of Python; it may await.
        names: What the statement uses.
        times: How often it is repeated.
        items: By how many the cost is divided.
        is_async: Whether the statement awaits.
        around: Makes what is entered around the loop, such as the unit that calls join.
    """

    statement: str
    names: Mapping[str, object] = field(default_factory=dict)
    times: int = 200
    items: int = 1
    is_async: bool = False
    around: Around = nullcontext

    def measure(self, mark: Mark, *, times: int, rounds: int = 1) -> None:
        """Call ``mark`` before and after ``times`` repetitions, for ``rounds`` times. The collector rests, as in timeit."""
        namespace = dict(self.names)
        define = "async def" if self.is_async else "def"
        exec(_LOOP.format(define=define, statement=self.statement), namespace)  # noqa: S102 - our own text, as timeit does
        loop: Any = namespace["loop"]
        runs = [(min(WARM_UP, 3 * times), _ignore), *repeat((times, mark), rounds)]
        gc.collect()
        gc.disable()
        try:
            if self.is_async:
                asyncio.run(self._await(loop, runs))
            else:
                self._call(loop, runs)
        finally:
            gc.enable()

    def _call(self, loop: Callable[..., object], runs: Iterable[tuple[int, Mark]]) -> None:
        manager = self.around()
        assert isinstance(manager, AbstractContextManager)
        with manager:
            for times, mark in runs:
                loop(repeat(None, times), mark)

    async def _await(self, loop: Callable[..., Any], runs: Iterable[tuple[int, Mark]]) -> None:
        manager = self.around()
        assert isinstance(manager, AbstractAsyncContextManager)
        async with manager:
            for times, mark in runs:
                await loop(repeat(None, times), mark)


NOTHING = Case("pass")
"""What the loop and the marks cost by themselves."""


def _ignore() -> None:
    pass
