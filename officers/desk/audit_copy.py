"""An auditor's folder: copies of all logs with what is needed to judge them offline, growing.

``site.json`` (site, authority's key, when fetched), ``directory.cbor`` and ``admissions.cbor``,
``policies/DIGEST.toml`` with ``.sig``, ``logs/ACTOR`` in the form of `runtime.logcopy`, and what
each role says of the others' logs (`officers.desk.audit_witnessed`). Fetching again only
adds: what was fetched before is the auditor's memory, against which every new answer is held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from officers.desk.audit_witnessed import read_witnessed
from protocol.admissions import open_admissions
from protocol.audit import LogCopy
from protocol.audit_editions import ADMISSIONS, DIRECTORY, FIRST, Editions
from protocol.directory import Directory, open_directory
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import ProtocolError
from protocol.policy import Policy, open_policy
from protocol.signing import VerifyKey
from protocol.textformats import parse_json
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, private_folder, read_file
from runtime.logcopy import LogCopyInvalid, read_copy

SITE_FILE, DIRECTORY_FILE, ADMISSIONS_FILE = "site.json", "directory.cbor", "admissions.cbor"
POLICIES, LOGS = "policies", "logs"
FORMER = "directories"
"""Folder of the directories that were fetched before, each named by its digest."""


class AuditCopyError(OperationError):
    """The folder is not an auditor's copy, or not of this site."""


@dataclass(frozen=True, slots=True)
class AuditCopy:
    """Everything in an auditor's folder, signatures of directory and policies verified.

    ``witnessed`` is what each role said of the others' logs, ``editions`` the digests of the signed
    directory and admissions; ``damaged`` names the logs whose files cannot be read at all, with the
    reason; ``former`` are directories that were fetched before.
    """

    authority: VerifyKey
    fetched_ms: int
    directory: Directory
    policies: dict[bytes, Policy]
    logs: tuple[LogCopy, ...]
    witnessed: Mapping[str, list[str]]
    editions: Editions
    damaged: tuple[tuple[str, str], ...]
    former: tuple[Directory, ...] = ()


def read_audit_copy(folder: Path, authority: VerifyKey | None = None) -> AuditCopy:
    """Read an auditor's folder.

    Args:
        folder: made by `officers.desk.audit_fetching`.
        authority: whose signature directory and policies must carry; None: the key that was
            noted when they were fetched.

    Raises:
        AuditCopyError: it is not such a folder, or directory or a policy is not the authority's.
        FileProblem: a file is missing.
    """
    site, noted, fetched_ms = read_site(folder)
    if authority is not None and authority != noted:
        raise AuditCopyError(
            f"{folder} was fetched from a site of authority {noted.fingerprint}, yours is "
            f"{authority.fingerprint}; give the officer.toml of that site"
        )
    try:
        raw = read_file(folder / DIRECTORY_FILE, MAX_MESSAGE_BYTES)
        directory = open_directory(raw, noted, site=site)
        editions = {(DIRECTORY, directory.version, directory.form): hashlib.sha256(raw).digest()}
        if (folder / ADMISSIONS_FILE).exists():
            admitted = read_file(folder / ADMISSIONS_FILE, MAX_MESSAGE_BYTES)
            admissions = open_admissions(admitted, directory)
            editions[ADMISSIONS, admissions.version, FIRST] = hashlib.sha256(admitted).digest()
            directory = admissions.apply(directory)
        former = [
            open_directory(read_file(path, MAX_MESSAGE_BYTES), noted, site=site)
            for path in sorted((folder / FORMER).glob("*.cbor"))
        ]
        policies = {}
        for path in sorted((folder / POLICIES).glob("*.toml")):
            signature = read_file(path.with_suffix(".sig"), 4096)
            policy = open_policy(read_file(path, 1 << 20), signature, noted, site=site)
            policies[policy.digest] = policy
    except ProtocolError as error:
        raise AuditCopyError(f"{folder}: {error}; fetch it again") from error
    logs, damaged = [], []
    for path in sorted((folder / LOGS).glob("*")):
        try:
            logs.append(read_copy(path))
        except (LogCopyInvalid, FileProblem) as error:
            damaged.append((path.name, str(error)))
    return AuditCopy(
        noted,
        fetched_ms,
        directory,
        policies,
        tuple(logs),
        read_witnessed(folder),
        editions,
        tuple(damaged),
        tuple(one for one in former if one.version < directory.version),
    )


def keep_former(folder: Path, newer: bytes) -> None:
    """Keep the directory of an auditor's folder that a newer one is about to replace.

    Raises:
        FileProblem: it cannot be read or kept.
    """
    path = folder / DIRECTORY_FILE
    if not path.exists():
        return
    data = read_file(path, MAX_MESSAGE_BYTES)
    if data != newer:
        kept = private_folder(folder / FORMER)
        atomic_write(kept / f"{hashlib.sha256(data).hexdigest()}.cbor", data)


def read_site(folder: Path) -> tuple[str, VerifyKey, int]:
    """Return whose logs a folder holds: the site, its authority's key, and when fetched (ms UTC).

    Raises:
        AuditCopyError: it is not a folder of audit logs, or damaged.
    """
    path = folder / SITE_FILE
    if not path.exists():
        raise AuditCopyError(
            f"{folder} is not a folder of audit logs ({SITE_FILE} is missing); make one with "
            "`sealtrace audit fetch --out FOLDER`"
        )
    try:
        value = parse_json(read_file(path, 65_536))
        authority = VerifyKey(bytes.fromhex(value["authority"]))
        return str(value["site"]), authority, int(value["fetched_ms"])
    except (KeyError, TypeError, ValueError, ProtocolError) as error:
        raise AuditCopyError(f"{path} is damaged: {error}; fetch the logs again") from error
