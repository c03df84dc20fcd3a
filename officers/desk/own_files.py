"""Files that an officer keeps for nobody else: sealed to the officer's own key in the state folder.

Each names its purpose and who it is for in the seal, so that none passes for another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from officers.desk.officer import Officer, OfficerError
from officers.desk.phrases import phrase
from protocol import hpke
from protocol.errors import ProtocolError
from protocol.textformats import parse_json
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, private_folder, read_file


class OwnFileInvalid(OperationError):
    """A file of one's own does not open, or is of a version to come."""


def folder_of(officer: Officer, name: str) -> Path:
    """Return a folder within the officer's state, which nobody else reads; made if need be.

    Raises:
        FileProblem: it cannot be made.
    """
    private_folder(officer.config.state_dir)
    return private_folder(officer.config.state_dir / name)


def write_sealed(officer: Officer, path: Path, data: bytes, purpose: str, about: str) -> None:
    """Seal data to the officer and write it, whole or not at all.

    Args:
        path: in a folder of `folder_of`.
        purpose, about: what it is, and of whom or what.

    Raises:
        OfficerError: nothing is ever sealed to this officer.
        FileProblem: it cannot be written.
    """
    listed = officer.directory.principals.get(officer.name)
    if listed is None or listed.seal_key is None:
        raise OfficerError(
            phrase(
                "the site's directory lists no sealing key of yours, so nothing can be sealed to "
                "you"
            )
        )
    sealed = listed.seal_key.seal(data, purpose=purpose, context=[officer.name, about])
    atomic_write(path, sealed, 0o600)


def read_sealed(
    officer: Officer, path: Path, key: hpke.PrivateKey, purpose: str, about: str, *, most_bytes: int
) -> bytes:
    """Open what `write_sealed` wrote.

    Raises:
        FileProblem: it cannot be read.
        OwnFileInvalid: it does not open: altered, of something else, or sealed to an earlier key.
    """
    try:
        return key.open(read_file(path, most_bytes), purpose=purpose, context=[officer.name, about])
    except ProtocolError as error:
        raise OwnFileInvalid(
            phrase(
                "{file} does not open with your sealing key: it was sealed under an earlier one, "
                "or has been altered",
                file=path.name,
            )
        ) from error


def write_sealed_json(
    officer: Officer, path: Path, value: Mapping[str, Any], purpose: str, about: str
) -> None:
    """As `write_sealed`, of JSON values."""
    data = json.dumps(value, ensure_ascii=False).encode()
    write_sealed(officer, path, data, purpose, about)


def read_sealed_json(
    officer: Officer,
    path: Path,
    key: hpke.PrivateKey,
    purpose: str,
    about: str,
    *,
    schema: int,
    most_bytes: int = 1 << 20,
) -> dict[str, Any]:
    """Open JSON values that say their ``schema``; as `read_sealed`.

    Raises:
        OwnFileInvalid: it is of another schema, too.
    """
    opened = read_sealed(officer, path, key, purpose, about, most_bytes=most_bytes)
    try:
        value = parse_json(opened.decode())
    except ValueError as error:
        raise OwnFileInvalid(phrase("{file} cannot be read", file=path.name)) from error
    if not isinstance(value, dict) or value.get("schema") != schema:
        found = value.get("schema") if isinstance(value, dict) else None
        raise OwnFileInvalid(
            phrase(
                "{file} is of schema {found}, and this program reads {known}: it needs its update",
                file=path.name,
                found=str(found),
                known=schema,
            )
        )
    return value


def delete(path: Path) -> bool:
    """Overwrite a file and delete it; tell whether there was one.

    Raises:
        FileProblem: it cannot be deleted.
    """
    try:
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(bytes(size))
            file.flush()
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise FileProblem(f"cannot delete {path}: {error.strerror}") from error
    return True
