"""Measure what each kind of machine installs: megabytes and packages, from its lock file.

``python -m tools.sizes`` makes an environment for each of locks/*.lock in a temporary folder,
installs it, sees that the role loads there, and prints a table for the README.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOADED = {
    "aggregator": ("aggregator.cli", "aggregator.service"),
    "custodian": ("custodian.cli", "custodian.service"),
    "edge": ("edge_agent.cli", "edge_agent.agent", "provisioning.box.updates.update_cli"),
    "office": ("provisioning.authority.site_cli", "provisioning.fleet.release_cli"),
    "officer": ("officers.query_cli", "officers.trace_cli", "edge_agent.enrol"),
}
"""Modules of each that load all of its role."""


def measure(lock: Path, folder: Path) -> tuple[int, float]:
    """Install a lock file into ``folder``; return how many packages and MB that is.

    Raises:
        subprocess.CalledProcessError: it cannot be installed, or the role does not load with it.
    """
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    before = size_of(folder)
    install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
    subprocess.run([*install, "--requirement", str(lock)], check=True)
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "freeze"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    packages = [line for line in listed.stdout.splitlines() if "==" in line]
    own = [line for line in packages if line.partition("==")[0] not in {"pip", "setuptools"}]
    megabytes = (size_of(folder) - before) / 1e6
    loads = "; ".join(f"import {module}" for module in LOADED[lock.stem])
    subprocess.run([str(python), "-c", loads], check=True, cwd=ROOT)
    return len(own), megabytes


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one row of a table a lock file."""
    named = [Path(one) for one in arguments or sys.argv[1:]]
    sys.stdout.write("| machine | packages | MB |\n| --- | --- | --- |\n")
    for lock in named or sorted((ROOT / "locks").glob("*.lock")):
        with tempfile.TemporaryDirectory() as folder:
            packages, megabytes = measure(lock, Path(folder))
        sys.stdout.write(f"| `{lock.stem}` | {packages} | {megabytes:,.0f} |\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
