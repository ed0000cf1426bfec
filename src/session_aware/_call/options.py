"""The options of a decorator, a block and ``configure``, defined in one place, and the settings that they make."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

from session_aware._call.factory import FACTORY_KEYWORDS, check_factory
from session_aware._unit.configuration import Settings
from session_aware._unit.policy import FIELDS, NO_POLICY, SessionPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    from session_aware._call.factory import AsyncSessionFactory, SessionFactory
    from session_aware._unit.configuration import UnitRecord
    from session_aware._unit.policy import Propagation, Retry

__all__ = [
    "BLOCK_OPTIONS",
    "CONFIGURE_OPTIONS",
    "OPTIONS",
    "BlockOptions",
    "BlockPolicy",
    "ConfigureOptions",
    "Options",
    "Policy",
    "check_names",
    "nearest",
    "settings_of",
]


class BlockPolicy(TypedDict, total=False):
    """The policy of a block, see ``SessionPolicy``. An option that is left out or None is not set here."""

    propagation: Propagation | None
    read_only: bool | None
    isolation_level: str | None
    resolve_commit: bool | None


class Policy(BlockPolicy, total=False):
    """The policy of a callable, which can be run again; a block cannot."""

    retry: Retry | None


class Factories(TypedDict, total=False):
    """Each makes a new session when it is called without arguments; the read factories serve read-only units."""

    session_factory: SessionFactory[Session] | None
    async_session_factory: AsyncSessionFactory[AsyncSession] | None
    read_session_factory: SessionFactory[Session] | None
    async_read_session_factory: AsyncSessionFactory[AsyncSession] | None


class BlockOptions(Factories, BlockPolicy, total=False):
    """What ``auto_session_ctx`` takes."""


class Options(Factories, Policy, total=False):
    """What ``auto_session_func`` takes."""


class ConfigureOptions(Options, total=False):
    """What ``configure`` takes."""

    observer: Callable[[UnitRecord], object] | None


OPTIONS: Final = Options.__optional_keys__
BLOCK_OPTIONS: Final = BlockOptions.__optional_keys__ | {"is_commit"}
CONFIGURE_OPTIONS: Final = ConfigureOptions.__optional_keys__


def check_names(options: Mapping[str, object], known: frozenset[str], place: str) -> None:
    """Refuse an option that does not exist.

    Raises:
        TypeError: There is one; the message names it, and the option that was probably meant.
    """
    if options.keys() <= known:
        return
    name, near = nearest([name for name in options if name not in known], known)
    names = [name for name in (*FACTORY_KEYWORDS, *FIELDS, "observer", "is_commit") if name in known]
    write = f"Write '{near}='." if near else f"The options are {', '.join(names)}."
    if name == "is_commit":
        write = "Declare '*, is_commit: bool = True' in the function: its caller chooses."
    msg = f"{place}: there is no option {name!r}. {write}"
    raise TypeError(msg)


def nearest(unknown: Iterable[str], known: Iterable[str]) -> tuple[str, str | None]:
    """Return the first unknown name that resembles a known one, and that one; else the first unknown name and None."""
    unknown, known = list(unknown), sorted(known)
    found = ((name, near) for name in unknown for near in difflib.get_close_matches(name, known, n=1))
    return next(found, (unknown[0], None))


def settings_of(options: Mapping[str, object], place: str) -> Settings:
    """Return the settings that the options of a decorator or a block make.

    Raises:
        SessionFactoryError: The value of a factory keyword is not a session factory.
        TypeError: A value of the policy is of the wrong type.
        ValueError: The isolation level is empty.
    """
    factories = {name: factory for name in FACTORY_KEYWORDS if (factory := options.get(name)) is not None}
    for name, factory in factories.items():
        check_factory(factory, name, place)
    policy = {name: options[name] for name in FIELDS if name in options}
    return Settings(SessionPolicy(**cast("Any", policy)) if policy else NO_POLICY, factories)
