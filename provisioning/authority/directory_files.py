"""The site's signed directory as files, in both of its forms (`protocol.directory_forms`)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from protocol.directory import Directory
from protocol.directory_forms import FIRST, SECOND, sign_forms
from protocol.places import MAX_REGISTER_BYTES
from protocol.signing import SigningKey
from provisioning.formats import layout
from provisioning.formats.layout import SitePaths
from runtime.fsio import FileProblem, atomic_write, read_file

_MAX_BYTES = 64 << 20


def write_directory(paths: SitePaths, directory: Directory, authority: SigningKey) -> Directory:
    """Sign a directory in both forms and write both; the second, which commands read, last.

    Returns:
        the directory as it is read again.

    Raises:
        MalformedMessage: two in force have one key.
        FileProblem: a file cannot be written.
    """
    forms = sign_forms(directory, authority)
    atomic_write(paths.first_directory, forms[FIRST])
    atomic_write(paths.directory, forms[SECOND])
    return replace(directory, form=SECOND)


def read_directory(paths: SitePaths) -> dict[str, bytes]:
    """Return the site's directory as it is handed out: file name to bytes, the second form last.

    Whoever waits for it (a registrar that runs) finds the first beside it then.

    Where the last change was made by software of version 1, there is the first form alone.

    Raises:
        FileProblem: a file cannot be read.
    """
    files = {}
    if paths.first_directory.exists():
        files[layout.FIRST_DIRECTORY_FILE] = read_file(paths.first_directory, _MAX_BYTES)
    files[layout.DIRECTORY_FILE] = read_file(paths.directory, _MAX_BYTES)
    return files


def kept_path(paths: SitePaths) -> Path:
    """Return where the authority keeps the register: a site of earlier versions, as places.csv."""
    former = paths.former_places
    return former if former.exists() and not paths.places.exists() else paths.places


def kept_register(paths: SitePaths, directory: Directory) -> bytes | None:
    """Return the bytes of the register that the directory names, if the authority has them."""
    if directory.places is None:
        return None
    for path in (paths.places, paths.former_places):
        try:
            data = read_file(path, MAX_REGISTER_BYTES)
        except FileProblem:
            continue
        if hashlib.sha256(data).digest() == directory.places:
            return data
    return None
