"""Write files so that a power cut leaves the old content or the new, never a piece of one."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from runtime.errors import OperationError

_CHUNK = 1 << 20


class FileProblem(OperationError):
    """A file is missing, unreadable, too large, already there, or cannot be written."""


def fsync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable (POSIX: a rename lives in its directory)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write(path: Path, data: bytes, mode: int = 0o644, *, overwrite: bool = True) -> None:
    """Write ``data`` to ``path`` durably: temporary file, fsync, rename, fsync of the folder.

    The file has exactly the permission bits ``mode`` from its first byte on. With
    ``overwrite=False`` an existing file is left alone and `FileProblem` is raised, even when
    another process creates it at the same moment.

    Raises:
        FileProblem: the folder is missing or read-only, the disk is full, or the file exists.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)
            with os.fdopen(descriptor, "wb", closefd=False) as stream:
                stream.write(data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if overwrite:
            temporary.replace(path)
        else:
            os.link(temporary, path)
            temporary.unlink()
        fsync_folder(path.parent)
    except FileExistsError:
        temporary.unlink(missing_ok=True)
        raise FileProblem(
            f"{path} exists already and is left as it is; move it away or choose another name"
        ) from None
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FileProblem(
            f"cannot write {path}: {error.strerror}; check the folder, its permissions and the disk"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_if_new(path: Path, data: bytes, mode: int = 0o644) -> bool:
    """Write ``data`` with `atomic_write` unless ``path`` holds just that; tell whether it did not.

    Raises:
        FileProblem: it cannot be written.
    """
    try:
        if path.exists() and read_file(path, max(1, len(data))) == data:
            return False
    except FileProblem:
        pass
    atomic_write(path, data, mode)
    return True


_PIECE_BYTES = 1 << 20


def read_file(path: Path, max_bytes: int) -> bytes:
    """Read a whole file of at most ``max_bytes`` bytes.

    Raises:
        FileProblem: it is missing, unreadable, not a regular file, or larger than that.
    """
    try:
        if not path.is_file() and path.exists():
            raise FileProblem(f"{path} is not a regular file; name the file itself")
        with path.open("rb") as stream:
            # As large as the file: a read of the limit would take the limit.
            at_once = max(_PIECE_BYTES, os.fstat(stream.fileno()).st_size + 1)
            data = stream.read(min(at_once, max_bytes + 1))
            while len(data) <= max_bytes:
                piece = stream.read(min(_PIECE_BYTES, max_bytes + 1 - len(data)))
                if not piece:
                    break
                data += piece
    except OSError as error:
        raise FileProblem(
            f"cannot read {path}: {error.strerror}; check the name and the permissions"
        ) from error
    if len(data) > max_bytes:
        raise FileProblem(f"{path} is larger than {max_bytes} bytes, too large for what it is")
    return data


def sha256_file(path: Path) -> tuple[str, int]:
    """Return the SHA-256 (lower-case hex) and the size in bytes of the file at ``path``.

    Raises:
        FileProblem: it cannot be read.
    """
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise FileProblem(
            f"cannot read {path}: {error.strerror}; check the name and the permissions"
        ) from error
    return digest.hexdigest(), size


def private_folder(path: Path) -> Path:
    """Create ``path`` (and what is above it) if need be, readable by its owner only; return it.

    Raises:
        FileProblem: it cannot be created, or a file has that name.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FileProblem(
            f"cannot create the folder {path}: {error.strerror}; check the name and permissions"
        ) from error
    return path
