"""Which Debian packages the shared libraries of an environment need beyond what it bundles."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tools.packages.environment import BuildError

_OWNERS = {
    **dict.fromkeys(
        (
            "ld-linux-aarch64.so.1", "ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2",
            "libm.so.6", "libpthread.so.0", "librt.so.1", "libutil.so.1",
        ),
        "libc6",
    ),
    "libresolv.so.2": "libc6",
    "libgcc_s.so.1": "libgcc-s1",
    "libstdc++.so.6": "libstdc++6",
    "libz.so.1": "zlib1g",
}  # fmt: skip
_NEEDED = re.compile(r"\(NEEDED\)\s+Shared library: \[([^\]]+)\]")
_AT_ONCE = 200


def depends(folder: Path) -> list[str]:
    """Return the packages that own what the libraries beneath ``folder`` need, sorted.

    Raises:
        BuildError: something is needed that is neither bundled nor known; it would fail on loading.
    """
    libraries = sorted(p for p in folder.rglob("*.so*") if p.is_file() and is_elf(p))
    bundled = {path.name for path in libraries}
    needed: set[str] = set()
    for begin in range(0, len(libraries), _AT_ONCE):
        some = [str(path) for path in libraries[begin : begin + _AT_ONCE]]
        done = subprocess.run(
            ["readelf", "--dynamic", "--wide", *some], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BuildError(f"readelf cannot read {folder}: {done.stderr.strip()[:300]}")
        needed |= set(_NEEDED.findall(done.stdout))
    if unknown := sorted(needed - bundled - _OWNERS.keys()):
        raise BuildError(
            f"libraries beneath {folder} need {', '.join(unknown)}: neither bundled nor of a known"
            " package; say in tools/packages/elf.py which Debian package has it"
        )
    return sorted({_OWNERS[name] for name in needed - bundled})


def is_elf(path: Path) -> bool:
    """Whether a file is an ELF object."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"
