"""Has Debian's own lintian look at a package, where it is installed: an error ends the build."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tools.packages.environment import BuildError

# Who builds without compression asked for it, to be quick; what is left is what Debian refuses.
_PLAIN = "uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball"
_COMMAND = ("lintian", "--allow-root", "--fail-on", "error", "--suppress-tags", _PLAIN)


def look_at(package: Path, tell: Callable[[str], None]) -> None:
    """Have lintian look at a package, and tell what it says; say so where it is not installed.

    Raises:
        BuildError: it found an error, or cannot read the package.
    """
    if shutil.which("lintian") is None:
        tell("lintian is not installed here (Debian: apt install lintian): nothing was looked at")
        return
    done = subprocess.run([*_COMMAND, str(package)], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        tell(line)
    if done.returncode:
        raise BuildError(
            f"lintian refuses {package.name}{_said(done.stderr)}; mend what it names with E:, or"
            " say in tools/packages/files/overrides why it is right"
        )
    tell(f"{package.name}: lintian finds no error")


def _said(errors: str) -> str:
    lines = errors.strip().splitlines()
    return f" ({lines[-1]})" if lines else ""
