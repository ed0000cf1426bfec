"""The adversary: attacks the servers at random, and does not go before each kind of attack has met somebody."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Adversary"]

_RARE = frozenset({"server restarted", "node restarted", "node killed"})
_RARE_SECONDS = 4.0
_OFTEN = {"answer lost": 4, "COMMIT lost": 2}
"""What bites those who retry or give up by the error alone."""
_OWED = {"answer lost": 4, "file locked": 5}
"""How often an attack must have met somebody by the end, where that is more than once."""
_LATE_SECONDS = 30.0


class Adversary(threading.Thread):
    """Attacks the servers until it is told to finish; the expensive attacks only now and then.

    However slow the machine, and short the round: it then goes on with what it still owes. A round in which nobody lost the
    answer to a COMMIT would prove nothing.

    Args:
        attacks: By name. One that returns False has met nobody and does not count.
        seed: Of what it chooses.
        late_seconds: How long it may go on after it was told to finish.
    """

    def __init__(
        self, attacks: Mapping[str, Callable[[], object]], seed: int, *, late_seconds: float = _LATE_SECONDS
    ) -> None:
        super().__init__(name="adversary", daemon=True)
        self.done: Counter[str] = Counter()
        self._attacks = attacks
        self._choice = random.Random(seed)  # noqa: S311 - reproducible
        self._late_seconds = late_seconds
        self._is_late = threading.Event()
        self._frequent = [name for name in attacks if name not in _RARE for _ in range(_OFTEN.get(name, 1))]
        self._rare = itertools.cycle([name for name in attacks if name in _RARE])
        self._rare_at = 0.0

    def run(self) -> None:
        self._rare_at = time.monotonic() + _RARE_SECONDS / 4
        while not self._is_late.wait(self._choice.uniform(0.05, 0.25)):
            self._attack(self._next())
        ends = time.monotonic() + self._late_seconds
        while (owed := self.owed()) and time.monotonic() < ends:
            self._attack(self._choice.choice(owed))
            time.sleep(0.05)  # let somebody reach a COMMIT

    def finish(self) -> None:
        """End once nothing is owed."""
        self._is_late.set()
        self.join(120)
        assert not self.is_alive(), "the adversary did not stop"

    def owed(self) -> list[str]:
        """Name the attacks that have not met somebody often enough; of the expensive ones any is enough."""
        owed = [name for name in dict.fromkeys(self._frequent) if self.done[name] < _OWED.get(name, 1)]
        rare = [name for name in self._attacks if name in _RARE]
        return owed if any(self.done[name] for name in rare) else owed + rare[:1]

    def _next(self) -> str:
        if time.monotonic() > self._rare_at and (expensive := next(self._rare, None)) is not None:
            return expensive
        return self._choice.choice(self._frequent)

    def _attack(self, name: str) -> None:
        if self._attacks[name]() is not False:
            self.done[name] += 1
        if name in _RARE:
            self._rare_at = time.monotonic() + _RARE_SECONDS

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in sorted(self.done.items()))
