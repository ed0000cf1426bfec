"""Stubs and run time agree: wrapt's with the installed wrapt, ours with what the library leaves in classes."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import wrapt

ROOT: Final = Path(__file__).parent.parent
STUBS: Final = ROOT / "stubs"
REFUSED: Final = {"factories", "shapes"}  # at import, since they hold classes that are wrong on purpose
SAMPLES: Final = sorted({file.stem for file in (ROOT / "tests" / "typing").glob("*.py")} - REFUSED)

SUCCESS: Final = {"", "Success: no issues found"}

CHANGED: Final = """
from session_aware import SessionAwareService

class Changed(SessionAwareService):
    def get(self, key: int) -> None: ...

setattr(Changed, "get", lambda self: None)
"""


def stubtest(*arguments: str, search: list[Path], **environment: str) -> str:
    """Run stubtest with no other configuration than the arguments; return what it prints."""
    path = os.pathsep.join(map(str, search))
    command = [sys.executable, "-m", "mypy.stubtest", "--concise", *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": path, "PYTHONPATH": path, "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is (done.stdout.strip() in SUCCESS), done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(params=["extension", "pure"])
def mode(request: pytest.FixtureRequest) -> str:
    """Say which wrapt is looked at: the one with its C extension, or the one in Python."""
    if request.param == "extension" and type(wrapt.FunctionWrapper) is not type:
        pytest.skip("wrapt is installed without its C extension, or WRAPT_DISABLE_EXTENSIONS is set")
    return str(request.param)


def stubtest_wrapt(stubs: Path, mode: str) -> str:
    arguments = ["wrapt", "--ignore-missing-stub"]
    if mode == "extension":
        return stubtest(*arguments, search=[stubs])
    allowlist = ["--ignore-unused-allowlist", "--allowlist", str(STUBS / "wrapt.allowlist")]
    return stubtest(*arguments, *allowlist, search=[stubs], WRAPT_DISABLE_EXTENSIONS="1")


def test_stub_of_wrapt_is_true_to_the_installed_wrapt(mode: str) -> None:
    assert stubtest_wrapt(STUBS, mode) in SUCCESS


@pytest.mark.parametrize(
    ("mode", "right", "wrong", "finding"),
    [
        ("pure", "enabled:", "is_enabled:", "wrapt.FunctionWrapper.__init__ is inconsistent"),
        ("extension", "def __call__", "def call", "wrapt.FunctionWrapper.call is not present at runtime"),
    ],
)
def test_stub_that_drifts_is_noticed(mode: str, right: str, wrong: str, finding: str, tmp_path: Path) -> None:
    stub = (STUBS / "wrapt" / "__init__.pyi").read_text()
    assert right in stub
    (tmp_path / "wrapt").mkdir()
    (tmp_path / "wrapt" / "__init__.pyi").write_text(stub.replace(right, wrong))
    assert finding in stubtest_wrapt(tmp_path, mode)


def test_attributes_in_the_stub_of_wrapt_exist_on_its_objects() -> None:
    # stubtest looks at classes; without the extension these are set on the object.
    bound = type("Bound", (wrapt.BoundFunctionWrapper,), {})
    wrapper_class: Any = type("Wrapper", (wrapt.FunctionWrapper,), {"__bound_function_wrapper__": bound})
    wrapper = wrapper_class(lambda self: self, lambda wrapped, _instance, args, kwargs: wrapped(*args, **kwargs))
    service: Any = type("Service", (), {"method": wrapper})()
    assert service.method() is service
    assert type(service.method) is bound
    objects = {"FunctionWrapper": wrapper, "BoundFunctionWrapper": service.method}
    for node in ast.parse((STUBS / "wrapt" / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ClassDef):
            targets = [member.target for member in node.body if isinstance(member, ast.AnnAssign)]
            assert [ast.unparse(one) for one in targets if not hasattr(objects[node.name], ast.unparse(one))] == []
            assert targets


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What stubtest finds in the samples, and in a class that is changed behind mypy's back."""
    folder = tmp_path_factory.mktemp("stubtest")
    (folder / "changed.py").write_text(CHANGED)
    lenient = folder / "mypy.ini"
    lenient.write_text("[mypy]\nignore_errors = true\n")  # the samples are full of lines that are wrong on purpose
    return stubtest(
        *SAMPLES,
        "changed",
        "--allowlist",
        str(STUBS / "services.allowlist"),
        "--mypy-config-file",
        str(lenient),
        search=[ROOT / "src", STUBS, ROOT / "tests" / "typing", folder],
    ).splitlines()


def test_classes_have_at_run_time_the_signatures_that_they_declare(found: list[str]) -> None:
    assert [line for line in found if not line.startswith("changed.")] == []


def test_signature_that_the_library_would_change_is_noticed(found: list[str]) -> None:
    assert [line for line in found if line.startswith("changed.Changed.get is inconsistent")]
