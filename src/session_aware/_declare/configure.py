"""``configure``: what the process says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from session_aware._call import wrapper
from session_aware._call.factory import FACTORY_KEYWORDS, check_factory
from session_aware._call.options import CONFIGURE_OPTIONS, check_names
from session_aware._call.plan import looks_at_given
from session_aware._unit import configuration

if TYPE_CHECKING:
    from session_aware._call.options import ConfigureOptions

__all__ = ["configure"]


def configure(**options: Unpack[ConfigureOptions]) -> None:
    """Set what holds for the whole process where no decorator, object or class says otherwise.

    Meant to be called once at start, such as in a web framework's lifespan. What is not named stays as it was; an explicit
    ``None`` takes a setting back. Calls that have begun keep what they began with. Safe to call from any thread.

    Args:
        **options: The factories and the policy, as in the class statement of a ``SessionAwareService``; and ``observer``,
            which is called with a ``UnitRecord`` after each owned call, in the thread or task that made it. It must be
            quick. What it raises is logged and goes no further.

    Raises:
        SessionFactoryError: What was given is no session factory of the keyword's kind. Nothing was changed.
        TypeError: There is no such option, or one has a value of the wrong type. Nothing was changed.

    Example:
        configure(session_factory=sessionmaker(engine), isolation_level="REPEATABLE READ")
    """
    check_names(options, CONFIGURE_OPTIONS, "configure")
    for name in FACTORY_KEYWORDS:
        if (factory := options.get(name)) is not None:
            check_factory(factory, name, "configure")
    configuration.update(options)
    if looks_at_given(configuration.settings.policy):
        wrapper.ask_always()


configure.__module__ = "session_aware"
