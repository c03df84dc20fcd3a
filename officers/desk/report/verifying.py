"""Check a file that was handed over against the signature beside it, without any network."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from protocol.directory import Directory, open_directory
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import MalformedMessage, ProtocolError
from protocol.exports import EXPORT_KIND, open_export
from protocol.signing import Signed, VerifyKey
from runtime.errors import OperationError
from runtime.fsio import read_file

MAX_FILE_BYTES = 256 << 20
_MAX_SIGNATURE_BYTES = 1 << 16


class FileAltered(OperationError):
    """A file is not what was signed, or nobody of the site signed it."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Who signed a file, of which query (its digest), in which form, when, and its SHA-256."""

    officer: str
    query_digest: bytes
    form: str
    exported_at_ms: int
    sha256: bytes
    revoked: bool


def signature_of(file: Path) -> Path:
    """Return where the signature of a report's file lies by default."""
    return file.with_suffix(".sig")


def verify_file(file: Path, signature: Path, directory: Directory) -> Verified:
    """Check that an investigator of the site signed this very file.

    Args:
        file: as it was handed over.
        signature: the file beside it.
        directory: the site's, verified.

    Raises:
        FileProblem: one of them cannot be read.
        FileAltered: the file is not what was signed, or the signature does not hold, or says
            itself that it was made after its signer had been revoked.
    """
    content = read_file(file, MAX_FILE_BYTES)
    data = read_file(signature, _MAX_SIGNATURE_BYTES)
    return verify_content(content, data, directory, names=(str(file), str(signature)))


def verify_content(
    content: bytes, data: bytes, directory: Directory, *, names: tuple[str, str]
) -> Verified:
    """Check that an investigator of the site signed this very content.

    Args:
        content: of the file that was handed over.
        data: of the signature beside it.
        directory: the site's, verified.
        names: of both files, for what is said of them.

    Raises:
        FileAltered: as `verify_file`.
    """
    file, signature = names
    try:
        signed = Signed.parse(data, kind=EXPORT_KIND)
        export = open_export(signed, directory)
    except ProtocolError as error:
        raise FileAltered(
            f"{signature} is no signature of an investigator of site '{directory.site}' ({error}): "
            "do not rely on the file; ask whoever handed it over for the three files anew"
        ) from error
    digest = hashlib.sha256(content).digest()
    if not any(hmac.compare_digest(digest, one) for one in export.files):
        raise FileAltered(
            f"{file} is not the file that {signed.signer} signed: it was altered, or the signature "
            "belongs to another. Do not rely on it; ask for it anew"
        )
    listed = directory.principals.get(signed.signer)
    revoked_at_ms = None if listed is None else listed.revoked_at_ms
    if revoked_at_ms is not None and export.exported_at_ms >= revoked_at_ms:
        raise FileAltered(
            f"{signed.signer} signed {file} after they had been revoked, by their own word: do not "
            "rely on it; ask the site for a report of another investigator"
        )
    return Verified(
        signed.signer,
        export.query_digest,
        export.form,
        export.exported_at_ms,
        digest,
        revoked=revoked_at_ms is not None,
    )


def given_directory(directory: Path | None, authority: str | None) -> Directory:
    """Return a site's directory from its file, for who is no officer of the site.

    Args:
        directory: as the site's authority signed it.
        authority: its public key, hex.

    Raises:
        OperationError: one of both is missing, or the key is none.
        FileProblem: the file cannot be read.
        SignatureInvalid, MalformedMessage: the authority did not sign it.
    """
    if directory is None or authority is None:
        raise OperationError(
            "--directory and --authority go together: who is whom, and by whose word"
        )
    try:
        key = VerifyKey(bytes.fromhex(authority.strip()))
    except (ValueError, MalformedMessage) as error:
        raise OperationError(
            f"--authority is the public key of the site's authority, 64 hex digits ({error})"
        ) from error
    return open_directory(read_file(directory, MAX_MESSAGE_BYTES), key)
