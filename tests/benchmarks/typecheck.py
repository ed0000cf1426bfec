"""What the plugin adds to mypy's work over 200 service classes: ``python -m tests.benchmarks.typecheck``.

Instructions, as valgrind counts them, since they do not depend on what else the machine does; without valgrind CPU seconds
of runs that take turns, of which the least counts. Cold: nothing is cached, so mypy looks at SQLAlchemy as well. Edited:
every service is new, the rest is cached. Cached: nothing has changed. ``--check`` fails above a bound.

Half of the modules hold services over ORM models, each with seven methods of different kinds that call each other; half hold
services of six short methods around ``text()``, with little else for mypy to do. All pass mypy with and without the plugin.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeAlias

from tests.benchmarks._meter import can_count

__all__ = ["main"]

ROOT: Final = Path(__file__).parent.parent.parent
MODULES: Final = 20
CLASSES: Final = 10  # in each module
METHODS: Final = 6  # of the short ones
ROUNDS: Final = 5
STATES: Final = ("cold", "edited", "cached")
BOUNDS: Final = {"cold": 1.10, "cached": 1.03}
_PLUGIN: Final = {"with": "plugins = session_aware.mypy_plugin\n", "without": ""}
_TOTAL: Final = re.compile(r"Total instructions: (\d+)")
_HEAD: Final = """
from collections.abc import Iterator
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from session_aware import NEW_SESSION, SessionAwareService

class Base(DeclarativeBase): ...
"""
_MODEL: Final = '''
class Account{n}(Base):
    __tablename__ = "account{n}"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    balance: Mapped[int]

class Accounts{n}(SessionAwareService):
    """Keeps accounts."""

    def find(self, key: int, *, session: Session = NEW_SESSION) -> Account{n} | None:
        return session.get(Account{n}, key)

    def open(self, owner: str, balance: int = 0, *, session: Session = NEW_SESSION) -> Account{n}:
        """Open an account."""
        if not owner:
            raise ValueError(owner)
        account = Account{n}(owner=owner, balance=balance)
        session.add(account)
        session.flush()
        return account

    def of_owner(self, owner: str, *, session: Session = NEW_SESSION) -> list[Account{n}]:
        rows = session.scalars(select(Account{n}).where(Account{n}.owner == owner).order_by(Account{n}.id))
        return [row for row in rows if row.balance]

    def move(self, source: int, target: int, amount: int, *, session: Session) -> None:
        one, other = self.find(source, session=session), self.find(target, session=session)
        if one is None or other is None or one.balance < amount:
            raise LookupError(f"{{source}} to {{target}}")
        one.balance -= amount
        other.balance += amount

    @classmethod
    def count(cls, *, session: Session = NEW_SESSION) -> int:
        return session.scalar(select(func.count()).select_from(Account{n})) or 0

    async def aopen(self, owner: str, *, session: AsyncSession = NEW_SESSION) -> int:
        account = Account{n}(owner=owner)
        session.add(account)
        await session.flush()
        return account.id

    def rows(self, *, session: Session = NEW_SESSION) -> Iterator[Account{n}]:
        yield from session.scalars(select(Account{n}))

def use{n}(accounts: Accounts{n}, session: Session) -> int:
    accounts.open("ann", 10, session=session)
    accounts.open("bob", session=NEW_SESSION)
    accounts.move(1, 2, 10, session=session)
    return Accounts{n}.count(session=session) + len(list(accounts.rows(session=session)))
'''


def _short(n: str) -> str:
    lines = [f"class Short{n}(SessionAwareService):"]
    for method in range(METHODS):
        call = f"self.method_{method - 1}(key, session=session)" if method else "len(owner)"
        lines += [
            f"    def method_{method}(self, key: int, owner: str = '', *, session: Session = NEW_SESSION) -> int:",
            f"        found = session.execute(text('select 1')).scalar_one() + {call}",
            "        return int(found) + key",
        ]
    call = f"service.method_{METHODS - 1}(1, session=session) + service.method_0(1, 'ann', session=NEW_SESSION)"
    return "\n".join([*lines, f"def use{n}(service: Short{n}, session: Session) -> int:", f"    return {call}", ""])


def source(module: int, revision: int) -> str:
    """Write a module of services whose methods call each other."""
    names = [f"{module}x{number}" for number in range(CLASSES)]
    classes = [_short(name) if module % 2 else _MODEL.format(n=name) for name in names]
    return "\n".join([f"# revision {revision}", _HEAD, *classes])


def write(folder: Path, revision: int) -> None:
    for module in range(MODULES):
        (folder / f"services_{module}.py").write_text(source(module, revision))


def _run(folder: Path, kind: str, *before: str) -> str:
    """Run mypy once; return what valgrind prints."""
    config = folder / f"{kind}.ini"
    paths = f"mypy_path = {ROOT / 'src'}:{ROOT / 'stubs'}\ncache_dir = {folder / kind}"
    config.write_text(f"[mypy]\nstrict = true\n{paths}\n{_PLUGIN[kind]}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": ""}
    modules = map(str, sorted(folder.glob("services_*.py")))
    command = [*before, sys.executable, "-m", "mypy", f"--config-file={config}", *modules]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stderr


def seconds(folder: Path, kind: str) -> float:
    """Return the CPU time that a run takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(folder, kind)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def instructions(folder: Path, kind: str) -> float:
    """Return how many billions of instructions a run takes, in all its threads: mypy parses in some of its own."""
    printed = _run(
        folder, kind, "valgrind", "--tool=exp-bbv", "--instr-count-only=yes", f"--bb-out-file={folder / f'{kind}.bb'}"
    )
    return sum(map(int, _TOTAL.findall(printed))) / 1e9


Costs: TypeAlias = dict[str, dict[str, float]]
"""State of the cache -> kind of run -> its cost."""


def count(folder: Path) -> Costs:
    """Count each run once, those with and without the plugin side by side."""
    costs: Costs = {}
    with ThreadPoolExecutor(len(_PLUGIN)) as pool:
        for revision, state in enumerate(STATES):
            write(folder, min(revision, 1))
            costs[state] = dict(zip(_PLUGIN, pool.map(instructions, [folder] * len(_PLUGIN), _PLUGIN), strict=True))
    return costs


def time(folder: Path) -> Costs:
    """Return the least CPU seconds of several rounds."""
    runs: dict[str, dict[str, list[float]]] = {state: {kind: [] for kind in _PLUGIN} for state in STATES}
    for round_ in range(ROUNDS):
        kinds = sorted(_PLUGIN, reverse=bool(round_ % 2))
        for kind in kinds:
            shutil.rmtree(folder / kind, ignore_errors=True)
        for revision, state in enumerate(STATES):
            write(folder, min(revision, 1))
            for kind in kinds:
                runs[state][kind].append(seconds(folder, kind))
    return {state: {kind: min(values) for kind, values in of_state.items()} for state, of_state in runs.items()}


def main(*arguments: str) -> int:
    """Print the table; return 1 if ``--check`` is asked and a bound is missed."""
    is_counted = can_count()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), 0)
        _run(Path(folder), "with")  # Python compiles the plugin
        shutil.rmtree(Path(folder) / "with")
        costs = (count if is_counted else time)(Path(folder))
    ratios = {state: of_state["with"] / of_state["without"] for state, of_state in costs.items()}
    print("billions of instructions" if is_counted else "CPU seconds, the least of several rounds")
    for state, of_state in costs.items():
        print(
            f"{state:7}  without {of_state['without']:6.3f}  with {of_state['with']:6.3f}  "
            f"ratio {ratios[state]:.3f}  bound {BOUNDS.get(state, 'none')}"
        )
    return int("--check" in arguments and any(ratios[state] > bound for state, bound in BOUNDS.items()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
