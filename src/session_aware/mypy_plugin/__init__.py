"""The mypy plugin: ``plugins = session_aware.mypy_plugin``.

It makes a required ``session: Session`` of service methods and decorated functions optional for their callers, and reports
seven mistakes, each under its own error code below ``session-aware``. It imports neither SQLAlchemy nor the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy.errors import CompileError

if TYPE_CHECKING:
    from mypy.plugin import Plugin

__all__ = ["OLDEST_MYPY", "plugin"]

OLDEST_MYPY: Final = (1, 8)
"""The lowest version of mypy with which the tests pass."""


def plugin(version: str) -> type[Plugin]:
    """Return the plugin class; mypy calls this by its name.

    Args:
        version: The version of the running mypy, such as ``1.15.0`` or ``2.5.0+dev.0123abc``.

    Raises:
        CompileError: This mypy is older than the plugin can work with. mypy prints the message and exits with status 2.
    """
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_MYPY:
        lowest = ".".join(map(str, OLDEST_MYPY))
        msg = f"session_aware.mypy_plugin: mypy {version} is too old, the plugin needs mypy {lowest} or newer. Upgrade mypy."
        raise CompileError([msg])
    from session_aware.mypy_plugin._dispatch import SessionAwarePlugin  # noqa: PLC0415 - the import may fail under an old mypy

    return SessionAwarePlugin
