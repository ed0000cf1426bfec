"""Faults of the library, seeded into this process one by one: the harness must find each, or it proves nothing."""

from __future__ import annotations

import contextlib
import inspect
import textwrap
import warnings
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.exc import SAWarning

from session_aware._database import before_commit
from session_aware._unit import asynchronous, owned, retry, unit
from tests.faults.round import play
from tests.faults.stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FunctionType

    from tests.faults.journal import Report

__all__ = ["FAULTS", "Fault", "seeded", "try_all"]


class Fault(NamedTuple):
    """A change of the library's text.

    Attributes:
        name: What the library then does.
        driver: With which it is found, on PostgreSQL.
        functions: Where the text stands.
        right: The text.
        wrong: What stands in its place.
        symptom: The column of the report that must not be 0.
    """

    name: str
    driver: str
    functions: tuple[Callable[..., object], ...]
    right: str
    wrong: str
    symptom: str


FAULTS = (
    Fault(
        "retry an unknown commit",
        "psycopg",
        (retry.Attempts._is_worth_another,),
        "if not isinstance(error, Exception) or",
        "if isinstance(error, CommitOutcomeUnknown):\n        return True\n    if not isinstance(error, Exception) or",
        "duplicated",
    ),
    Fault(
        "except Exception",
        "asyncpg",
        (unit.Unit.__exit__, asynchronous.leave),
        "except BaseException as failure:",
        "except Exception as failure:",
        "cancelled_but_applied",
    ),
    Fault(
        "skip the poison check",
        "psycopg",
        (before_commit.check_drivers, before_commit.refuse_poisoned),
        "raise PoisonedTransactionError(msg)",
        "return  # raise",
        "lost",
    ),
    Fault(
        "do not ask the driver",
        "psycopg",
        (owned.Owned.end,),
        "if self.begun and not self.is_read_only:",
        "if False:",
        "lost",
    ),
    Fault(
        "call it unknown before COMMIT is sent",
        "psycopg",
        (owned.Owned._commit,),
        "if self._must_watch_commit():",
        "if False:",
        "unknown_before_commit",
    ),
)


@contextlib.contextmanager
def seeded(fault: Fault) -> Iterator[None]:
    """Let the library have this fault: whoever holds one of the functions calls the changed text."""
    before = [(function, function.__code__) for function in map(_function, fault.functions)]
    for function, _ in before:
        function.__code__ = _changed(function, fault).__code__
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)  # the fault leaves connections to the garbage collector
            yield
    finally:
        for function, code in before:
            function.__code__ = code


def _function(found: object) -> FunctionType:
    assert inspect.isfunction(found)
    return found


def _changed(function: FunctionType, fault: Fault) -> FunctionType:
    right = textwrap.dedent(inspect.getsource(function))
    wrong = right.replace(fault.right, fault.wrong)
    assert wrong != right, f"{function.__qualname__} has no {fault.right!r}: the fault must follow the library"
    made: dict[str, FunctionType] = {}
    exec(compile(wrong, function.__code__.co_filename, "exec"), dict(function.__globals__), made)  # noqa: S102 - our own text
    return made[function.__name__]


def try_all(*, seconds: float, seed: int, say: Callable[[str], object]) -> list[str]:
    """Play a short round with each fault, and one with none; name the faults that were not found, and the false alarm."""
    wrong = []
    with STAGES["postgresql"]() as stage:

        def played(driver: str) -> Report:
            return play(stage, driver, "library", seconds=seconds, seed=seed)

        for driver in dict.fromkeys(fault.driver for fault in FAULTS):
            report = played(driver)
            say(f"no fault, {driver}: {'clean' if report.is_clean else f'NOT CLEAN: {report.row()}'}")
            if not report.is_clean:
                wrong.append(f"without a fault {driver} is not clean")
        for fault in FAULTS:
            with seeded(fault):
                report = played(fault.driver)
            count = getattr(report, fault.symptom)
            found = f"{'found' if count else 'NOT FOUND'}, {fault.symptom.replace('_', ' ')} {count}"
            say(f"{fault.name}, {fault.driver}: {found}")
            if report.is_clean or not count:
                wrong.append(f"the fault '{fault.name}' was not found")
    return wrong
