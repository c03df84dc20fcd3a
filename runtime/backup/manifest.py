"""What a backup says of itself: of which role, from when, which files; signed by that role."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protocol.encoding import decode, encode
from protocol.errors import MalformedMessage, ProtocolError
from protocol.signing import Signed, SigningKey, VerifyKey, sign
from protocol.textformats import parse_json
from runtime.errors import OperationError
from runtime.fsio import read_file, sha256_file

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
FORMAT: Literal["sealtrace-backup/1"] = "sealtrace-backup/1"
_KIND = "backup"
_MAX_BYTES = 16 << 20
_FILE = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,120}$"
_Count = Annotated[int, Field(ge=0, le=2**62)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_FileName = Annotated[str, Field(pattern=_FILE)]


class BackupInvalid(OperationError):
    """A folder is no backup of this role, or is damaged, or was altered."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileNote(_Part):
    """One file: its digest and size, and of a database its schema's number and rows by table."""

    sha256: _Digest
    size: _Count
    schema_number: _Count | None = None
    rows: dict[str, _Count] = {}


class LogNote(_Part):
    """The audit log as it is in the backup; ``size_before``: when the backup began."""

    origin: str
    size_before: _Count
    size: _Count
    root: _Digest


class ObjectsNote(_Part):
    """Packed segments: whether they are in the backup, or where they were left."""

    copied: bool
    place: str
    mark: str = Field(pattern="^[0-9a-f]{0,64}$")
    objects: _Count
    size: _Count


class Manifest(_Part):
    """What is in a backup."""

    format: Literal["sealtrace-backup/1"] = FORMAT
    role: str
    site: str
    name: str
    version: str
    taken_ms: _Count
    files: dict[_FileName, FileNote]
    log: LogNote
    objects: ObjectsNote | None = None
    ledger: str = ""
    """Of an aggregator: the form in which its ledger is here."""

    def write(self, folder: Path, key: SigningKey, put: Callable[[Path, bytes], None]) -> None:
        """Write manifest and signature into ``folder`` by ``put``."""
        text = self.model_dump_json(indent=1).encode() + b"\n"
        signed = sign(_KIND, text, key)
        put(folder / MANIFEST, text)
        put(folder / SIGNATURE, encode([signed.signer, signed.signature]))


def read_manifest(folder: Path, key: VerifyKey, *, role: str, site: str, name: str) -> Manifest:
    """Return the manifest of the backup in ``folder``, once its signature is verified.

    Raises:
        BackupInvalid: no backup, one that was not finished, altered, or of another role.
        FileProblem: it cannot be read.
    """
    if not (folder / MANIFEST).is_file():
        raise BackupInvalid(
            f"{folder} is no backup, or one that was not finished: it has no {MANIFEST}; name the"
            f" folder that the {role}'s command `backup` made"
        )
    text = read_file(folder / MANIFEST, _MAX_BYTES)
    try:
        signer, signature = _signature(read_file(folder / SIGNATURE, 1024))
        Signed(_KIND, signer, text, signature).verify(lambda _: key)
    except ProtocolError as error:
        raise BackupInvalid(
            f"{folder / MANIFEST} is not what {role} '{name}' of site '{site}' signed"
            f" ({error}): it was altered, or is of another; use another backup"
        ) from None
    try:
        manifest = Manifest.model_validate(parse_json(text))
    except (ValidationError, ValueError):
        raise BackupInvalid(
            f"{folder / MANIFEST} is of a form that this version does not know; use the version"
            " that made the backup, or a newer one"
        ) from None
    if (manifest.role, manifest.site, manifest.name) != (role, site, name):
        raise BackupInvalid(
            f"{folder} is a backup of {manifest.role} '{manifest.name}' of site"
            f" '{manifest.site}', not of {role} '{name}' of '{site}'; name another"
        )
    return manifest


def require_signed(
    folder: Path, file: str, key: VerifyKey, *, role: str, site: str, name: str
) -> None:
    """Check one file of a backup against its signed manifest.

    Raises:
        BackupInvalid: the backup, or the file, is not what ``name`` signed.
    """
    manifest = read_manifest(folder, key, role=role, site=site, name=name)
    note = manifest.files.get(file)
    if note is None:
        raise BackupInvalid(f"{folder} has no {file}; use another backup")
    check_file(folder / file, note)


def check_files(folder: Path, manifest: Manifest, tell: Callable[[str], None]) -> None:
    """Read every file that the manifest names, and compare.

    Raises:
        BackupInvalid: one is missing, or is not what was written.
    """
    for file, note in manifest.files.items():
        tell(f"reading {file}")
        check_file(folder / file, note)


def check_file(path: Path, note: FileNote) -> None:
    """Compare a file with what the manifest says of it.

    Raises:
        BackupInvalid: it is missing, or is not what was written.
    """
    if not path.is_file() or sha256_file(path) != (note.sha256, note.size):
        raise BackupInvalid(
            f"{path} is missing or is not what was written: the backup is damaged; use another"
        )


def _signature(data: bytes) -> tuple[str, bytes]:
    value = decode(data, what="signature of a backup", max_bytes=1024, max_items=3)
    if not isinstance(value, list) or len(value) != 2:
        raise MalformedMessage("not a signature of a backup")
    signer, signature = value
    if not isinstance(signer, str) or not isinstance(signature, bytes):
        raise MalformedMessage("not a signature of a backup")
    return signer, signature
