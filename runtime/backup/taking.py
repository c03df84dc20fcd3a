"""Make a backup: everything goes into a folder under another name, which gets its own at the end.

So what looks like a backup is one. A folder that a killed backup left (``.NAME.partial``) is used
by the next of that name: large files that never change are kept (`Taking.kept`), all else is copied
anew.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from protocol.signing import SigningKey
from runtime.backup.databases import copy_database, figures, make_durable
from runtime.backup.manifest import FileNote, Manifest, check_files
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, fsync_folder, sha256_file
from runtime.lifecycle import FolderInUse, FolderLock

_LOCK = "lock"
Tell = Callable[[str], None]


class Taking:
    """A backup that is being made."""

    def __init__(self, folder: Path, tell: Tell) -> None:
        self.folder = folder
        self.files: dict[str, FileNote] = {}
        self._tell = tell

    def add_database(self, source: Path) -> None:
        """Copy a database as it is now.

        Raises:
            StorageError: see `copy_database`.
        """
        self._tell(source.name)
        target = self.folder / source.name
        copy_database(source, target, self._tell)
        schema, rows = figures(target)
        digest, size = sha256_file(target)
        self.files[source.name] = FileNote(
            sha256=digest, size=size, schema_number=schema, rows=rows
        )

    def add(self, name: str, data: bytes) -> None:
        """Write a file.

        Raises:
            FileProblem: it cannot be written.
        """
        atomic_write(self.folder / name, data, 0o600)
        self.note(name)

    def note(self, name: str, rows: dict[str, int] | None = None) -> None:
        """Take a file that somebody else wrote into the folder for one of the backup's."""
        path = self.folder / name
        path.chmod(0o600)
        make_durable(path)
        digest, size = sha256_file(path)
        self.files[name] = FileNote(sha256=digest, size=size, rows=rows or {})

    def finish(self, manifest: Manifest, key: SigningKey) -> None:
        """Read everything again from the disk, and sign for it.

        Raises:
            BackupInvalid: the disk does not give what was written.
        """
        check_files(self.folder, manifest, self._tell)
        manifest.write(
            self.folder, key, lambda path, data: atomic_write(path, data, 0o600, overwrite=False)
        )


@contextmanager
def taking(out: Path, tell: Tell, *, kept: Collection[str] = ()) -> Iterator[Taking]:
    """Make a backup in the block; at its end it is at ``out``, and if it raises nothing is.

    Args:
        out: the folder to be made.
        tell: is told what is being done.
        kept: folders of a backup that did not come to its end which this one goes on with.

    Raises:
        FileProblem: there is something at ``out``, it cannot be written, or others write there.
        OperationError: another backup to ``out`` is being made.
    """
    out = out.absolute()
    if out.exists() or out.is_symlink():
        raise FileProblem(f"{out} exists already and is left as it is; choose another name")
    partial = out.with_name(f".{out.name}.partial")
    try:
        partial.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FileProblem(
            f"cannot write to {out.parent}: {error.strerror}; check the name and permissions"
        ) from error
    _require_own(partial)
    try:
        lock = FolderLock(partial)
    except FolderInUse:
        raise OperationError(
            f"another backup to {out} is being made; wait for it, or choose another name"
        ) from None
    with closing(lock), _said(out):
        _clear(partial, {_LOCK, *kept})
        try:
            yield Taking(partial, tell)
            _make_folders_durable(partial)
            partial.rename(out)
            (out / _LOCK).unlink()  # not before: whoever found none would clear what is done
            fsync_folder(out.parent)
        except BaseException:
            if partial.exists():
                _clear(partial, kept)
                if not any(partial.iterdir()):
                    partial.rmdir()
            raise


def _require_own(partial: Path) -> None:
    """Check that nobody else made, or may exchange, the folder that is cleared and written.

    Raises:
        FileProblem: it is a link or another account's, or its folder is open to everybody.
    """
    made, above = partial.lstat(), partial.parent.stat()
    if not stat.S_ISDIR(made.st_mode) or made.st_uid != os.geteuid():
        raise FileProblem(
            f"{partial} is not a folder of this account: somebody else put it there, and nothing"
            " was written; choose a place for backups where nobody else writes"
        )
    if above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
        raise FileProblem(
            f"everybody may write in {partial.parent}, and exchange what is made there; choose a"
            " place for backups where nobody else writes"
        )
    partial.chmod(0o700)


@contextmanager
def _said(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileProblem(
            f"cannot write {out}: {error.strerror}; check the disk, then run it again"
        ) from error


def _clear(folder: Path, kept: Collection[str]) -> None:
    for path in folder.iterdir():
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _make_folders_durable(folder: Path) -> None:
    for place, _, _ in os.walk(folder):
        fsync_folder(Path(place))
