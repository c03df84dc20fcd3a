"""Replace a file that held a secret so that its former blocks hold it no more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from runtime.fsio import FileProblem, fsync_folder


def replace_wiped(path: Path, write: Callable[[], None]) -> None:
    """Have ``write`` put a new file at ``path``, and overwrite what was there where it lay.

    The former file keeps a second name until it is overwritten: after a power cut there is the old
    file or the new one, and the next call wipes what was left. No link is followed: root runs this
    in a folder of the agent's account.

    Raises:
        FileProblem: the folder cannot be written.
    """
    former = path.with_name(f".{path.name}.former")
    try:
        _wipe(former)
        if path.exists():
            os.link(path, former)
        write()
        _wipe(former)
    except OSError as error:
        raise FileProblem(f"{path} cannot be replaced: {error.strerror or error}") from error


def _wipe(path: Path) -> None:
    if path.is_symlink():  # never ours: the agent's account, whose folder it is, put it there
        path.unlink()
    if not path.exists():
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "r+b") as stream:
        stream.write(bytes(os.fstat(descriptor).st_size))
        stream.flush()
        os.fsync(descriptor)
    path.unlink()
    fsync_folder(path.parent)
