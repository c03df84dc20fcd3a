"""`make check` leaves out a file of tests only where nothing that it reaches has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from unchanged import Project

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests/support"
FILES = {
    "pyproject.toml": 'first = "role.commands:app"',
    "requirements.lock": "",
    "tests/conftest.py": "import helper",
    "tests/support/helper.py": "",
    "tests/data/one.bin": "",
    "tests/role/test_all.py": (
        "from role import near\ndef test():\n    import role.late\n    load('role.named:App')"
    ),
    "tests/role/test_command.py": "from sealtrace import command",
    "tests/role/test_looks.py": "TEXT = (Path(__file__).parents[2] / 'x').read_text()",
    "role/__init__.py": "",
    "role/near.py": "from .far import thing",
    "role/far.py": "thing = 1",
    "role/late.py": "",
    "role/named.py": "",
    "role/commands.py": "",
    "role/page.html": "",
    "role/apart.py": "",
    "other/page.html": "",
    "sealtrace/__init__.py": "",
    "sealtrace/command.py": "",
}
ALL, COMMAND, LOOKS = (f"tests/role/test_{name}.py" for name in ("all", "command", "looks"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def keys(root: Path) -> dict[str, str]:
    project = Project(root, FILES, {})
    return {path: project.key(path) for path in project.tests}


def changed_by(root: Path, path: str) -> set[str]:
    """Return the files of tests that run anew when a file has changed."""
    before = keys(root)
    (root / path).write_text(FILES[path] + "\n# changed\n")
    after = keys(root)
    return {one for one, key in after.items() if key != before[one]}


@pytest.mark.parametrize(
    ("path", "runs"),
    [
        ("role/near.py", {ALL, LOOKS}),
        ("role/far.py", {ALL, LOOKS}),
        ("role/__init__.py", {ALL, COMMAND, LOOKS}),
        ("role/late.py", {ALL, LOOKS}),
        ("role/named.py", {ALL, LOOKS}),
        ("role/page.html", {ALL, COMMAND, LOOKS}),
        ("role/commands.py", {COMMAND, LOOKS}),
        ("role/apart.py", {LOOKS}),
        ("other/page.html", {LOOKS}),
        (ALL, {ALL, LOOKS}),
        ("tests/support/helper.py", {ALL, COMMAND, LOOKS}),
        ("tests/conftest.py", {ALL, COMMAND, LOOKS}),
        ("tests/data/one.bin", {ALL, COMMAND, LOOKS}),
        ("requirements.lock", {ALL, COMMAND, LOOKS}),
    ],
)
def test_what_a_change_can_reach_runs(root: Path, path: str, runs: set[str]) -> None:
    assert changed_by(root, path) == runs


def test_few_modules_of_the_project_are_reached_by_every_file_of_tests() -> None:
    """What all tests begin with must not lead to the roles, or `make check` always runs all."""
    files = [str(path.relative_to(ROOT)) for path in ROOT.glob("[a-z]*/**/*.py")]
    project = Project(ROOT, [*files, "pyproject.toml"], {})
    begun_with = {path for path in project._reached(["tests/conftest.py"]) if "tests/" not in path}
    assert {path.partition("/")[0] for path in begun_with} <= {"models", "protocol", "runtime"}


def test_a_module_that_is_gone_is_a_change(root: Path) -> None:
    before = keys(root)
    (root / "role/late.py").unlink()
    assert keys(root)[ALL] != before[ALL]


CONFTEST = """
import os
from pathlib import Path
from unchanged import LEFT_OUT, Unchanged

def pytest_configure(config):
    unchanged = Unchanged(config.rootpath, config.rootpath / "passed.json")
    config.pluginmanager.register(unchanged)
    os.environ[LEFT_OUT] = "\\n".join(unchanged.left_out)

def pytest_ignore_collect(collection_path, config):
    return str(collection_path.relative_to(config.rootpath)) in os.environ[LEFT_OUT] or None
"""


@pytest.mark.processes
def test_what_passed_is_left_out_and_what_failed_is_not(tmp_path: Path) -> None:
    for name, text in (("good", "assert True"), ("bad", "assert False")):
        (tmp_path / "tests").mkdir(exist_ok=True)
        (tmp_path / "tests" / f"test_{name}.py").write_text(f"def test_{name}():\n    {text}\n")
    (tmp_path / "tests" / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / ".gitignore").write_text("passed.json\n__pycache__\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(SUPPORT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return f"{done.stdout} {done.returncode}"

    assert "1 failed, 1 passed" in run()
    again = run()
    assert "1 failed in" in again
    assert "1 of 2 files of tests passed before" in again
    (tmp_path / "tests" / "test_bad.py").write_text("def test_bad():\n    assert True\n")
    assert "1 passed in" in run()
    assert run().endswith(" 0")
    (tmp_path / "tests" / "test_good.py").write_text("def test_good():\n    assert False\n")
    assert "1 failed in" in run()
