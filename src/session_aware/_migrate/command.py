"""``python -m session_aware migrate``: print what would be rewritten, or write it."""

from __future__ import annotations

import difflib
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from session_aware._migrate.decide import Decision
    from session_aware._migrate.tree import Module, Refusal

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "rewrite functions that take a positional or optional session, and their calls"

_CHANGES: Final = 1
_USAGE: Final = 2


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = (
        "Rewrite functions that take a positional or optional SQLAlchemy session into keyword-only 'session: Session = "
        "NEW_SESSION' under @auto_session_func, and their calls in the same tree. Prints a diff. What is not certain is "
        "left alone, with the reason. Give it the whole tree, tests included: calls outside of it are not seen. Exit code "
        "0 if there is nothing to rewrite or it was written, 1 if there is something to write, 2 if it cannot be done."
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="a directory or a file")
    parser.add_argument("--write", action="store_true", help="write the files instead of printing a diff")
    parser.add_argument(
        "--decorator",
        action="append",
        default=[],
        metavar="package.module.name",
        help="a decorator of your own that passes 'session' by name where it is missing; may be repeated",
    )
    parser.add_argument(
        "--factory",
        default="",
        metavar="package.module.name",
        help="where hand-written functions open sessions from several factories: the one that configure() will name",
    )


def run(options: Namespace) -> int:
    """Print or write the changes, what is left alone, and a summary.

    Returns:
        0, 1 if there is something to write, 2 if there is no such path or libcst is missing.
    """
    try:
        from session_aware._migrate.rewrite import rewrite  # noqa: PLC0415 - libcst is an extra, for this command alone
    except ModuleNotFoundError as error:
        print(f"migrate: {error}. Write \"pip install 'session-aware[migrate]'\".", file=sys.stderr)  # noqa: T201 - output
        return _USAGE
    from session_aware._migrate.decide import decide  # noqa: PLC0415 - other commands need not load it
    from session_aware._migrate.tree import read  # noqa: PLC0415 - likewise

    if not options.path.exists():
        print(f"migrate: {options.path}: there is no such file or directory.", file=sys.stderr)  # noqa: T201 - output
        return _USAGE
    tree, unread = read(options.path)
    decision = decide(tree, decorators=options.decorator, factory=options.factory)
    for module, change in decision.changes.items():
        source = rewrite(module, change)
        if options.write:
            module.path.write_bytes(source)
        else:
            sys.stdout.writelines(_diff(module, source))
    refusals = sorted([*unread, *decision.refusals])
    print(*_report(decision, refusals, is_written=options.write), sep="\n")  # noqa: T201 - output
    return _CHANGES if decision.changes and not options.write else 0


def _diff(module: Module, source: bytes) -> Iterator[str]:
    name = str(module.path)
    after = source.decode(module.encoding)
    for line in difflib.unified_diff(module.text.splitlines(keepends=True), after.splitlines(keepends=True), name, name):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _report(decision: Decision, refusals: list[Refusal], *, is_written: bool) -> Iterator[str]:
    yield from map(str, refusals)
    definitions = sum(len(change.definitions) for change in decision.changes.values())
    calls = sum(len(change.calls) for change in decision.changes.values())
    done = "rewritten" if is_written else "to rewrite"
    files = _count(len(decision.changes), "file")
    yield f"{done}: {_count(definitions, 'definition')} and {_count(calls, 'call')} in {files}"
    yield f"left alone: {len(refusals)}"
    yield from (f"  {count:5} {why}" for why, count in Counter(one.why for one in refusals).most_common())
    if definitions:
        sessions = f"the sessionmaker of '{decision.factory}'" if decision.factory else "your sessionmaker"
        yield (
            f"next: where the program starts, call configure(session_factory=...) with {sessions}; "
            "for async def async_session_factory=..."
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
