"""Each kind of machine loads its role with what its lock file names, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.sizes import LOADED, LOCKS, names_in, size_of

pytestmark = pytest.mark.processes

ROLES = sorted(LOADED)


def load(lock: Path) -> subprocess.CompletedProcess[str]:
    """Load a role in a process of its own, with every package out of reach that is not its."""
    return subprocess.run(
        [sys.executable, "-m", "tools.sizes", "--load", str(lock)],
        cwd=LOCKS.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_there_is_a_lock_for_each_kind_of_machine() -> None:
    assert sorted(path.stem for path in LOCKS.glob("*.lock")) == ROLES


@pytest.mark.parametrize("role", ROLES)
def test_a_role_loads_with_its_own_packages(role: str) -> None:
    done = load(LOCKS / f"{role}.lock")
    assert done.returncode == 0, done.stderr


def test_a_custodian_gets_no_vision_and_no_model_runtime() -> None:
    names = names_in(LOCKS / "custodian.lock")
    assert "cryptography" in names
    assert not names & {"opencv-python-headless", "onnxruntime", "ai-edge-litert", "paho-mqtt"}


def test_a_package_that_is_missing_is_noticed(tmp_path: Path) -> None:
    lock = tmp_path / "aggregator.lock"
    text = (LOCKS / "aggregator.lock").read_text()
    assert "\npaho-mqtt==" in text
    lock.write_text(text.replace("\npaho-mqtt==", "\nanother=="))
    done = load(lock)
    assert done.returncode != 0
    assert "paho" in done.stderr


def test_the_sizes_are_those_of_files() -> None:
    assert size_of("numpy") > 10_000_000
    assert size_of("no-such-package") == 0
