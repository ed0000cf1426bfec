"""What the plugin adds to mypy's time over 200 service classes: ``python -m tests.benchmarks.typecheck``.

CPU seconds of runs with and without it that take turns, so that a busy machine slows both; the least of each counts.
Cold: nothing is cached. Edited: every service is new, SQLAlchemy is cached. Cached: nothing has changed. ``--check``
fails above a bound.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["main"]

ROOT: Final = Path(__file__).parent.parent.parent
MODULES: Final = 20
CLASSES: Final = 10  # in each module
METHODS: Final = 6
ROUNDS: Final = 5
STATES: Final = ("cold", "edited", "cached")
BOUNDS: Final = {"cold": 1.10, "cached": 1.03}
_PLUGIN: Final = {"with": "plugins = session_aware.mypy_plugin\n", "without": ""}
_HEAD: Final = """
from sqlalchemy import text
from sqlalchemy.orm import Session
from session_aware import NEW_SESSION, SessionAwareService
"""


def source(module: int, revision: int) -> str:
    """Write a module of services whose methods call each other."""
    lines = [f"# revision {revision}", _HEAD]
    for number in range(CLASSES):
        name = f"Service{module}{number:02}"
        lines.append(f"class {name}(SessionAwareService):")
        for method in range(METHODS):
            call = f"self.method_{method - 1}(key, session=session)" if method else "len(owner)"
            lines += [
                f"    def method_{method}(self, key: int, owner: str = '', *, session: Session = NEW_SESSION) -> int:",
                f"        found = session.execute(text('select 1')).scalar_one() + {call}",
                "        return int(found) + key",
            ]
        lines += [f"def use_{number}(service: {name}, session: Session) -> int:"]
        lines += [
            f"    return service.method_{METHODS - 1}(1, session=session) + service.method_0(1, 'ann', session=NEW_SESSION)",
            "",
        ]
    return "\n".join(lines)


def write(folder: Path, revision: int) -> None:
    for module in range(MODULES):
        (folder / f"services_{module}.py").write_text(source(module, revision))


def seconds(folder: Path, kind: str) -> float:
    """Run mypy once; return the CPU time it took."""
    config = folder / f"{kind}.ini"
    paths = f"mypy_path = {ROOT / 'src'}:{ROOT / 'stubs'}\ncache_dir = {folder / kind}"
    config.write_text(f"[mypy]\nstrict = true\n{paths}\n{_PLUGIN[kind]}")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "mypy", f"--config-file={config}", *map(str, sorted(folder.glob("services_*.py")))]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """Return the least CPU seconds for each state of the cache and each kind of run."""
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
    with tempfile.TemporaryDirectory() as folder:
        least = measure(Path(folder))
    ratios = {state: of_state["with"] / of_state["without"] for state, of_state in least.items()}
    for state, of_state in least.items():
        print(
            f"{state:7}  without {of_state['without']:6.2f} s  with {of_state['with']:6.2f} s  "
            f"ratio {ratios[state]:.3f}  bound {BOUNDS.get(state, 'none')}"
        )
    return int("--check" in arguments and any(ratios[state] > bound for state, bound in BOUNDS.items()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
