"""The Debian releases that packages are built for: their Pythons, and the suffix of versions."""

from __future__ import annotations

from dataclasses import dataclass

from provisioning.fleet.image.wheels import Target as WheelTarget


@dataclass(frozen=True, slots=True)
class Release:
    """A Debian release.

    Args:
        name: its code name.
        suffix: of versions, so that the next release's package is the newer one.
        python: its Python, as ``3.11``.
    """

    name: str
    suffix: str
    python: str

    @property
    def python_depends(self) -> tuple[str, ...]:
        """What an environment of this Python depends on."""
        major, minor = self.python.split(".")
        return (f"python3 (>= {self.python})", f"python3 (<< {major}.{int(minor) + 1})")


RELEASES = {
    "bookworm": Release("bookworm", "deb12", "3.11"),
    "trixie": Release("trixie", "deb13", "3.13"),
}
MACHINES = {"amd64": "x86-64", "arm64": "arm64"}
"""Debian's names of architectures, and those of wheels."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a package is built for: a release on an architecture."""

    release: Release
    architecture: str

    @property
    def wheels(self) -> WheelTarget:
        """The same, as it is said of wheels."""
        return WheelTarget(self.release.python, MACHINES[self.architecture])
