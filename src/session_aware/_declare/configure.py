"""``configure``: the settings of the process."""

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
    """Set the defaults of the whole process, which apply unless a decorator, object or class says otherwise.

    It is meant to be called once at start, for example in a web framework's lifespan. Options that are not named keep their
    value; an explicit ``None`` removes a setting. Calls that have begun keep the settings that they began with. It is safe
    to call from any thread.

    Args:
        **options: The factories and the policy, as in the class statement of a ``SessionAwareService``; and ``observer``,
            which is called with a ``UnitRecord`` after each owned call, in the thread or task that made it. The observer
            must be quick. Its exceptions are logged and not raised.

    Raises:
        SessionFactoryError: A factory is not a session factory of its keyword's kind. Nothing was changed.
        TypeError: There is no such option, or one has a value of the wrong type. Nothing was changed.

    Example:
        configure(session_factory=sessionmaker(engine), isolation_level="REPEATABLE READ")
    """
    check_names(options, CONFIGURE_OPTIONS, "configure")
    for name in FACTORY_KEYWORDS:
        if (factory := options.get(name)) is not None:
            check_factory(factory, name, "configure")
    observer: object = options.get("observer")
    if observer is not None and not callable(observer):
        msg = f"configure: observer must be a function that takes a UnitRecord, not {observer!r}."
        raise TypeError(msg)
    configuration.update(options)
    if looks_at_given(configuration.settings.policy):
        wrapper.ask_always()


configure.__module__ = "session_aware"
