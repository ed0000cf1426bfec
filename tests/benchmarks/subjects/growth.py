"""Classes of this library with ever more methods."""

from session_aware import SessionAwareService
from tests.benchmarks._case import Case
from tests.benchmarks._creation import definer

__all__ = ["SUBJECTS"]


def _cases(methods: int) -> dict[str, Case]:
    define = definer(methods, None, SessionAwareService)
    call = getattr(define()(), f"method_{methods - 1}")
    return {
        "growth: creation": Case("define()", {"define": define}, times=1, items=methods),
        "growth: manual call": Case("call(1, session=True)", {"call": call}),
    }


SUBJECTS = {f"{methods:,} methods": _cases(methods) for methods in (10, 100, 1_000)}
