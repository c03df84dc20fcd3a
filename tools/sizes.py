"""Say what each kind of machine installs, and see that its role loads with just that.

``python -m tools.sizes`` reads locks/*.lock, adds up the files of the packages that they name as
they are installed here, and prints a table for the README. ``--load LOCK`` loads the role with
every other package out of reach.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "locks"
LOADED = {
    "aggregator": ("aggregator.cli", "aggregator.service", "aggregator.matching.pool"),
    "cluster": ("psycopg", "psycopg_pool", "obstore", "distributed"),
    "custodian": ("custodian.cli", "custodian.service"),
    "edge": ("edge_agent.cli", "edge_agent.agent", "provisioning.box.updates.update_cli"),
    "office": ("provisioning.authority.site_cli", "provisioning.fleet.release_cli"),
    "officer": ("officers.query_cli", "officers.trace_cli", "edge_agent.enrol"),
}
"""Modules that load all of each role."""
_LOCKED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)


def names_in(lock: Path) -> frozenset[str]:
    """Return the packages that a lock file names, in lower case with hyphens."""
    return frozenset(_plain(name) for name in _LOCKED.findall(lock.read_text()))


def size_of(name: str) -> int:
    """Return the bytes that a package has installed here; 0 where it is for another system."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return 0
    paths = (Path(str(file.locate())) for file in files)
    return sum(path.stat().st_size for path in paths if path.is_file())


class OutOfReach(importlib.abc.MetaPathFinder):
    """Finds no module of an installed package that a lock file does not name."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed
        self._owners = packages_distributions()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse what is of no allowed package; leave the rest to whoever finds it."""
        owners = {_plain(owner) for owner in self._owners.get(fullname.partition(".")[0], [])}
        if owners and not owners & (self._allowed | {"sealtrace", "pip", "setuptools"}):
            raise ModuleNotFoundError(f"{fullname} is not installed on this machine", name=fullname)
        return None


def load(lock: Path) -> None:
    """Load the role of a lock file with every other package out of reach.

    Raises:
        ImportError: it needs more than the lock file names.
    """
    sys.meta_path.insert(0, OutOfReach(names_in(lock)))
    for module in LOADED[lock.stem]:
        importlib.import_module(module)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or load one role."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", type=Path, metavar="LOCK", help="load the role of this lock file")
    asked = parser.parse_args(arguments)
    if asked.load is not None:
        load(asked.load)
        return 0
    sys.stdout.write("| machine | packages | MB |\n| --- | --- | --- |\n")
    for lock in sorted(LOCKS.glob("*.lock")):
        sizes = [size for name in names_in(lock) if (size := size_of(name))]
        sys.stdout.write(f"| `{lock.stem}` | {len(sizes)} | {sum(sizes) / 1e6:,.0f} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
