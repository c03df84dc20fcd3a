"""Reads and writes files on the FAT partition inside an image, with GNU mtools: no root, no mount.

mtools works at an offset of a plain file, is kept up and honours SOURCE_DATE_EPOCH, so the same
files give the same bytes. (The Python library for FAT, pyfatfs, rests on a package that no longer
works with current setuptools.)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from provisioning.fleet.image.errors import BootPartitionFull, ImageError, ToolMissing

_TIMEOUT_S = 600.0
_FREE = re.compile(r"([\d ]+) bytes free")
_DATED = re.compile(r"(\d{4}-\d{2}-\d{2}) +(\d{2}:\d{2})")
_LABEL = re.compile(r"Volume (?:label is|in drive : is) (.+)")


def require_mtools() -> None:
    """Check that mtools is installed.

    Raises:
        ToolMissing: it is not.
    """
    if shutil.which("mcopy") is None:
        raise ToolMissing(
            "mtools is not installed, and the boot partition is written with it; run "
            "`sudo apt install mtools`"
        )


class FatVolume:
    """A FAT file system at an offset of an image file.

    Names are written with slashes and without a leading one: ``sealtrace/wheels``.
    """

    def __init__(self, image: Path, offset: int, *, written_at_s: int = 0) -> None:
        """Name the file system.

        Args:
            offset: where in ``image`` it begins, in bytes.
            written_at_s: the time that written files carry, in Unix seconds.

        Raises:
            ToolMissing: mtools is not installed.
        """
        require_mtools()
        self._image = f"{image}@@{offset}"
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "SOURCE_DATE_EPOCH": str(written_at_s),
            "MTOOLSRC": os.devnull,
            "MTOOLS_SKIP_CHECK": "1",
            "MTOOLS_DATE_STRING": "yyyy-mm-dd",
            "MTOOLS_TWENTY_FOUR_HOUR_CLOCK": "1",
        }

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder, sorted; folders end in a slash.

        Raises:
            ImageError: there is no such folder, or it cannot be read.
        """
        listing = self._run("mdir", "-b", f"::/{folder}").decode("utf-8", "replace")
        prefix = f"::/{folder}/" if folder else "::/"
        found = [line.removeprefix(prefix) for line in listing.splitlines() if line]
        return sorted(name for name in found if name.rstrip("/") not in {".", ".."})

    def has(self, name: str) -> bool:
        """Tell whether a file or folder is there (FAT's names do not tell case apart)."""
        *above, last = name.casefold().split("/")
        folder = "/".join(above)
        if folder and not self.has(folder):
            return False
        return last in {found.casefold().rstrip("/") for found in self.names(folder)}

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            ImageError: it is missing or cannot be read.
        """
        return self._run("mcopy", "-n", f"::/{name}", "-")

    def make_folder(self, name: str) -> None:
        """Make a folder unless it is there.

        Raises:
            BootPartitionFull: there is no room.
        """
        if not self.has(name):
            self._run("mmd", f"::/{name}")

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files at the root or in one folder that exists, over those of the same name.

        Raises:
            BootPartitionFull: there is no room.
        """
        for name in sorted(files):  # over a pipe: what is secret lies in no temporary file
            self._run("mcopy", "-o", "-", f"::/{name}", content=files[name])

    def copy_in(self, sources: Sequence[Path], folder: str) -> None:
        """Copy files of the disk into a folder that exists.

        Raises:
            BootPartitionFull: there is no room.
        """
        ordered = [str(source) for source in sorted(sources, key=lambda path: path.name)]
        self._run("mcopy", "-o", *ordered, f"::/{folder}/")

    def remove_folder(self, name: str) -> None:
        """Remove a folder and all that is in it."""
        self._run("mdeltree", f"::/{name}")

    def free_bytes(self) -> int:
        """Return how many bytes are free."""
        found = _FREE.search(self._run("mdir", "::/").decode("utf-8", "replace"))
        return int(found[1].replace(" ", "")) if found else 0

    def newest_s(self) -> int | None:
        """Return the newest time that a file at the root carries, in Unix seconds; None: none."""
        times = [
            datetime.strptime(f"{day} {minute}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
            for day, minute in _DATED.findall(self._run("mdir", "::/").decode("utf-8", "replace"))
        ]
        return int(max(times).timestamp()) if times else None

    def label(self) -> str:
        """Return the volume's label, empty when it has none."""
        found = _LABEL.search(self._run("mlabel", "-s", "::").decode("utf-8", "replace"))
        return found[1].strip() if found else ""

    def set_label(self, label: str) -> None:
        """Set the volume's label (at most 11 upper-case characters)."""
        self._run("mlabel", f"::{label}")

    def _run(self, tool: str, *arguments: str, content: bytes = b"") -> bytes:
        command = [tool, "-i", self._image, *arguments]
        try:
            done = subprocess.run(
                command,
                env=self._environment,
                input=content,
                capture_output=True,
                check=False,
                timeout=_TIMEOUT_S,
            )
        except FileNotFoundError:
            raise ToolMissing(
                f"{tool} is missing; it is part of mtools: `sudo apt install mtools`"
            ) from None
        except subprocess.TimeoutExpired:
            raise ImageError(f"{tool} did not end within {_TIMEOUT_S:.0f} s; try again") from None
        told = done.stderr.decode("utf-8", "replace").strip()
        if "Disk full" in told or "No free" in told or "no space" in told.lower():
            raise BootPartitionFull(
                "the boot partition is full; use an image with a larger one, or leave out --wheels "
                "and give --requirements with --index-url (the site's own index)"
            )
        if done.returncode != 0:
            reason = told.splitlines()[-1] if told else f"exit code {done.returncode}"
            raise ImageError(
                f"the boot partition cannot be worked on: {tool}: {reason}; get the base image "
                "again"
            )
        return done.stdout
