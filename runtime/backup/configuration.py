"""A role's configuration with the keys that it names, as one file sealed under a passphrase.

TLS keys lie unprotected on a server's disk, so they leave it sealed or not at all. What stands
outside the configuration's folder is not taken, and named.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import BaseModel

from runtime.backup.manifest import BackupInvalid
from runtime.fsio import atomic_write, private_folder, read_file
from runtime.keyfiles import DEFAULT_COST, Cost
from runtime.sealed_archive import open_archive, seal_archive
from runtime.trust import first_form_file

FILE = "configuration.sealed"
_MAX_FILE_BYTES = 64 << 20
_MAX_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class Configuration:
    """The configuration's file and what it names, by path in its folder.

    Args:
        name: the configuration's own path among them.
        files: content and permission bits by path.
        outside: files that it names elsewhere, which are not taken.
    """

    name: str
    files: dict[str, tuple[bytes, int]]
    outside: tuple[Path, ...] = ()

    def seal(self, passphrase: bytes, purpose: str, *, cost: Cost = DEFAULT_COST) -> bytes:
        """Return it as one sealed file."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, (data, mode) in self.files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), mode
                tar.addfile(entry, io.BytesIO(data))
        with buffer.getbuffer() as plain:
            try:
                return seal_archive(plain, passphrase, purpose, cost=cost)
            finally:
                plain[:] = bytes(len(plain))


def collect(
    path: Path, settings: BaseModel, *, without: Iterable[Path], also: Iterable[Path] = ()
) -> Configuration:
    """Return the configuration at ``path`` with every file that it names and that is there.

    Args:
        path: the configuration.
        settings: what was read from it.
        without: folders that are no part of it: state, objects.
        also: further files that belong to it.

    Raises:
        FileProblem: a file cannot be read.
    """
    folder, left_out = path.absolute().parent, [one.absolute() for one in without]
    named = [path.absolute(), *_paths(settings), *(one.absolute() for one in also)]
    named += [first_form_file(one) for one in named if one.suffix == ".cbor"]
    files: dict[str, tuple[bytes, int]] = {}
    outside: list[Path] = []
    for file in dict.fromkeys(named):
        if not file.is_file() or any(file.is_relative_to(one) for one in left_out):
            continue
        if not file.is_relative_to(folder):
            outside.append(file)
            continue
        mode = file.stat().st_mode & 0o777
        files[str(file.relative_to(folder))] = (read_file(file, _MAX_FILE_BYTES), mode)
    return Configuration(path.name, files, tuple(outside))


def opened(archive: Path, passphrase: bytes, purpose: str) -> Configuration:
    """Return a sealed configuration; nothing of it is written anywhere.

    Raises:
        WrongPassphrase, ArchiveDamaged: it does not open.
        BackupInvalid: it does not hold a configuration.
        FileProblem: it cannot be read.
    """
    data = open_archive(read_file(archive, _MAX_BYTES), passphrase, purpose, name=str(archive))
    files: dict[str, tuple[bytes, int]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            for entry in tar:
                stream = tar.extractfile(entry)
                path = PurePosixPath(entry.name)
                if stream is None or path.is_absolute() or ".." in path.parts:
                    raise BackupInvalid(f"{archive} holds '{entry.name}', which is no plain file")
                files[entry.name] = (stream.read(), entry.mode & 0o777)
    except tarfile.TarError as error:
        raise BackupInvalid(f"{archive} holds no configuration ({error})") from error
    return Configuration(next(iter(files), ""), files)


def put_back(configuration: Configuration, folder: Path) -> tuple[list[str], list[str]]:
    """Put a configuration into ``folder``; what is there already is left as it is.

    Its own file comes last: who is killed before finds none, and begins anew.

    Returns:
        the files that were written, and those that were there.

    Raises:
        FileProblem: it cannot be written; nothing of it is left.
    """
    written: list[str] = []
    kept: list[str] = []
    try:
        for name in sorted(configuration.files, key=lambda one: one == configuration.name):
            data, mode = configuration.files[name]
            target = folder / name
            if target.exists():
                kept.append(name)
                continue
            private_folder(target.parent)
            atomic_write(target, data, mode, overwrite=False)
            written.append(name)
    except BaseException:
        take_away(written, folder)
        raise
    return written, kept


def take_away(written: Iterable[str], folder: Path) -> None:
    """Remove what was put back; its own file, which was written last, goes first."""
    for name in reversed([*written]):
        (folder / name).unlink(missing_ok=True)


def _paths(value: object) -> Iterator[Path]:
    """Yield every path in a configuration, however deep."""
    if isinstance(value, Path):
        yield value.absolute()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _paths(getattr(value, name))
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _paths(one)
