"""``python -m session_aware``: the commands of the library."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Final, Protocol

from session_aware._tools import check, manual, show
from session_aware._tools.demo import command as demo

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence

__all__ = ["main"]


class Command(Protocol):
    """The attributes that the module of a command needs."""

    @property
    def HELP(self) -> str:  # noqa: N802 - a constant of the module
        """The line of help that says what the command does."""
        ...

    def add_arguments(self, parser: ArgumentParser, /) -> None:
        """Declare its options."""

    def run(self, options: Namespace, /) -> int:
        """Carry it out and return the exit code."""
        ...


COMMANDS: Final[Mapping[str, Command]] = {"demo": demo, "show": show, "check": check, "manual": manual}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The arguments without the program's name. None means those of the process.

    Returns:
        The exit code: 130 when interrupted, 141 when the reader of the output has gone, otherwise that of the command.
    """
    options = _parser().parse_args(arguments)
    try:
        code = COMMANDS[options.command].run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # as in '| head'; without this Python complains when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m session_aware", description="Commands of the session-aware library.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.HELP))
    return parser


if __name__ == "__main__":
    sys.exit(main())
