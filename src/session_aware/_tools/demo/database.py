"""Open the database of a URL for the demo, and leave it as it was."""

from __future__ import annotations

import contextlib
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from session_aware._tools.demo.caller import SyncCaller
from session_aware._tools.demo.errors import DemoError, first_line
from session_aware._tools.demo.model import Base

if TYPE_CHECKING:
    from collections.abc import Generator

    from session_aware._tools.demo.caller import Caller

__all__ = ["opened"]


@contextlib.contextmanager
def opened(given: str | None) -> Generator[Caller]:
    """Yield the caller for a URL with the demo's tables created; drop them and disconnect afterwards.

    Args:
        given: Any SQLAlchemy URL, synchronous or asynchronous. None: SQLite in a temporary file.

    Raises:
        DemoError: The URL is none, its driver is missing, there is no connection, or the demo's tables exist already.
    """
    with contextlib.ExitStack() as stack:
        if given is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="session-aware-demo-"))
            caller: Caller = SyncCaller(URL.create("sqlite", database=str(Path(folder) / "ledger.sqlite")))
            event.listen(caller.engine, "connect", _hurry)
        else:
            caller = _caller(given)
        stack.callback(caller.close)
        where = f"--url {caller.engine.url.render_as_string(hide_password=True)}"
        _create_tables(caller, where)
        stack.callback(_drop_tables, caller, where)
        caller.open_bank()
        yield caller


def _hurry(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's
    """A temporary file need not survive a power cut."""
    connection.execute("PRAGMA synchronous = OFF")


def _caller(given: str) -> Caller:
    try:
        url = make_url(given)
        dialect = url.get_dialect()
    except NoSuchModuleError as error:
        name = given.partition(":")[0]
        msg = f"--url: SQLAlchemy has no dialect {name!r}. Correct it, or install the package that brings it."
        raise DemoError(msg) from error
    except (ArgumentError, ValueError) as error:  # its message repeats the URL, and with it a password
        msg = (
            "--url is no database URL. Write 'dialect+driver://user:password@host:port/database', such as "
            "'sqlite:///ledger.sqlite' or 'postgresql+psycopg://ann@localhost/test'."
        )
        raise DemoError(msg) from error
    name = url.drivername
    if dialect.is_async and find_spec("greenlet") is None:
        msg = f"--url: {name} is asynchronous, which needs greenlet. Write \"pip install 'session-aware[asyncio]'\"."
        raise DemoError(msg)
    try:
        if dialect.is_async:
            asynchronous: Caller = import_module("session_aware._tools.demo.async_caller").AsyncCaller(url)
            return asynchronous
        return SyncCaller(url)
    except ImportError as error:
        msg = (
            f"--url: the driver of {name} cannot be imported ({error}). Install the package that brings it, such as "
            "\"pip install 'psycopg[binary]'\" for postgresql+psycopg, or name another driver: 'dialect+driver://...'."
        )
        raise DemoError(msg) from error
    except (ArgumentError, TypeError, ValueError) as error:
        msg = (
            f"--url: {name} does not take this URL ({first_line(error)}). Correct the host, the database or what follows it."
        )
        raise DemoError(msg) from error


def _create_tables(caller: Caller, where: str) -> None:
    try:
        existing = caller.existing_tables()
    except Exception as error:  # drivers raise errors of their own when they connect
        msg = f"{where}: cannot connect ({first_line(error)}). Start the server, or correct the URL."
        raise DemoError(msg) from error
    if existing:
        msg = (
            f"{where}: there is a table {existing[-1]} already, of another run or of one that was killed. Wait for it, "
            f"or write '{_drop(existing)}' if nothing uses it, or use another database."
        )
        raise DemoError(msg)
    try:
        caller.create_tables()
    except Exception as error:
        msg = f"{where}: cannot create tables ({first_line(error)}). Use an account that may, or another database."
        raise DemoError(msg) from error


def _drop_tables(caller: Caller, where: str) -> None:
    try:
        caller.drop_tables()
    except Exception as error:
        tables = [table.name for table in reversed(Base.metadata.sorted_tables)]
        msg = f"{where}: the demo's tables are left behind ({first_line(error)}). Write '{_drop(tables)}' there."
        raise DemoError(msg) from error


def _drop(tables: list[str]) -> str:
    return "; ".join(f"DROP TABLE {name}" for name in tables)
