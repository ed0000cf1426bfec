"""A plain command, run as a process."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.integrations.serving import ROOT, environment
from tests.integrations.store import Store


def run(store: Store, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-W", "error", "-m", "tests.integrations.cli", *words]
    variables = os.environ | environment(store.variables)
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, check=False, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_command_is_committed_when_it_ends(store: Store) -> None:
    code, out, err = run(store, "move", "house", "ann", "5")
    assert (code, out.split()[0], err) == (0, "transfer", "")
    assert store.balances() == {"house": 995, "ann": 105}
    assert run(store, "list") == (0, f"{out.split()[1]} house ann 5 \n", "")


def test_command_that_fails_writes_nothing(store: Store) -> None:
    assert run(store, "move", "ann", "zoe", "5") == (1, "", "unknown account: zoe\n")
    code, _, err = run(store, "welcome", "bob", "ann")  # who has an account
    assert (code, err.count("IntegrityError") > 0) == (1, True)
    assert store.balances() == {"house": 1000, "ann": 100}


def test_dry_run_does_the_work_and_writes_nothing(store: Store) -> None:
    assert run(store, "welcome", "bob", "cid", "--dry-run") == (0, "welcomed 2\n", "")
    assert store.balances() == {"house": 1000, "ann": 100}
    assert run(store, "welcome", "bob", "cid") == (0, "welcomed 2\n", "")
    assert store.balances() == {"house": 998, "ann": 100, "bob": 1, "cid": 1}
