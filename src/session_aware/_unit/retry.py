"""The attempts of one owned call: tenacity waits, ``Retry`` says how often and how long.

The first attempt is made without tenacity, whose objects would cost a call that succeeds a third of an empty unit. If it
fails, tenacity starts with a call that raises its error once more, and so judges it like every other one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

import tenacity

from session_aware._unit import observe
from session_aware.exceptions import CommitOutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from session_aware._unit.owned import Owned

__all__ = ["Attempts"]


class Attempts:
    """Counts the attempts, decides whether to make another one, and reports the call at the end.

    The outcome of the call is that of its last attempt, whatever exception was raised.
    """

    def __init__(self, first: Owned) -> None:
        request = first.request
        assert request.policy.retry is not None  # noqa: S101 - the dispatcher asks for attempts only then
        self._name = request.name
        self._retry = request.policy.retry
        self._number = 0
        self._first = ""  # the class of the first attempt's error, if there is a second attempt
        self._began = time.monotonic()
        self._started = observe.start()
        self._attempt = first
        first.is_attempt = True

    def begin(self) -> Owned:
        """Return the unit of the next attempt."""
        if self._number:
            self._attempt = self._attempt.fresh()
            self._attempt.is_attempt = True
        self._number += 1
        return self._attempt

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and self._number > 1:
            seconds = time.monotonic() - self._began
            note = f"session-aware: {self._name} gave up after {self._number} attempts in {seconds:.2f} s"
            error.add_note(f"{note}; the first one ended in {self._first}.")
        if self._started is not None:
            observe.report(self._name, self._attempt.outcome, self._started, error, attempts=self._number)

    def sync(self, failed: list[Exception], attempt: Callable[[Owned], object]) -> object:
        """Make further attempts until one succeeds or the last one has failed.

        Args:
            failed: The error of the first attempt, which is removed: a list in the caller's frame refers to no traceback.
            attempt: Runs the body in a unit.
        """

        def call() -> object:
            if failed:
                raise failed.pop()
            return attempt(self.begin())

        return tenacity.Retrying(**self._options())(call)

    async def asynchronous(self, failed: list[Exception], attempt: Callable[[Owned], Awaitable[object]]) -> object:
        """Do the same for a coroutine function."""

        async def call() -> object:
            if failed:
                raise failed.pop()
            return await attempt(self.begin())

        return await tenacity.AsyncRetrying(**self._options())(call)

    def _options(self) -> dict[str, Any]:
        retry = self._retry
        left = retry.timeout - (time.monotonic() - self._began)
        return {
            "retry": tenacity.retry_if_exception(self._is_worth_another),
            "reraise": True,
            "stop": tenacity.stop_after_attempt(retry.attempts) | tenacity.stop_before_delay(left),
            "wait": tenacity.wait_random_exponential(multiplier=retry.wait_initial, max=retry.wait_max),
        }

    def _is_worth_another(self, error: BaseException) -> bool:
        # Whatever Retry.on says, there is no retry of a unit that may be committed, nor after a request to stop.
        if not isinstance(error, Exception) or _is_unknown(error) or self._attempt.outcome != "rolled back":
            return False
        if not self._retry.on(error):
            return False
        if self._attempt.attached is not None:
            error.add_note(
                f"session-aware: {self._name} was not tried again: the body had attached a detached object (of class "
                f"{self._attempt.attached}), whose changes the rollback undid, so that another attempt would commit without "
                "them. Load the object in the body, or write 'session.merge(...)' instead of 'session.add(...)'."
            )
            return False
        if self._number == 1:
            self._first = type(error).__name__  # without its text, because str() of a user's exception may fail
        observe.logger.debug("%s: attempt %d failed with %s", self._name, self._number, type(error).__name__)
        return True


def _is_unknown(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_unknown, error.exceptions))
    return isinstance(error, CommitOutcomeUnknown)
