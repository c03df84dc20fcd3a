"""`make check` is quick because a test that starts a process must say so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parents[1] / "support"
CONFTEST = """
import pytest
from process_watch import MARKER, ProcessWatch, mark_implied

def pytest_configure(config):
    config.addinivalue_line("markers", "processes: starts a process")
    config.addinivalue_line("markers", "system: a site of processes")
    config.pluginmanager.register(ProcessWatch(forbids=True))

def pytest_collection_modifyitems(items):
    mark_implied(items)
"""
PLANTED = """
import multiprocessing
import os
import subprocess
import sys
import threading

import pytest

def run():
    subprocess.run([sys.executable, "-c", ""], check=True)

def spawn():
    process = multiprocessing.get_context("spawn").Process(target=os.getpid)
    process.start()
    process.join()

def test_of_nothing():
    assert os.getpid()

@pytest.mark.parametrize("start", [run, spawn, lambda: os.system("true")])
def test_unmarked(start):
    try:
        start()
    except Exception:
        pass

def test_unmarked_in_a_thread():
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

@pytest.fixture
def runs():
    run()

def test_unmarked_in_a_fixture(runs):
    pass

@pytest.mark.processes
def test_marked():
    run()

@pytest.mark.system
def test_marked_otherwise(runs):
    run()
"""


@pytest.mark.processes
def test_a_test_that_starts_a_process_and_does_not_say_so_fails(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_planted.py").write_text(PLANTED)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "test_planted.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SUPPORT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    became = {
        line.split("::")[1].split(" ")[0]: line.split(" ")[0]
        for line in done.stdout.splitlines()
        if line.startswith(("PASSED ", "FAILED ", "ERROR "))
    }
    passed = {name for name, end in became.items() if end == "PASSED"}
    assert passed == {"test_of_nothing", "test_marked", "test_marked_otherwise"}, done.stdout
    assert len(became) == 8
    assert "mark it with @pytest.mark.processes" in done.stdout
