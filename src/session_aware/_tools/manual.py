"""``python -m session_aware manual``: the handbook of the version that is installed."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib.resources import files
from pydoc import pager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["HELP", "add_arguments", "run"]

HELP: Final = "show the manual of the version that is installed"

_NO_SUCH_PAGE: Final = 2


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = "List the pages of the manual, or show one of them, in a terminal through its pager."
    parser.add_argument("page", nargs="?", help="the name of a page, such as 'transaction' (default: list them)")


def run(options: Namespace) -> int:
    """Show the page, or the list of pages.

    Returns:
        0, or 2 if there is no such page.
    """
    pages = _pages()
    if options.page is None:
        width = max(map(len, pages))
        lines = [f"{name:{width}}  {text.partition(chr(10))[0].removeprefix('# ')}\n" for name, text in pages.items()]
        sys.stdout.write("".join([*lines, "\nWrite 'python -m session_aware manual PAGE'.\n"]))
        return 0
    name = options.page.partition("#")[0].removesuffix(".md")
    if name not in pages:
        nearest = get_close_matches(name, pages, n=1)
        meant = f"Write '{nearest[0]}'" if nearest else "Write 'python -m session_aware manual' for the list"
        sys.stderr.write(f"manual: there is no page {options.page!r}. {meant}.\n")
        return _NO_SUCH_PAGE
    pager(pages[name])
    return 0


def _pages() -> dict[str, str]:
    folder = files("session_aware") / "manual"
    texts = {file.name.removesuffix(".md"): file.read_text(encoding="utf-8") for file in folder.iterdir()}
    return dict(sorted(texts.items()))
