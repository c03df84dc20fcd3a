"""Versions side by side in a folder, and ``current``, the link that says which one runs.

A version is put together under another name, made durable, then renamed: what has its final name
is whole. ``current`` is exchanged by one rename: a power cut leaves the old or the new.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from pathlib import Path

from protocol.releases import VERSION_PATTERN
from protocol.textformats import parse_json
from provisioning.formats.releases.errors import ReleaseUnusable
from provisioning.formats.releases.packages import settle
from runtime.fsio import FileProblem, atomic_write, fsync_folder, read_file

CURRENT = "current"
RECORD = ".release.json"
_INCOMING = ".incoming-"


class Slots:
    """The installed versions of one kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def current(self) -> str | None:
        """The version that runs; None when none was installed.

        Raises:
            FileProblem: ``current`` is not a link that was made here.
        """
        link = self.folder / CURRENT
        if not link.is_symlink():
            if link.exists():
                raise FileProblem(
                    f"{link} is not a symbolic link, so it cannot be switched; move what it is to"
                    f" {self.folder}/VERSION and link {CURRENT} to VERSION"
                )
            return None
        return link.readlink().name

    def path(self, version: str) -> Path:
        """Return the folder of a version."""
        if re.fullmatch(VERSION_PATTERN, version) is None or version == CURRENT:
            raise ReleaseUnusable(f"{version!r} cannot be the name of a version; release another")
        return self.folder / version

    def has(self, version: str, sha256: str) -> bool:
        """Tell whether a version is installed whole, from the package with that hash."""
        try:
            record = parse_json(read_file(self.path(version) / RECORD, 4096))
        except (FileProblem, ValueError):
            return False
        return isinstance(record, dict) and record.get("sha256") == sha256

    def incoming(self, name: str) -> Path:
        """Return where a version is put together; nothing is there.

        Raises:
            FileProblem: the folder cannot be made.
        """
        self.make_folder()
        path = self.folder / f"{_INCOMING}{name}"
        shutil.rmtree(path, ignore_errors=True)
        return path

    def make_folder(self) -> None:
        """Make the folder of the versions, which the agent's user may read.

        Raises:
            FileProblem: it cannot be made.
        """
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True)
                self.folder.chmod(0o755)
        except OSError as error:
            raise FileProblem(f"cannot make {self.folder}: {error.strerror}") from error

    def adopt(self, incoming: Path, version: str, sha256: str) -> None:
        """Give a version that was put together its final name, durably.

        Raises:
            FileProblem: the disk refuses.
        """
        final = self.path(version)
        atomic_write(incoming / RECORD, json.dumps({"sha256": sha256}).encode())
        settle(incoming)
        try:
            if final.exists():  # from another package: never the one that runs
                old = self.incoming("old")
                final.rename(old)
                shutil.rmtree(old, ignore_errors=True)
            incoming.rename(final)
            fsync_folder(self.folder)
        except OSError as error:
            raise FileProblem(f"cannot put {final} in place: {error.strerror}") from error

    def switch(self, version: str | None) -> None:
        """Let ``current`` be ``version``; None removes it. Does nothing when it is.

        Raises:
            FileProblem: the version is not there, or the disk refuses.
        """
        if self.current == version:
            return
        link = self.folder / CURRENT
        try:
            if version is None:
                link.unlink()
            else:
                if not self.path(version).is_dir():
                    raise FileProblem(f"{self.path(version)} is not there; install it again")
                temporary = self.folder / f"{_INCOMING}link-{secrets.token_hex(4)}"
                temporary.symlink_to(version)
                temporary.replace(link)
            fsync_folder(self.folder)
        except OSError as error:
            raise FileProblem(f"cannot switch {link}: {error.strerror}; check the disk") from error

    def clear_incoming(self) -> None:
        """Remove what was left half-made by a run that was cut short."""
        for path in self.folder.glob(f"{_INCOMING}*"):
            if path.is_symlink() or path.is_file():
                path.unlink(missing_ok=True)
            else:
                shutil.rmtree(path, ignore_errors=True)

    def tidy(self, keep: set[str | None]) -> None:
        """Remove versions that were installed here, other than ``keep``."""
        for record in self.folder.glob(f"*/{RECORD}"):
            if record.parent.name not in keep and not record.parent.is_symlink():
                shutil.rmtree(record.parent, ignore_errors=True)
