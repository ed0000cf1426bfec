"""Record what an engine does to transactions and connections, for tests that compare all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine, event

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["Recorder"]

_OF_ENGINE = {
    "begin": "BEGIN",
    "savepoint": "SAVEPOINT",
    "release_savepoint": "RELEASE",
    "rollback_savepoint": "ROLLBACK TO",
    "commit": "COMMIT",
    "rollback": "ROLLBACK",
}
_OF_POOL = {"checkout": "CHECKOUT", "checkin": "CHECKIN", "invalidate": "INVALIDATE"}


class Recorder:
    """Every transaction and pool event of one engine, in order.

    ``CHECKIN`` of an invalidated connection is recorded too: the pool takes its record back empty.

    Args:
        engine: An engine of either kind, before its first connection.
    """

    def __init__(self, engine: Engine | AsyncEngine) -> None:
        self.events: list[str] = []
        sync_engine = engine if isinstance(engine, Engine) else engine.sync_engine
        for name, word in _OF_ENGINE.items():
            event.listen(sync_engine, name, self._noting(word))
        for name, word in _OF_POOL.items():
            event.listen(sync_engine.pool, name, self._noting(word))

    @property
    def transactions(self) -> list[str]:
        """The events without those of the pool."""
        return [word for word in self.events if word not in _OF_POOL.values()]

    def take(self) -> list[str]:
        """Return the events so far and forget them."""
        taken, self.events = self.events, []
        return taken

    def _noting(self, word: str) -> Callable[..., None]:
        def note(*_: object) -> None:
            self.events.append(word)

        return note
