"""Puts files into the ext4 root file system inside an image, with e2fsprogs: no root, no mount.

Stock images for PCs have a small boot partition (124 MB on Debian's), and what a box installs is
larger. `debugfs` of e2fsprogs writes into a file system at an offset of a plain file, and the same
files give the same bytes. It says little when it fails, so all is read back.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioning.fleet.image.errors import ImageError, RootVolumeUnusable, ToolMissing
from provisioning.fleet.image.partitions import Partition, read_partitions

CARD_FOLDER = "/var/lib/sealtrace/card"
"""Where on the box's root file system the card's software and models lie."""
_SPARE_BYTES = 64 << 20
_TIMEOUT_S = 600.0
_MAGIC_AT, _MAGIC = 1024 + 56, b"\x53\xef"
_FIELD = re.compile(r"^([A-Z][^:]+):\s*(.*)$", re.MULTILINE)
_PLAIN = re.compile(r"[A-Za-z0-9_./+!-]+")


@dataclass(frozen=True, slots=True)
class RootVolume:
    """The root file system of an image: the largest of its ext4 partitions.

    Attributes:
        image: the raw image.
        partition: where the file system is in it.
        written_at_s: the time that written files carry, in Unix seconds.
    """

    image: Path
    partition: Partition
    written_at_s: int = 0

    def free_bytes(self) -> int:
        """Return how many bytes may be filled; some are kept for the system's first start.

        Raises:
            RootVolumeUnusable: it was not unmounted, or is damaged.
        """
        told = dict(_FIELD.findall(self._run("dumpe2fs", "-h")))
        try:
            free = int(told["Free blocks"]) - int(told["Reserved block count"])
            free *= int(told["Block size"])
        except (KeyError, ValueError):
            raise self._unusable("it cannot be read") from None
        if (
            told.get("Filesystem state") != "clean"
            or "needs_recovery" in told["Filesystem features"]
        ):
            raise self._unusable("it was not unmounted, or is damaged")
        return free - _SPARE_BYTES

    def copy_in(self, folders: Mapping[str, Sequence[Path]], texts: Mapping[str, bytes]) -> None:
        """Write files below :data:`CARD_FOLDER`, all owned by root and readable by everybody.

        Args:
            folders: name of a folder to what is copied into it.
            texts: name of a file to its content.

        Raises:
            ImageError: the tool is missing or fails, or a name is not plain.
        """
        above = [str(path) for path in reversed(Path(CARD_FOLDER).parents) if path != Path("/")]
        lines = [f"mkdir {folder}" for folder in (*above, CARD_FOLDER)]
        with tempfile.TemporaryDirectory(prefix="sealtrace-image-") as made:
            for name, data in texts.items():
                (Path(made) / name).write_bytes(data)
                lines += self._written(Path(made) / name, f"{CARD_FOLDER}/{name}")
            for folder, sources in folders.items():
                lines.append(f"mkdir {CARD_FOLDER}/{folder}")
                for source in sorted(sources, key=lambda path: path.name):
                    lines += self._written(source, f"{CARD_FOLDER}/{folder}/{source.name}")
            script = Path(made) / ".commands"
            script.write_text("".join(f"{line}\n" for line in lines))
            self._run("debugfs", "-w", "-f", str(script))

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder below :data:`CARD_FOLDER`; none when it is not there."""
        listed = self._run("debugfs", "-R", f"ls -p {CARD_FOLDER}/{folder}")
        names = [line.split("/")[5] for line in listed.splitlines() if line.count("/") >= 6]
        return sorted(name for name in names if name not in {".", ".."})

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file below :data:`CARD_FOLDER`."""
        hashing = hashlib.sha256()
        command = ["debugfs", "-R", f"cat {CARD_FOLDER}/{name}", self._place()]
        with subprocess.Popen(
            [_tool(command[0]), *command[1:]], env=self._environment(), cwd=self.image.parent,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            left = self.partition.size  # what claims to be larger is holes, and not as listed
            while left >= 0 and process.stdout and (chunk := process.stdout.read(1 << 20)):
                hashing.update(chunk)
                left -= len(chunk)
            process.kill()
        return hashing.hexdigest()

    def _written(self, source: Path, target: str) -> list[str]:
        if not _PLAIN.fullmatch(target) or '"' in str(source) or "\n" in str(source):
            raise ImageError(f"{source} has a name that cannot be written to the card; rename it")
        return [
            f'write "{source.absolute()}" {target}',
            f"set_inode_field {target} mode 0100644",
            f"set_inode_field {target} uid 0",
            f"set_inode_field {target} gid 0",
        ]

    def _place(self) -> str:
        if "?" in self.image.name:
            raise ImageError(f"{self.image.name} has a '?' in its name; choose another --out")
        return f"./{self.image.name}?offset={self.partition.offset}"

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "E2FSPROGS_FAKE_TIME": str(self.written_at_s),
            "DEBUGFS_PAGER": "__none__",
        }

    def _run(self, tool: str, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [_tool(tool), *arguments, self._place()],
                env=self._environment(),
                cwd=self.image.parent,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            raise ImageError(f"{tool} did not end within {_TIMEOUT_S:.0f} s; try again") from None
        if done.returncode:
            told = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise self._unusable(told[-1] if told else f"{tool}: exit code {done.returncode}")
        return done.stdout.decode("utf-8", "replace")

    def _unusable(self, why: str) -> RootVolumeUnusable:
        return RootVolumeUnusable(
            f"the root file system (partition {self.partition.number}) of the image cannot be"
            f" written to: {why}; get the base image again"
        )


def find_root(image: Path, *, written_at_s: int = 0) -> RootVolume | None:
    """Return the root file system of an image; None when it has no ext4 partition.

    Raises:
        PartitionTableInvalid: the partition table is missing or nonsense.
    """
    with image.open("rb", buffering=0) as stream:

        def read_at(offset: int, length: int) -> bytes:
            return os.pread(stream.fileno(), length, offset)

        found = [
            part
            for part in read_partitions(read_at, image.stat().st_size)
            if read_at(part.offset + _MAGIC_AT, 2) == _MAGIC
        ]
    largest = max(found, key=lambda part: part.size, default=None)
    return None if largest is None else RootVolume(image, largest, written_at_s)


def _tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/sbin:/usr/sbin")
    if found is None:
        raise ToolMissing(
            f"{name} is missing, and software that does not fit the boot partition is written with"
            " it; it is part of e2fsprogs: `sudo apt install e2fsprogs`"
        )
    return found
