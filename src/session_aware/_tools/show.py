"""``python -m session_aware show``: the table of ``describe``, for people and for tools."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from session_aware._tools.describe import describe

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from session_aware._tools.describe import Description

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "list the session-aware callables of a module or class, and what looks wrong"

_FINDINGS: Final = 1
_USAGE: Final = 2


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = (
        "Import a module and list its session-aware callables: kind, policy with the place that sets each value, factory, "
        "signature and defining class. The exit code is 1 if something looks wrong, 2 if the module cannot be imported."
    )
    parser.add_argument(
        "--first",
        metavar="package.module",
        action="append",
        default=[],
        help="import this module first, such as the one that calls configure(); may be given more than once",
    )
    parser.add_argument("target", metavar="package.module[:Class]", help="what to import, and optionally a class in it")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: Namespace) -> int:
    """Print the description.

    Returns:
        0, 1 with findings, 2 if there is no such module or class.
    """
    module, _, name = options.target.partition(":")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as python -m does for what it runs
    try:
        for first in options.first:
            _import(first)
        target = _import(module)
        for part in filter(None, name.split(".")):
            target = getattr(target, part)
    except _CannotBeImportedError as error:
        print(f"show: {error}", file=sys.stderr)  # noqa: T201 - output
        return _USAGE
    except AttributeError as error:
        return _refused(options.target, error)
    try:
        described = describe(target)
    except TypeError as error:
        return _refused(options.target, error)
    print(_as_json(described) if options.json else described)  # noqa: T201 - the output of the command
    return _FINDINGS if described.findings else 0


class _CannotBeImportedError(Exception):
    """Says which module cannot be imported, and why."""


def _import(module: str) -> Any:  # noqa: ANN401 - a module, or what is in it
    try:
        return importlib.import_module(module)
    except Exception as error:
        why = f"{error}. Write 'show package.module:Class'."
        is_missing = isinstance(error, ModuleNotFoundError) and module.startswith(error.name or "\0")
        if not (is_missing or isinstance(error, ValueError | TypeError)):
            why = f"{type(error).__name__}: {error}"
        msg = f"{module} cannot be imported: {why}"
        raise _CannotBeImportedError(msg) from error


def _refused(target: str, error: Exception) -> int:
    print(f"show: {target}: {str(error).removesuffix('.')}. Write 'show package.module:Class'.", file=sys.stderr)  # noqa: T201 - output
    return _USAGE


def _as_json(described: Description) -> str:
    return json.dumps(dataclasses.asdict(described), default=repr, indent=2)
