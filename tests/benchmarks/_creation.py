"""Classes with any number of methods, to see what creating them costs."""

from collections.abc import Callable
from typing import Any

from tests.benchmarks._case import Case

__all__ = ["METHODS", "creation_case", "definer"]

METHODS = 20


def definer(
    methods: int, decorate: Callable[..., Any] | None = None, base: type = object, **keywords: object
) -> Callable[[], type]:
    """Return what creates a class with so many methods, whose parameter lists were seen before but for the first class."""
    body = "".join(
        f"    {'@decorate' if decorate else ''}\n    def method_{number}(self, number, owner='', *, session=None): ...\n"
        for number in range(methods)
    )
    names: dict[str, Any] = {"decorate": decorate, "base": base, "keywords": keywords}
    exec(f"def define():\n  class Service(base, **keywords):\n{body}\n  return Service", names)  # noqa: S102 - our own text
    define: Callable[[], type] = names["define"]
    return define


def creation_case(decorate: Callable[..., Any] | None = None, base: type = object, **keywords: object) -> dict[str, Case]:
    """Return the creation of a class, for each of its methods."""
    define = definer(METHODS, decorate, base, **keywords)
    return {"creation: a method": Case("define()", {"define": define}, times=3, items=METHODS)}
