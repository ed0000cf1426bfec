"""A project in a folder of its own, and what migrate makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from session_aware._migrate.decide import decide
from session_aware._migrate.rewrite import rewrite
from session_aware._migrate.tree import read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEAD = """\
from sqlalchemy.orm import Session, sessionmaker
from session_aware import NEW_SESSION, auto_session_func

Sessions = sessionmaker()

"""


@dataclass(frozen=True)
class Outcome:
    """The files as they are then, and a sentence for everything that was left alone."""

    files: Mapping[str, str]
    refusals: Sequence[str]
    changed: int


def migrate(folder: Path, files: Mapping[str, str], *, decorators: Sequence[str] = (), factory: str = "") -> Outcome:
    """Write the files below a folder, migrate them and read them again."""
    for name, source in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(dedent(source).encode())
    tree, unread = read(folder)
    decision = decide(tree, decorators=decorators, factory=factory)
    for module, change in decision.changes.items():
        rewritten = rewrite(module, change)
        compile(rewritten, str(module.path), "exec")
        module.path.write_bytes(rewritten)
    after = {name: (folder / name).read_bytes().decode() for name in files}
    refusals = [str(one).replace(f"{folder}/", "") for one in (*unread, *decision.refusals)]
    return Outcome(after, refusals, len(decision.changes))


def migrated(folder: Path, body: str) -> str:
    """Migrate one module with the usual imports, of which every function is rewritten; return what stands beneath them."""
    outcome = migrate(folder, {"shop.py": HEAD + dedent(body)})
    assert outcome.refusals == []
    assert outcome.files["shop.py"].startswith(HEAD)
    again = migrate(folder, outcome.files)
    assert (again.changed, again.files) == (0, outcome.files)
    return outcome.files["shop.py"].removeprefix(HEAD)
