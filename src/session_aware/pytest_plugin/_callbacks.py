"""``after_commit`` callbacks in a test whose outer transaction never commits."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from session_aware._database import after_commit

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AfterCommit"]


class AfterCommit:
    """The callbacks that ``after_commit`` would have run by now, in order; the value of ``session_aware_after_commit``.

    A callback is added when its own transaction commits, and never if that rolls back, as in production. The outer
    transaction of the test does not matter for this.

    Args:
        is_run: Whether to run each callback at once, as in production. The default keeps it until ``run``.

    Attributes:
        callbacks: The callbacks that have not been run yet. A test may look at them, or clear the list.
        errors: The errors of callbacks that were run at once. They are logged as in production, and raised at the end of the
            test.

    Example:
        def test_welcome(session_aware_db, session_aware_after_commit):
            Accounts().open("ann")
            assert mail.sent == []
            session_aware_after_commit.run()
            assert mail.sent == ["ann"]
    """

    def __init__(self, *, is_run: bool = False) -> None:
        self.callbacks: list[Callable[[], object]] = []
        self.errors: list[Exception] = []
        self._is_run = is_run

    def take(self, callback: Callable[[], object]) -> None:
        """Keep the callback, or run it."""
        if not self._is_run:
            self.callbacks.append(callback)
            return
        try:
            after_commit.call(callback)
        except Exception as error:
            self.errors.append(error)
            raise

    def run(self) -> None:
        """Run the waiting callbacks in order, and those that they add. The first error is raised; the rest keep waiting.

        Raises:
            TypeError: A callback is a coroutine function.
        """
        while self.callbacks:
            if inspect.isawaitable(result := self.callbacks.pop(0)()):
                if inspect.iscoroutine(result):
                    result.close()  # otherwise Python would warn of a coroutine that was never awaited
                msg = "session_aware_after_commit.run: a callback returned an awaitable. Write 'await ....arun()'."
                raise TypeError(msg)

    async def arun(self) -> None:
        """Run, and await, the waiting callbacks in order, and those that they add. The first error is raised."""
        while self.callbacks:
            if inspect.isawaitable(result := self.callbacks.pop(0)()):
                await result

    def raise_errors(self) -> None:
        """Raise the errors of the callbacks that were run at once.

        Raises:
            ExceptionGroup: There was an error.
        """
        if self.errors:
            errors, self.errors = self.errors, []
            msg = "after_commit callbacks failed"
            raise ExceptionGroup(msg, errors)
