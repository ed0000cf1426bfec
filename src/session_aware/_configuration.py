"""What ``configure`` says for the whole process."""

from __future__ import annotations

import dataclasses
import enum
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from session_aware._policy import NO_SETTINGS, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from session_aware._observe import UnitRecord

__all__ = ["UNSET", "Unset", "settings", "update"]


class Unset(enum.Enum):
    """The default of a keyword for which ``None`` means something."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET

_lock: Final = RLock()  # a finalizer may run while it is held, and configure
settings: Settings = NO_SETTINGS
"""What is configured now. Read it through the module: it is replaced as a whole, so a call never sees half of a change."""


def update(*, policy: Mapping[str, object], factories: Mapping[str, object], observer: object = UNSET) -> None:
    """Replace what was said; ``UNSET`` leaves a setting alone, ``None`` takes it back."""
    global settings  # noqa: PLW0603 - the one process-wide setting of the library
    said: dict[str, Any] = {name: value for name, value in policy.items() if value is not UNSET}
    named = {keyword: factory for keyword, factory in factories.items() if factory is not UNSET}
    with _lock:
        while True:
            before = settings
            kept = {keyword: factory for keyword, factory in {**before.factories, **named}.items() if factory is not None}
            after = Settings(
                dataclasses.replace(before.policy, **said),
                MappingProxyType(kept),
                before.observer if observer is UNSET else cast("Callable[[UnitRecord], object] | None", observer),
            )
            if settings is before:  # no finalizer has run in between, and configured
                settings = after
                return
