"""Write what leaves the system to files: signed and logged first, then whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from officers.desk.case import Case
from officers.desk.session import Session
from protocol.exports import Export
from protocol.signing import Signed, SigningKey
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write
from runtime.http import ProblemError

_MODE = 0o600
_UNKNOWN_ROUTE = frozenset({404, 405})


def hand_over(
    session: Session,
    case: Case,
    form: str,
    files: Mapping[Path, bytes],
    key: SigningKey,
    *,
    overwrite: bool,
    signature: Path | None = None,
) -> Signed:
    """Have it logged that an officer writes these files, then write them; return what was signed.

    A file is readable by its owner alone. What was logged and could not be written then is logged
    all the same: the log may tell of a file that never was, never the other way round.

    Args:
        session: of an officer to whom the query's results are sealed.
        case: the query.
        form: the name of the form.
        files: path to content.
        key: the officer's signing key.
        overwrite: replace files that exist.
        signature: where what was signed is kept beside the files.

    Raises:
        FileProblem: one exists and may not be replaced, or cannot be written.
        OperationError: the aggregator does not log it, or does not answer: nothing is written.
    """
    for path in (*files, *([] if signature is None else [signature])):
        check_free(path, overwrite=overwrite)
    digests = tuple(hashlib.sha256(content).digest() for content in files.values())
    signed = Export(case.digest, form, digests, system_ms()).sign(key)
    log_export(session, case, signed)
    for path, content in files.items():
        atomic_write(path, content, _MODE, overwrite=overwrite)
    if signature is not None:
        atomic_write(signature, signed.to_bytes(), _MODE, overwrite=overwrite)
    return signed


def log_export(session: Session, case: Case, signed: Signed) -> None:
    """Have the aggregator log an export.

    Raises:
        OperationError: it does not.
    """
    try:
        session.client.export(case.id, signed.to_bytes())
    except ProblemError as error:
        if error.status not in _UNKNOWN_ROUTE:
            raise
        raise OperationError(
            "the aggregator keeps no log of exports, so nothing is written: it runs a version "
            "before this one; have its operator bring it up to date"
        ) from error


def check_free(path: Path, *, overwrite: bool) -> None:
    """Check, before anything is logged, that a file can be written there.

    Raises:
        FileProblem: it exists and may not be replaced, or its folder is missing.
    """
    if path.is_dir():
        raise FileProblem(f"{path} is a folder; give a file's name")
    if not path.parent.is_dir():
        raise FileProblem(f"{path.parent} is no folder; make it, or choose another place")
    if path.exists() and not overwrite:
        raise FileProblem(
            f"{path} exists already and is left as it is; move it away, choose another name, or "
            "give --force"
        )
