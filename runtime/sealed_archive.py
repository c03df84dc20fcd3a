"""Seal bytes of any size under a passphrase, in a form that says what it is for.

A secret file of `runtime.keyfiles` with a random key in it, a line between, and the bytes under
that key (AES-256-GCM, which covers the first part too). Used for backups: of a site's offline half,
and of a role's configuration with the keys that stand in it.
"""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from runtime import keyfiles
from runtime.errors import OperationError
from runtime.keyfiles import Cost

_SEPARATOR = b"\n-----BEGIN SEALTRACE ARCHIVE-----\n"
_NONCE = bytes(12)  # a key is used for one archive only


class ArchiveDamaged(OperationError):
    """A sealed archive is not one, or was cut off or altered."""


def seal_archive(data: bytes | memoryview, passphrase: bytes, purpose: str, *, cost: Cost) -> bytes:
    """Return ``data`` sealed under ``passphrase``, bound to ``purpose``."""
    key = secrets.token_bytes(32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        keyfiles.write_secret(path, key, passphrase, purpose, cost=cost)
        head = path.read_bytes()
    return head + _SEPARATOR + AESGCM(key).encrypt(_NONCE, data, head)


def require_archive(data: bytes, purpose: str, *, name: str) -> None:
    """Check that ``data`` looks like an archive, without a passphrase.

    Raises:
        ArchiveDamaged: it does not.
    """
    _split(data, purpose, name)


def open_archive(data: bytes, passphrase: bytes, purpose: str, *, name: str) -> bytes:
    """Return what `seal_archive` sealed.

    Args:
        data: the archive.
        passphrase: what it was sealed under.
        purpose: what it must be for; also the command that makes it, behind ``sealtrace``.
        name: what it is called in messages.

    Raises:
        WrongPassphrase: the passphrase does not fit, or the head was altered.
        ArchiveDamaged: it is no archive, or was altered.
        KeyFileError: it is for another purpose.
    """
    head, body = _split(data, purpose, name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        path.write_bytes(head)
        try:
            key = keyfiles.read_secret(path, passphrase, purpose)
        except keyfiles.WrongPassphrase:
            raise keyfiles.WrongPassphrase(
                f"the passphrase does not open {name} (or the file was altered); try again"
            ) from None
    try:
        return AESGCM(key).decrypt(_NONCE, body, head)
    except InvalidTag:
        raise ArchiveDamaged(f"{name} is damaged; use another copy of the backup") from None


def _split(data: bytes, purpose: str, name: str) -> tuple[bytes, bytes]:
    head, separator, body = data.partition(_SEPARATOR)
    if not separator:
        raise ArchiveDamaged(f"{name} is not a {purpose}; give a file of `sealtrace {purpose}`")
    return head, body
