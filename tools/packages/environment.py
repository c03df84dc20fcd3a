"""Lays out a role's Python environment for a Debian release: wheels of its lock, and our own.

Wheels are those of the release's Python and architecture, whatever runs here; nothing of them is
executed. What stands in the environment is held against the lock file afterwards.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from provisioning.fleet.image.wheels import LIST_NAME, Locked, fill_wheels, read_lock
from runtime.errors import OperationError
from tools.packages.releases import Target
from tools.packages.roles import ROOT, Role, lock_of

_OWN = "sealtrace"
_COMMAND = """\
#!{environment}/bin/python3
import sys

from sealtrace.command import main

if __name__ == "__main__":
    sys.exit(main())
"""
_CONFIGURATION = """\
home = /usr/bin
include-system-site-packages = false
version = {python}
"""
_UNUSED = ("ai_edge_litert/vendors", "ai_edge_litert/tools/apply_plugin_main")
"""Plugins for accelerators, of which we use none: some look for their libraries in whatever folder
the process is in."""


class BuildError(Exception):
    """A package cannot be built; says what is wrong, with what, and what to do."""


def wheels_of(role: Role, target: Target, store: Path, tell: Callable[[str], None]) -> Path:
    """Fill the store's folder of a role's wheels, and return it; what is there stays.

    Raises:
        BuildError: a wheel cannot be had, or has another hash.
    """
    python, machine = target.wheels.python, target.wheels.machine
    folder = store / f"{role.lock}-{python}-{machine}"
    try:
        fill_wheels(folder, lock=lock_of(role), checkout=ROOT, target=target.wheels, tell=tell)
    except OperationError as error:
        raise BuildError(f"{role.package}: {error}") from error
    return folder


def lay_out(tree: Path, role: Role, target: Target, wheels: Path) -> Path:
    """Lay a role's environment out beneath ``tree`` and return its ``site-packages``.

    Args:
        tree: the folder that becomes ``/``.
        role: whose lock file and place.
        target: the release and architecture.
        wheels: the folder that `wheels_of` filled.

    Raises:
        BuildError: a wheel is not what it was, or what was laid out is not what is locked.
    """
    packages = put_commands(tree, role, target)
    _install(wheels, packages, target)
    tidy(packages)
    hold_against(packages, read_lock(lock_of(role), target.wheels))
    return packages


def put_commands(tree: Path, role: Role, target: Target) -> Path:
    """Make a role's environment beneath ``tree``, still empty; return its ``site-packages``."""
    environment = tree / role.environment.lstrip("/")
    python = target.release.python
    packages = environment / "lib" / f"python{python}" / "site-packages"
    packages.mkdir(parents=True)
    binaries = environment / "bin"
    binaries.mkdir()
    (binaries / "python3").symlink_to(f"../../../../bin/python{python}")
    (binaries / "sealtrace").write_text(_COMMAND.format(environment=role.environment))
    (binaries / "sealtrace").chmod(0o755)
    (environment / "pyvenv.cfg").write_text(_CONFIGURATION.format(python=python))
    (environment / "commands").write_text("".join(f"{name}\n" for name in role.commands))
    return packages


def installed(packages: Path) -> dict[str, str]:
    """Return the version of each distribution in a ``site-packages``, by its plain name."""
    found = {}
    for metadata in sorted(packages.glob("*.dist-info/METADATA")):
        head = metadata.read_text(errors="replace").partition("\n\n")[0]
        fields = dict(re.findall(r"(?m)^(Name|Version): (.+)$", head))
        found[plain(fields["Name"])] = fields["Version"].strip()
    return found


def hold_against(packages: Path, locked: Sequence[Locked]) -> None:
    """See that a ``site-packages`` has what is locked, and our own, and nothing else.

    Raises:
        BuildError: it has more, less, or another version.
    """
    there = installed(packages)
    there.pop(_OWN, None)
    pinned = (one.requirement.partition("==") for one in locked)
    due = {plain(name): version for name, _, version in pinned}
    if there != due:
        odd = sorted(set(there.items()) ^ set(due.items()))
        raise BuildError(f"the environment is not what is locked: {odd}; build again from scratch")


def plain(name: str) -> str:
    """Return a distribution's name in lower case with hyphens, as lock files write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def tidy(packages: Path) -> None:
    """Remove what tells of this machine, scripts, whose first line names its Python, and `_UNUSED`.

    What stays is to the byte what was hashed; each RECORD names what stays.
    """
    shutil.rmtree(packages / "bin", ignore_errors=True)
    for name in ("direct_url.json", "REQUESTED"):
        for path in packages.glob(f"*.dist-info/{name}"):
            path.unlink()
    for path in packages.rglob(".gitignore"):
        path.unlink()
    for path in (packages / name for name in _UNUSED):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for record in packages.glob("*.dist-info/RECORD"):
        lines = record.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not _is_left_out(line)]
        record.write_text("".join(sorted(kept)))


def _is_left_out(line: str) -> bool:
    path = line.partition(",")[0]
    return path.startswith(("../../bin/", "bin/", *_UNUSED)) or path.endswith(
        (".dist-info/direct_url.json", ".dist-info/REQUESTED", "/.gitignore")
    )


def _install(wheels: Path, packages: Path, target: Target) -> None:
    """Unpack the wheels that the folder lists, each held against its hash; nothing is executed."""
    python = target.release.python
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install",
            "--quiet", "--no-index", f"--find-links={wheels}", "--no-deps", "--require-hashes",
            "--only-binary=:all:", "--no-compile", "--no-warn-conflicts", "--implementation=cp",
            f"--python-version={python}", f"--abi=cp{python.replace('.', '')}", "--abi=abi3",
            "--abi=none", *(f"--platform={name}" for name in target.wheels.platforms),
            f"--target={packages}", f"--requirement={wheels / LIST_NAME}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise BuildError(f"pip cannot install the wheels in {wheels}: {' / '.join(said[:3])}")
