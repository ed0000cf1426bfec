"""Read the modules of a tree, and find the one that an import means."""

from __future__ import annotations

import ast
import io
import os
import tokenize
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Module", "Refusal", "Tree", "parse", "read"]


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """Something that is left alone.

    Attributes:
        file: Where.
        line: From 1.
        name: What: ``Accounts.rename``, or the file's name.
        why: One of a few sentences, by which the summary counts.
        detail: What stands in the way here, or what to do.
    """

    file: str
    line: int
    name: str
    why: str
    detail: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.name}: {self.why}: {self.detail}"


@dataclass(frozen=True, eq=False)
class Module:
    """A file: its syntax tree for reading, its bytes for rewriting.

    Attributes:
        names: Every dotted name under which it may be imported, shortest first; the last is unique.
    """

    path: Path
    source: bytes
    encoding: str
    text: str
    syntax: ast.Module
    names: Sequence[str]

    @property
    def name(self) -> str:
        """Give the unique name."""
        return self.names[-1]

    @property
    def is_package(self) -> bool:
        """Tell an ``__init__.py``."""
        return self.path.stem == "__init__"

    @cached_property
    def lines(self) -> Sequence[str]:
        """Give the lines as Python counts them."""
        return self.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")

    @cached_property
    def comments(self) -> frozenset[int]:
        """Give the numbers of the lines with a comment."""
        tokens = tokenize.generate_tokens(io.StringIO("\n".join(self.lines)).readline)
        return frozenset(token.start[0] for token in tokens if token.type == tokenize.COMMENT)

    def end(self, node: ast.expr) -> tuple[int, int]:
        """Return the line and column where an expression ends, in characters; the syntax tree counts bytes."""
        line, column = node.end_lineno or 0, node.end_col_offset or 0
        return line, len(self.lines[line - 1].encode()[:column].decode())


class Tree:
    """All modules, by the names under which they may be imported."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self.modules: Final = tuple(modules)
        self._named: Final[dict[str, list[Module]]] = {}
        for module in self.modules:
            for name in module.names:
                self._named.setdefault(name, []).append(module)

    def split(self, dotted: str) -> tuple[Sequence[Module], str]:
        """Split a name into the modules that its longest possible front may mean, and the rest."""
        front, rest = dotted, ""
        while front not in self._named and front:
            front, _, last = front.rpartition(".")
            rest = f"{last}.{rest}" if rest else last
        return self._named.get(front, ()), rest


def read(path: Path) -> tuple[Tree, list[Refusal]]:
    """Read a file, or the Python files below a directory; not those of virtual environments and hidden directories."""
    modules: list[Module] = []
    unread: list[Refusal] = []
    for file in sorted(_files(path)):
        try:
            source = file.read_bytes()
            encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
            module = Module(file, source, encoding, source.decode(encoding), parse(source), _names(file))
        except (OSError, SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            unread.append(Refusal(str(file), line, file.name, "it cannot be read", f"{type(error).__name__}: {error}"))
        else:
            modules.append(module)
    return Tree(modules), unread


def parse(source: bytes) -> ast.Module:
    """Parse a module; what its strings look like is its own business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)  # what 3.11 says of wrong escapes
        return ast.parse(source)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, folders, files in os.walk(path):
        here = Path(folder)
        folders[:] = [one for one in folders if not _is_foreign(here / one)]
        yield from (here / one for one in files if one.endswith(".py"))


def _is_foreign(folder: Path) -> bool:
    name = folder.name
    return name.startswith(".") or name in {"node_modules", "site-packages"} or (folder / "pyvenv.cfg").exists()


def _names(file: Path) -> list[str]:
    """Name a module from each directory above it that can stand on ``sys.path``, which a package cannot."""
    path = file.resolve()
    parts = [] if path.stem == "__init__" else [path.stem]
    names = []
    for folder in path.parents:
        if parts and not (folder / "__init__.py").exists():
            names.append(".".join(parts))
        parts.insert(0, folder.name)
    return names
