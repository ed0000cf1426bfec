"""How often the compiler is called for methods with different parameter lists. It is counted: no clock decides.

Every class is made twice, all of them once before the first comes again, as a program does that makes its classes anew.
"""

import sys
from collections.abc import Callable, Iterator

from tests.benchmarks._table import markdown

__all__ = ["compilations", "table"]

_LISTS = (1_000, 5_000, 10_000)
_METHODS = 20


def table() -> str:
    """Return the table, as Markdown."""
    lines = [[f"{lists:,} parameter lists", *(f"{count / lists:.2f}" for count in compilations(lists))] for lists in _LISTS]
    title = "### Parameter lists that differ: calls of the compiler for each\n\n"
    return title + markdown([["", "when they are new", "when they come again"], *lines])


def compilations(lists: int) -> tuple[int, int]:
    """Return how often the compiler is called for so many different lists, and how often when they come again."""
    definers = list(_definers(lists))
    first, again = (_compilations(definers) for _ in range(2))
    return first, again


def _definers(lists: int) -> Iterator[Callable[[], type]]:
    """Yield what makes the classes; their names are those of the number, so that each call of this has lists of its own."""
    from session_aware import SessionAwareService  # noqa: PLC0415 - the modules of the command are free of it

    for start in range(0, lists, _METHODS):
        numbers = range(start, min(start + _METHODS, lists))
        body = "".join(f"    def method_{n}(self, of_{lists}_{n}, *, session=None): ...\n" for n in numbers)
        names: dict[str, Callable[[], type]] = {}
        exec(f"def define(base):\n  class Service(base):\n{body}\n  return Service", names)  # noqa: S102 - our own text
        define = names["define"]
        yield lambda define=define: define(SessionAwareService)  # type: ignore[misc]


def _compilations(definers: list[Callable[[], type]]) -> int:
    count = 0
    is_on = True

    def hear(event: str, _: tuple[object, ...]) -> None:
        nonlocal count
        count += is_on and event == "compile"

    sys.addaudithook(hear)  # it stays until the process ends
    for define in definers:
        define()
    is_on = False
    return count


if __name__ == "__main__":
    print(table())
