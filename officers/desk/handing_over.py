"""Hand over what leaves the system as files: signed and logged first, then whole or not at all.

A command writes the files itself. For a page they are made in memory (`to_hand_over`), signed in
between, logged (`hand_in_export`), and given to the browser.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from officers.desk.case import Case
from officers.desk.own_word import check_own, check_same
from officers.desk.phrases import phrase
from officers.desk.session import Session
from protocol.directory import INVESTIGATOR
from protocol.exports import EXPORT_KIND, Export
from protocol.signing import Signed, SigningKey, Unsigned
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write
from runtime.http import ProblemError

_MODE = 0o600
_UNKNOWN_ROUTE = frozenset({404, 405})


@dataclass(frozen=True, slots=True)
class Prepared:
    """Files that are made and not handed over yet: no log tells of them.

    Args:
        files: name to content.
        unsigned: that the officer writes these very files.
    """

    form: str
    files: Mapping[str, bytes] = field(repr=False)
    unsigned: Unsigned


def to_hand_over(session: Session, case: Case, form: str, files: Mapping[str, bytes]) -> Prepared:
    """Return what is signed before files of a query's results are handed over.

    Args:
        session: of an officer to whom the results are sealed.
        case: the query.
        form: the name of the form.
        files: name to content, in memory.
    """
    unsigned = _export(case, form, list(files.values())).unsigned(session.officer.name)
    return Prepared(form, dict(files), unsigned)


def hand_in_export(session: Session, case: Case, prepared: Prepared, signed: Signed) -> None:
    """Have it logged that an officer hands these files over; they may be given out then.

    Args:
        prepared: from `to_hand_over`.
        signed: its ``unsigned``, signed.

    Raises:
        SignatureInvalid: it is not the officer's, or of other files, or of another query.
        OperationError: the aggregator does not log it, or does not answer: nothing may be given.
    """
    export = Export.parse(check_own(session.officer, signed, EXPORT_KIND, INVESTIGATOR))
    check_same(case.digest, export.query_digest, "query")
    wanted = _export(case, prepared.form, list(prepared.files.values()))
    check_same(wanted.form.encode(), export.form.encode(), "form")
    check_same(b"".join(wanted.files), b"".join(export.files), "file")
    log_export(session, case, signed)


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
    signed = _export(case, form, list(files.values())).sign(key)
    log_export(session, case, signed)
    for path, content in files.items():
        atomic_write(path, content, _MODE, overwrite=overwrite)
    if signature is not None:
        atomic_write(signature, signed.to_bytes(), _MODE, overwrite=overwrite)
    return signed


def _export(case: Case, form: str, contents: Sequence[bytes]) -> Export:
    digests = tuple(hashlib.sha256(content).digest() for content in contents)
    return Export(case.digest, form, digests, system_ms())


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
            phrase(
                "the aggregator keeps no log of exports, so nothing is written: it runs a version "
                "before this one; have its operator bring it up to date"
            )
        ) from error


def check_free(path: Path, *, overwrite: bool) -> None:
    """Check, before anything is logged, that a file can be written there.

    Raises:
        FileProblem: it exists and may not be replaced, or its folder is missing.
    """
    if path.is_dir():
        raise FileProblem(
            phrase(
                "{path} is a folder; give a file's name",
                path=path,
            )
        )
    if not path.parent.is_dir():
        raise FileProblem(
            phrase(
                "{parent} is no folder; make it, or choose another place",
                parent=path.parent,
            )
        )
    if path.exists() and not overwrite:
        raise FileProblem(
            phrase(
                "{path} exists already and is left as it is; move it away, choose another name, "
                "or give --force",
                path=path,
            )
        )
