"""Ask the registry whether a wheel exists for every locked package, machine and Python.

``python tools/wheels.py --uv UV`` resolves each role's lock file with wheels alone, for x86-64 and
arm64 Linux and Python 3.11 to 3.13, and names what cannot be had without a compiler. Asks the
registry that pip is configured for; installs nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MACHINES = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
PYTHONS = ("3.11", "3.12", "3.13")


def missing(uv: str, lock: Path, machine: str, python: str) -> str:
    """Return what the resolver says cannot be had as wheels; empty when all can."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                uv, "pip", "compile", "--no-config", "--quiet", "--no-deps",
                "--only-binary", ":all:",
                "--python-platform", machine, "--python-version", python,
                str(lock), "-o", str(Path(folder) / "out.txt"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    return "" if done.returncode == 0 else done.stderr.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each machine and Python; return 1 when a wheel is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv", help="the uv program")
    parser.add_argument("locks", nargs="*", type=Path, help="default: locks/*.lock")
    asked = parser.parse_args(arguments)
    locks = asked.locks or sorted((ROOT / "locks").glob("*.lock"))
    bad = 0
    for lock in locks:
        for machine in MACHINES:
            for python in PYTHONS:
                said = missing(asked.uv, lock, machine, python)
                bad += bool(said)
                state = "wheels for all" if not said else f"NOT ALL: {said}"
                sys.stdout.write(f"{lock.name}, {machine}, Python {python}: {state}\n")
    return 1 if bad or not locks else 0


if __name__ == "__main__":
    sys.exit(main())
