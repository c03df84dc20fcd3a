"""A run in which a worker dies tells in which test, and comes to its end all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parents[1] / "support"
CONFTEST = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(SUPPORT)!r})
import side_by_side
side_by_side._ROOT = Path(__file__).parent

def pytest_xdist_make_scheduler(config, log):
    return side_by_side.scheduler(config, log)
"""
FOUR = """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_four(number):
    pass
"""
DIES_ONCE = """
import os
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(4))
def test_dies(number):
    died = Path(__file__).with_name("died")
    if number == 2 and not died.exists():
        died.touch()
        os._exit(9)
"""


@pytest.mark.processes
def test_what_a_dead_worker_had_left_is_done_by_others(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for number in range(6):
        (tmp_path / f"test_{number}.py").write_text(FOUR)
    (tmp_path / "test_6.py").write_text(DIES_ONCE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2",
         "--dist", "loadscope", "--no-loadscope-reorder", "."],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "crashed while running 'test_6.py::test_dies[2]'" in done.stdout
    assert "1 failed, 28 passed" in done.stdout, "all, and the one again by another worker"
