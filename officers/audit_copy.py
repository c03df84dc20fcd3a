"""An auditor's folder: copies of all logs with what is needed to judge them offline, growing.

``site.json`` (site, authority's key, when fetched), ``directory.cbor`` and ``admissions.cbor``,
``policies/DIGEST.toml`` with ``.sig``, ``logs/ACTOR`` in the form of `runtime.logcopy`, and what
each role says of the others' logs (`officers.audit_witnessed`). Fetching again only
adds: what was fetched before is the auditor's memory, against which every new answer is held.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from officers.audit_witnessed import fetch_witnessed, read_witnessed, seen_of
from protocol.admissions import open_admissions
from protocol.audit import LogCopy
from protocol.audit_editions import ADMISSIONS, DIRECTORY
from protocol.auditlog import Checkpoint, check_entries, parse_checkpoint, verify_checkpoint
from protocol.directory import Directory, Principal, open_directory
from protocol.encoding import MAX_MESSAGE_BYTES, decode
from protocol.errors import (
    CheckpointInvalid,
    LogError,
    LogForked,
    LogInconsistent,
    MalformedMessage,
    ProtocolError,
)
from protocol.policy import Policy, open_policy
from protocol.quorum import cosigning_quorum, log_keepers
from protocol.signing import VerifyKey
from protocol.textformats import parse_json
from runtime.config import TlsConfig
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, read_file
from runtime.http import PeerUnreachable, client, raise_for_problem
from runtime.logcopy import LogCopyInvalid, read_copy, write_copy
from runtime.terminal import warn

SITE_FILE, DIRECTORY_FILE, ADMISSIONS_FILE = "site.json", "directory.cbor", "admissions.cbor"
_POLICIES, _LOGS = "policies", "logs"
_TIMEOUT_S = 30.0
_MAX_PAGE = 16 << 20


class AuditCopyError(OperationError):
    """The folder is not an auditor's copy, or not of this site."""


@dataclass(frozen=True, slots=True)
class AuditCopy:
    """Everything in an auditor's folder, signatures of directory and policies verified.

    ``witnessed`` is what each role said of the others' logs, ``editions`` the digests of the signed
    directory and admissions; ``damaged`` names the logs whose files cannot be read at all, with the
    reason.
    """

    authority: VerifyKey
    fetched_ms: int
    directory: Directory
    policies: dict[bytes, Policy]
    logs: tuple[LogCopy, ...]
    witnessed: Mapping[str, list[str]]
    editions: Mapping[tuple[str, int], bytes]
    damaged: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of fetching one log; ``problem`` is empty when all went well.

    ``unreachable`` tells a role that did not answer from a log that is not what it was.
    """

    actor: str
    entries: int
    new: int
    problem: str = ""
    unreachable: bool = False


def read_audit_copy(folder: Path, authority: VerifyKey | None = None) -> AuditCopy:
    """Read an auditor's folder.

    Args:
        folder: made by `fetch_all`.
        authority: whose signature directory and policies must carry; None: the key that was
            noted when they were fetched.

    Raises:
        AuditCopyError: it is not such a folder, or directory or a policy is not the authority's.
        FileProblem: a file is missing.
    """
    site, noted, fetched_ms = _read_site(folder)
    if authority is not None and authority != noted:
        raise AuditCopyError(
            f"{folder} was fetched from a site of authority {noted.fingerprint}, yours is "
            f"{authority.fingerprint}; give the officer.toml of that site"
        )
    try:
        raw = read_file(folder / DIRECTORY_FILE, MAX_MESSAGE_BYTES)
        directory = open_directory(raw, noted, site=site)
        editions = {(DIRECTORY, directory.version): hashlib.sha256(raw).digest()}
        if (folder / ADMISSIONS_FILE).exists():
            admitted = read_file(folder / ADMISSIONS_FILE, MAX_MESSAGE_BYTES)
            admissions = open_admissions(admitted, directory)
            editions[ADMISSIONS, admissions.version] = hashlib.sha256(admitted).digest()
            directory = admissions.apply(directory)
        policies = {}
        for path in sorted((folder / _POLICIES).glob("*.toml")):
            signature = read_file(path.with_suffix(".sig"), 4096)
            policy = open_policy(read_file(path, 1 << 20), signature, noted, site=site)
            policies[policy.digest] = policy
    except ProtocolError as error:
        raise AuditCopyError(f"{folder}: {error}; fetch it again") from error
    logs, damaged = [], []
    for path in sorted((folder / _LOGS).glob("*")):
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
    )


class Fetcher:
    """Brings an auditor's folder up to date over the roles' HTTP interfaces.

    Args:
        folder: made if absent.
        authority: the site authority's key.
        tls: the officer's certificate.
    """

    def __init__(self, folder: Path, authority: VerifyKey, tls: TlsConfig) -> None:
        self._folder = folder
        self._authority = authority
        self._tls = tls

    def prepare(self, site: str) -> None:
        """Make the folder, or check that it is one of this site.

        Raises:
            AuditCopyError: it belongs to another site.
            FileProblem: it cannot be made.
        """
        if (self._folder / SITE_FILE).exists():
            kept_site, kept_authority, _ = _read_site(self._folder)
            if (kept_site, kept_authority) != (site, self._authority):
                raise AuditCopyError(
                    f"{self._folder} holds the logs of site '{kept_site}' (authority "
                    f"{kept_authority.fingerprint}); give each site its own folder"
                )
            return
        try:
            for part in (_POLICIES, _LOGS):
                (self._folder / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileProblem(f"cannot create {self._folder}: {error.strerror}") from error

    def keep_site(
        self, site: str, signed_directory: bytes, admissions: bytes | None, *, fetched_ms: int
    ) -> None:
        """Write directory, admissions and the time: to be called after the logs."""
        atomic_write(self._folder / DIRECTORY_FILE, signed_directory)
        if admissions is not None:
            atomic_write(self._folder / ADMISSIONS_FILE, admissions)
        value = {
            "site": site,
            "authority": self._authority.raw.hex(),
            "fetched_ms": fetched_ms,
        }
        atomic_write(self._folder / SITE_FILE, json.dumps(value, indent=2).encode() + b"\n")

    def keep_policy(self, text: bytes, signature: bytes, *, site: str) -> Policy:
        """Keep a policy under its digest, once its signature has verified.

        Raises:
            SignatureInvalid, PolicyMismatch, MalformedMessage: it is not this site's policy.
        """
        policy = open_policy(text, signature, self._authority, site=site)
        path = self._folder / _POLICIES / f"{policy.digest.hex()}.toml"
        atomic_write(path, text)
        atomic_write(path.with_suffix(".sig"), signature)
        return policy

    def fetch_lists(self, url: str) -> list[bytes]:
        """Fetch the signed directory, and the admissions if there are any, that a role holds.

        Raises:
            PeerUnreachable, ProblemError: it does not give the directory.
        """
        with client(url, self._tls, _TIMEOUT_S, max_answer_bytes=_MAX_PAGE) as http:
            lists = [raise_for_problem(http.get("/v1/directory")).content]
            admissions = http.get("/v1/admissions")
            if admissions.is_success:
                lists.append(admissions.content)
        return lists

    def fetch_policy(self, aggregator_url: str, *, site: str) -> Policy:
        """Fetch and keep the policy that the aggregator serves.

        Raises:
            PeerUnreachable, ProblemError: the aggregator does not give it.
            ProtocolError: it is not this site's policy.
        """
        with client(aggregator_url, self._tls, _TIMEOUT_S) as http:
            text = raise_for_problem(http.get("/v1/policy")).content
            signature = raise_for_problem(http.get("/v1/policy/signature")).content
        return self.keep_policy(text, signature, site=site)

    def fetch_logs(
        self, directory: Directory, notify: Callable[[str], None] = lambda _text: None
    ) -> list[Fetched]:
        """Fetch every log of the site; a role that fails does not keep the others from it.

        What each role has seen of the others' logs is asked before any log: whatever was cosigned
        is in them by then. The aggregator's comes first of the logs: so each grant that it says it
        received is in the custodians' logs by the time these are fetched.
        """
        witnessed = self._fetch_witnessed(directory, notify)
        keepers = sorted(
            log_keepers(directory).items(),
            key=lambda item: (directory.principals[item[1]].duties == {"custodian"}, item[1]),
        )
        fetched = []
        for origin, actor in keepers:
            notify(actor)
            fetched.append(
                self._fetch_log(origin, directory.principals[actor], directory, witnessed)
            )
        return fetched

    def _fetch_witnessed(
        self, directory: Directory, notify: Callable[[str], None]
    ) -> dict[str, list[str]]:
        witnessed = {}
        for actor in sorted(log_keepers(directory).values()):
            notify(f"what {actor} has seen")
            principal = directory.principals[actor]
            try:
                witnessed[actor] = fetch_witnessed(self._folder, principal, directory, self._tls)
            except PeerUnreachable:
                continue  # said when its log is fetched
            except (OperationError, ProtocolError) as error:
                warn(f"'{actor}' does not say what it has seen of the others' logs: {error}")
        return witnessed

    def _fetch_log(
        self,
        origin: str,
        principal: Principal,
        directory: Directory,
        witnessed: Mapping[str, list[str]],
    ) -> Fetched:
        folder = self._folder / _LOGS / principal.name
        try:
            held = read_copy(folder) if folder.exists() else LogCopy(origin, (), ())
        except OperationError as error:
            return Fetched(principal.name, 0, 0, f"the copy fetched before is damaged: {error}")
        count = len(held.entries)
        if principal.url is None:
            problem = "the directory gives no address for it"
            return Fetched(principal.name, count, 0, problem, unreachable=True)
        texts: list[str] = []
        try:
            with client(principal.url, self._tls, _TIMEOUT_S, max_answer_bytes=_MAX_PAGE) as http:
                text = raise_for_problem(http.get("/v1/log/checkpoint")).text
                head = verify_checkpoint(text, origin=origin, key=principal.verify_key)
                texts.append(text)
                entries = [*held.entries, *_new_entries(http, count, head.size)]
                needed = cosigning_quorum(directory, principal.name).needed
                texts.extend(_checkpoints(http, held, head.size, needed))
            check_entries(entries, head)
        except LogError as error:
            # What was held stays; the checkpoints that contradict it are kept as evidence.
            kept = [text for text in texts if _reads(text)]
            write_copy(folder, LogCopy(origin, held.entries, tuple(kept)))
            return Fetched(
                principal.name,
                count,
                0,
                f"{error}; what was fetched before and the new checkpoint are kept as evidence",
            )
        except (OperationError, ProtocolError) as error:
            return Fetched(principal.name, count, 0, str(error), unreachable=True)
        problem = ""
        for witness, text, seen in seen_of(witnessed, origin):
            try:
                _hold_against(witness, seen, entries)
            except LogError as error:
                problem = f"{error}; what it says is kept as evidence: tell the other auditors"
                texts.append(text)
        write_copy(folder, LogCopy(origin, tuple(entries), tuple(filter(_reads, texts))))
        return Fetched(principal.name, len(entries), len(entries) - count, problem)


def _hold_against(witness: str, seen: Checkpoint, entries: Sequence[bytes]) -> None:
    """Check that a log, as it was just handed out, holds what a witness has cosigned of it.

    Raises:
        LogInconsistent: it does not (``LogForked``: two histories of one length).
    """
    if seen.size > len(entries):
        raise LogInconsistent(
            f"it shows {len(entries)} entries, and '{witness}' has cosigned {seen.size} of it"
        )
    try:
        check_entries(entries, seen)
    except LogError as error:
        raise LogForked(
            f"'{witness}' was shown another history of its first {seen.size} entries"
        ) from error


def _read_site(folder: Path) -> tuple[str, VerifyKey, int]:
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


def _new_entries(http: httpx.Client, start: int, stop: int) -> Iterator[bytes]:
    while start < stop:
        answer = http.get("/v1/log/entries", params={"start": start, "stop": stop})
        page = decode(raise_for_problem(answer).content, what="log entries", max_bytes=_MAX_PAGE)
        if (
            not isinstance(page, list)
            or not page
            or len(page) > stop - start
            or not all(isinstance(entry, bytes) for entry in page)
        ):
            raise MalformedMessage("the log does not hand out the entries that it signed for")
        yield from page
        start += len(page)


def _checkpoints(http: httpx.Client, held: LogCopy, size: int, needed: int) -> Iterator[str]:
    """Yield the checkpoints published since the newest one that we hold well cosigned."""
    since = _well_cosigned(held, needed)
    while since <= size:
        answer = raise_for_problem(http.get("/v1/log/checkpoints", params={"since": since}))
        try:
            page = parse_json(answer.content)
        except ValueError as error:
            raise MalformedMessage("the log's checkpoints are not JSON") from error
        if not isinstance(page, list) or not all(isinstance(text, str) for text in page):
            raise MalformedMessage("the log's checkpoints are not a list of texts")
        yield from page
        sizes = [parse_checkpoint(text)[0].size for text in page]
        if not sizes or max(sizes) < since:
            return
        since = max(sizes) + 1


def _well_cosigned(held: LogCopy, needed: int) -> int:
    """Return the size of the newest checkpoint held that enough witnesses signed, else 0."""
    best = 0
    for text in held.checkpoints:
        try:
            checkpoint, signatures = parse_checkpoint(text)
        except CheckpointInvalid:
            continue
        if len(signatures) - 1 >= needed:
            best = max(best, checkpoint.size)
    return best


def _reads(text: str) -> Checkpoint | None:
    """Return the checkpoint of a text that can be kept, None for one that cannot."""
    try:
        return parse_checkpoint(text)[0]
    except CheckpointInvalid:
        return None
