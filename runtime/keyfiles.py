"""Keep secrets in files: sealed under a passphrase, bound to their purpose, destroyed on request.

The form is text, so that a person can see what a file is for without opening it::

    -----BEGIN SEALTRACE SECRET-----
    version: 1
    purpose: officer signing key
    kdf: argon2id m=47104 t=1 p=1
    salt: 2b0c...
    nonce: 91aa...

    <base64 of AES-256-GCM(key, nonce, secret, additional data = the five lines above)>
    -----END SEALTRACE SECRET-----

Argon2id is RFC 9106; the default cost (46 MiB, one pass, about 80 ms of one core) is the OWASP
Password Storage Cheat Sheet's. With ``kdf: none`` the body is the secret itself: for boards, which
must start unattended; such a file is as safe as its disk.
"""

from __future__ import annotations

import base64
import getpass
import os
import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from protocol.encoding import decode_base64
from protocol.errors import MalformedMessage
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, fsync_folder, read_file

MAX_SECRET_BYTES = 1 << 20
PASSPHRASE_ENVIRONMENT = "SEALTRACE_PASSPHRASE"  # noqa: S105 - the variable's name
MIN_PASSPHRASE_BYTES = 8
_BEGIN, _END = "-----BEGIN SEALTRACE SECRET-----", "-----END SEALTRACE SECRET-----"
_TEXT = r"[ -~]*\n"
_FORM = re.compile(
    rf"{_BEGIN}\n(?P<header>version: {_TEXT}purpose: {_TEXT}kdf: {_TEXT}salt: {_TEXT}"
    rf"nonce: {_TEXT})\n"
    rf"(?P<body>[A-Za-z0-9+/=\n]*)\n{_END}\n"
)
_PURPOSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/@-]{0,119}")
_KDF = re.compile(r"argon2id m=([0-9]{1,7}) t=([0-9]{1,2}) p=([0-9]{1,2})")


class KeyFileError(OperationError):
    """A key file is damaged, is not one, or is for another purpose."""


class WrongPassphrase(KeyFileError):
    """The passphrase does not open the file (or the file has been altered)."""


class PassphraseMissing(KeyFileError):
    """A passphrase is needed and nobody can be asked for it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What trying one passphrase costs: Argon2id's memory, passes and lanes (RFC 9106, 3.1)."""

    memory_kib: int = 46 * 1024
    passes: int = 1
    lanes: int = 1


DEFAULT_COST = Cost()
_LARGEST = Cost(memory_kib=1 << 20, passes=64, lanes=16)


def write_secret(
    path: Path,
    secret: bytes,
    passphrase: bytes | None,
    purpose: str,
    *,
    overwrite: bool = False,
    cost: Cost = DEFAULT_COST,
) -> None:
    """Write ``secret`` to ``path`` durably, readable by its owner only.

    Args:
        path: where to; an existing file is left alone unless ``overwrite``.
        secret: at most 1 MiB.
        passphrase: seals it; None writes it unprotected.
        purpose: what it is for: letters, digits, spaces and ``._/@-``; needed to read it.
        overwrite: replace an existing file.
        cost: of Argon2id; recorded in the file. Lower it in tests only.

    Raises:
        FileProblem: the file exists, or cannot be written.
        ValueError: the purpose or the size is not acceptable, or the passphrase is empty.
    """
    if _PURPOSE.fullmatch(purpose) is None:
        raise ValueError(f"not a purpose of a key file: {purpose!r}")
    if len(secret) > MAX_SECRET_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes is too large for a key file")
    if passphrase is None:
        header = f"version: 1\npurpose: {purpose}\nkdf: none\nsalt: \nnonce: \n"
        body = secret
    else:
        if not passphrase:
            raise ValueError("an empty passphrase protects nothing; pass None to say so")
        salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
        header = (
            f"version: 1\npurpose: {purpose}\n"
            f"kdf: argon2id m={cost.memory_kib} t={cost.passes} p={cost.lanes}\n"
            f"salt: {salt.hex()}\nnonce: {nonce.hex()}\n"
        )
        body = AESGCM(_key(passphrase, salt, cost)).encrypt(nonce, secret, header.encode())
    text = base64.b64encode(body).decode()
    lines = "\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    content = f"{_BEGIN}\n{header}\n{lines}\n{_END}\n"
    atomic_write(path, content.encode(), 0o600, overwrite=overwrite)


def read_secret(path: Path, passphrase: bytes | None, purpose: str) -> bytes:
    """Return the secret in the file at ``path``.

    Args:
        path: a file made by `write_secret`.
        passphrase: what it was sealed under; None for an unprotected file.
        purpose: what it must be for.

    Raises:
        WrongPassphrase: the passphrase does not fit, or the file was altered.
        PassphraseMissing: the file is sealed and ``passphrase`` is None.
        KeyFileError: not a key file, damaged, for another purpose, or unexpectedly unprotected.
        FileProblem: it cannot be read.
    """
    fields, header, body = _parse(path)
    if fields["purpose"] != purpose:
        raise KeyFileError(
            f"{path} is for another purpose ({fields['purpose']}); needed is a file for: {purpose}"
        )
    if fields["kdf"] == "none":
        if passphrase is not None:
            raise KeyFileError(
                f"{path} is not sealed under a passphrase, though one was expected: "
                "somebody may have exchanged the file"
            )
        return body
    if passphrase is None:
        raise PassphraseMissing(
            f"{path} is sealed under a passphrase; give --passphrase-file or set "
            f"{PASSPHRASE_ENVIRONMENT}"
        )
    cost = _cost(path, fields["kdf"])
    if not re.fullmatch("[0-9a-f]{32}", fields["salt"]) or not re.fullmatch(
        "[0-9a-f]{24}", fields["nonce"]
    ):
        raise _damaged(path)
    salt, nonce = bytes.fromhex(fields["salt"]), bytes.fromhex(fields["nonce"])
    try:
        return AESGCM(_key(passphrase, salt, cost)).decrypt(nonce, body, header.encode())
    except InvalidTag:
        raise WrongPassphrase(
            f"the passphrase does not open {path} (or the file was altered); try again"
        ) from None


def open_secret(path: Path, purpose: str, passphrase_file: Path | None = None) -> bytes:
    """Return the secret at ``path``, getting a passphrase (`get_passphrase`) only if it is sealed.

    Raises:
        KeyFileError, FileProblem: see `read_secret` and `get_passphrase`.
    """
    passphrase = get_passphrase(passphrase_file, what=str(path)) if is_sealed(path) else None
    return read_secret(path, passphrase, purpose)


def is_sealed(path: Path) -> bool:
    """Tell whether reading the key file at ``path`` takes a passphrase.

    Raises:
        KeyFileError: not a key file.
        FileProblem: it cannot be read.
    """
    return _parse(path)[0]["kdf"] != "none"


def shred(path: Path) -> None:
    """Overwrite the file's content, make that durable, remove it; a missing file is no error.

    Flash storage and copy-on-write file systems may keep the old blocks; what must be gone for
    sure is kept sealed under a key that is destroyed (a passphrase, a day's key).

    Raises:
        FileProblem: it cannot be overwritten or removed.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileProblem(f"cannot destroy {path}: {error.strerror}") from error
    try:
        size = os.fstat(descriptor).st_size
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            for start in range(0, size, 1 << 20):
                stream.write(secrets.token_bytes(min(1 << 20, size - start)))
        os.fsync(descriptor)
        path.unlink()
        fsync_folder(path.parent)
    except OSError as error:
        raise FileProblem(f"cannot destroy {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def get_passphrase(file: Path | None = None, *, what: str = "the key", new: bool = False) -> bytes:
    """Get a passphrase: from ``file``, else from the environment, else by asking at the terminal.

    Args:
        file: from ``--passphrase-file``; one trailing line end is not part of the passphrase.
        what: what it opens, for the question.
        new: it is being chosen: ask twice, until both are the same, and refuse fewer than 8 bytes.

    Raises:
        PassphraseMissing: none of the three gives one.
        KeyFileError: too short for a new one.
        FileProblem: ``file`` cannot be read.
    """
    if file is not None:
        passphrase = re.sub(rb"\r?\n\Z", b"", read_file(file, 1024))
        source = str(file)
    elif os.environ.get(PASSPHRASE_ENVIRONMENT):
        passphrase = os.environb[PASSPHRASE_ENVIRONMENT.encode()]
        source = PASSPHRASE_ENVIRONMENT
    else:
        passphrase = _ask(what, new=new)
        source = "the answer"
    if not passphrase:
        raise PassphraseMissing(f"the passphrase for {what} is empty ({source}); give one")
    if new and len(passphrase) < MIN_PASSPHRASE_BYTES:
        raise KeyFileError(
            f"the passphrase for {what} has fewer than {MIN_PASSPHRASE_BYTES} bytes ({source}); "
            "several words together make a good one"
        )
    return passphrase


def _ask(what: str, *, new: bool) -> bytes:
    if not sys.stdin.isatty():
        raise PassphraseMissing(
            f"a passphrase for {what} is needed and there is no terminal to ask at; give "
            f"--passphrase-file or set {PASSPHRASE_ENVIRONMENT}"
        )
    try:
        first = getpass.getpass(f"{'New passphrase' if new else 'Passphrase'} for {what}: ")
        while new and getpass.getpass("The same again: ") != first:
            sys.stderr.write("the two answers differ: once more, both\n")
            first = getpass.getpass(f"New passphrase for {what}: ")
    except EOFError:
        raise PassphraseMissing(f"no passphrase for {what} was given; nothing was done") from None
    return first.encode()


def _key(passphrase: bytes, salt: bytes, cost: Cost) -> bytes:
    return Argon2id(
        salt=salt,
        length=32,
        iterations=cost.passes,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    ).derive(passphrase)


def _cost(path: Path, text: str) -> Cost:
    match = _KDF.fullmatch(text)
    if match is None:
        raise KeyFileError(f"{path} uses an unknown key derivation; a newer version made it")
    cost = Cost(*(int(part) for part in match.groups()))
    bounded = (
        8 * cost.lanes <= cost.memory_kib <= _LARGEST.memory_kib
        and 1 <= cost.passes <= _LARGEST.passes
        and 1 <= cost.lanes <= _LARGEST.lanes
    )
    if not bounded:
        raise KeyFileError(f"{path} asks for an unreasonable key derivation; it was not made here")
    return cost


def _parse(path: Path) -> tuple[dict[str, str], str, bytes]:
    """Return the header's fields, the header's text and the body's bytes."""
    match = _FORM.fullmatch(read_file(path, 2 * MAX_SECRET_BYTES).decode("ascii", "replace"))
    if match is None:
        raise _damaged(path)
    fields = dict(line.split(": ", 1) for line in match["header"].splitlines())
    try:
        body = decode_base64(match["body"].replace("\n", ""), what=str(path))
    except MalformedMessage:
        raise _damaged(path) from None
    if fields["version"] != "1":
        raise KeyFileError(f"{path} was made by a newer version of this program; use that one")
    return fields, match["header"], body


def _damaged(path: Path) -> KeyFileError:
    return KeyFileError(f"{path} is not a key file, or it is damaged; give another, or a backup")
