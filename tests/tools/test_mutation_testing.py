"""Mutation testing finds a check that no test holds, believes a test that does, and goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools.mutant_tests import TESTS
from tools.mutations import mutants_of

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[2]
PLANTED = """
def admit(age: int, ticket: bool) -> str:
    if age < 18:
        raise PermissionError("too young")
    if not ticket:
        raise PermissionError("no ticket")
    return "in"
"""
HOLDS_THE_AGE = """
import pytest
from planted import admit

def test_age() -> None:
    assert admit(18, True) == "in"
    with pytest.raises(PermissionError, match="young"):
        admit(17, True)
"""
HOLDS_THE_TICKET = """
import pytest
from planted import admit

def test_ticket() -> None:
    with pytest.raises(PermissionError, match="ticket"):
        admit(18, False)
"""
ENDLESS = """
def count(upto: int) -> int:
    number = 0
    while number < upto:
        number = number + 1
    return number
"""
COUNTS = """
from planted import count

def test_count() -> None:
    assert [count(0), count(3)] == [0, 3]
"""


def tree(folder: Path, source: str = PLANTED, **tests: str) -> Path:
    (folder / "planted.py").write_text(source)
    for name, text in tests.items():
        (folder / f"test_{name}.py").write_text(text)
    (folder / "conftest.py").write_text("import sys\nsys.path.insert(0, '.')\n")
    return folder


def run(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    tests = [f"--tests={path.name}" for path in sorted(root.glob("test_*.py"))]
    command = [sys.executable, "-m", "tools.mutants", "--root", str(root), "--module", "planted.py"]
    return subprocess.run(
        [*command, *tests, *options],
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # else each mutant loads them
        capture_output=True,
        text=True,
        check=False,
    )


def judged(root: Path) -> Sequence[dict[str, object]]:
    kept = root / ".sealtrace" / "mutants.jsonl"
    return [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []


def test_a_check_that_no_test_holds_survives_and_is_named(tmp_path: Path) -> None:
    result = run(tree(tmp_path, age=HOLDS_THE_AGE))
    assert result.returncode == 1, result.stderr
    assert "never: if not ticket" in result.stdout
    assert "age < 18" not in result.stdout


def test_with_a_test_of_every_check_nothing_survives_and_the_former_run_is_gone_on_with(
    tmp_path: Path,
) -> None:
    root = tree(tmp_path, age=HOLDS_THE_AGE, ticket=HOLDS_THE_TICKET)
    of_all = len(mutants_of("planted.py", PLANTED))
    stopped = run(root, "--most", "3")
    assert stopped.returncode == 0, stopped.stdout
    before = judged(root)
    assert len(before) == 3
    result = run(root)
    assert result.returncode == 0, result.stdout
    assert f"{of_all} of {of_all} mutants, {of_all} killed" in result.stdout
    after = judged(root)
    assert after[:3] == before
    assert sorted(line["number"] for line in after) == list(range(of_all))  # type: ignore[type-var]


def test_when_a_test_changes_its_judgements_are_not_believed_any_more(tmp_path: Path) -> None:
    root = tree(tmp_path, age=HOLDS_THE_AGE, ticket=HOLDS_THE_TICKET)
    assert run(root).returncode == 0
    (root / "test_ticket.py").write_text("def test_ticket() -> None:\n    pass\n")
    result = run(root)
    assert result.returncode == 1
    assert "never: if not ticket" in result.stdout


def test_a_mutant_without_end_is_stopped_and_counted(tmp_path: Path) -> None:
    result = run(tree(tmp_path, ENDLESS, count=COUNTS), "--timeout", "3")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "number + 1 -> number - 1" not in result.stdout
    assert any(line["became"] == "timed-out" for line in judged(tmp_path))


def test_no_mutant_is_begun_after_the_time_that_was_given(tmp_path: Path) -> None:
    result = run(tree(tmp_path, age=HOLDS_THE_AGE), "--seconds", "0.000001")
    of_all = len(mutants_of("planted.py", PLANTED))
    assert f"{of_all} not judged" in result.stdout
    assert not judged(tmp_path)


def test_tests_that_fail_without_a_mutant_judge_nothing(tmp_path: Path) -> None:
    root = tree(tmp_path, age="def test_age() -> None:\n    assert not 'right'\n")
    result = run(root)
    assert result.returncode == 2
    assert "its tests fail" in result.stderr
    assert not judged(tmp_path)


@pytest.mark.parametrize("module", sorted(TESTS))
def test_the_tests_that_are_listed_for_a_module_are_there(module: str) -> None:
    assert mutants_of(module, (ROOT / module).read_text())
    assert all((ROOT / path).is_file() for path in TESTS[module])
