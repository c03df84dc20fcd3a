"""Bring an auditor's folder up to date: all roles' logs, held against what was fetched before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx

from officers.desk.audit_copy import (
    ADMISSIONS_FILE,
    DIRECTORY_FILE,
    LOGS,
    POLICIES,
    SITE_FILE,
    AuditCopyError,
    keep_former,
    read_site,
)
from officers.desk.audit_outcomes import Fetched, keep_outcomes
from officers.desk.audit_witnessed import fetch_witnessed, seen_of
from officers.desk.notices import Notice, Tell, unheard
from officers.desk.officer import Officer
from officers.desk.phrases import phrase
from protocol.audit import LogCopy
from protocol.auditlog import Checkpoint, check_entries, parse_checkpoint, verify_checkpoint
from protocol.directory import AGGREGATOR, CUSTODIAN, FORMS, Directory, Principal
from protocol.encoding import decode
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
from runtime.clock import system_ms
from runtime.config import TlsConfig
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, read_file
from runtime.http import PeerUnreachable, client, raise_for_problem
from runtime.logcopy import read_copy, write_copy
from runtime.tls import client_context

_TIMEOUT_S = 30.0
_MAX_PAGE = 16 << 20
Progress = Callable[[str], None]
"""Called with what is being fetched; what it raises stops that, and leaves the folder whole."""


def fetch_logs(
    officer: Officer,
    folder: Path,
    *,
    tell: Tell = unheard,
    progress: Progress = lambda _what: None,
) -> list[Fetched]:
    """Fetch the logs of the aggregator and of every custodian, with directory and policy.

    Args:
        officer: any officer of the site with a certificate.
        folder: made, or brought up to date.
        tell: hears what could not be had beside the logs.
        progress: hears what is being fetched.

    Raises:
        AuditCopyError: the folder belongs to another site.
        FileProblem: it cannot be written.
        OfficerError: the officer has no certificate.
    """
    site = officer.config.site
    fetcher = Fetcher(folder, officer.config.authority_key, officer.tls, tell)
    fetcher.prepare(site)
    progress(phrase("directory and policy"))
    _refresh(officer, fetcher, tell)
    fetched = fetcher.fetch_logs(officer.directory, progress)
    now_ms = system_ms()
    fetcher.keep_site(
        site,
        officer.trust.signed,
        officer.trust.signed_admissions,
        fetched_ms=now_ms,
    )
    keep_outcomes(folder, fetched, now_ms=now_ms)
    return fetched


def _refresh(officer: Officer, fetcher: Fetcher, tell: Tell) -> None:
    """Take the newest directory that any role holds, and the policy; go on with ours without."""
    config = officer.config
    try:
        fetcher.keep_policy(
            read_file(config.policy, 1 << 20),
            read_file(config.policy_signature, 4096),
            site=config.site,
        )
    except (OperationError, ProtocolError) as error:
        tell(
            Notice(
                phrase(
                    "your own policy file is left out: {error}",
                    error=error,
                ),
                warning=True,
            )
        )
    directory = officer.directory
    for principal in (*directory.with_duty(AGGREGATOR), *directory.with_duty(CUSTODIAN)):
        if principal.url is None:
            continue
        try:
            for signed in fetcher.fetch_lists(principal.url):
                officer.take_directory(signed)
            if AGGREGATOR in principal.duties:
                fetcher.fetch_policy(principal.url, site=config.site)
        except PeerUnreachable:
            continue  # said when its log is fetched
        except (OperationError, ProtocolError) as error:
            words = phrase(
                "what '{name}' holds of directory and policy is not taken: {error}",
                name=principal.name,
                error=error,
            )
            tell(Notice(words, warning=True))


class Fetcher:
    """Brings an auditor's folder up to date over the roles' HTTP interfaces.

    Args:
        folder: made if absent.
        authority: the site authority's key.
        tls: the officer's certificate.
        tell: hears what a role would not say.

    Raises:
        TlsError: the certificate cannot be used.
    """

    def __init__(
        self, folder: Path, authority: VerifyKey, tls: TlsConfig, tell: Tell = unheard
    ) -> None:
        self._folder = folder
        self._authority = authority
        self._context = client_context(tls)
        self._tell = tell

    def prepare(self, site: str) -> None:
        """Make the folder, or check that it is one of this site.

        Raises:
            AuditCopyError: it belongs to another site.
            FileProblem: it cannot be made.
        """
        if (self._folder / SITE_FILE).exists():
            kept_site, kept_authority, _ = read_site(self._folder)
            if (kept_site, kept_authority) != (site, self._authority):
                raise AuditCopyError(
                    phrase(
                        "{folder} holds the logs of site '{kept_site}' (authority {fingerprint}); "
                        "give each site its own folder",
                        folder=self._folder,
                        kept_site=kept_site,
                        fingerprint=kept_authority.fingerprint,
                    )
                )
            return
        try:
            for part in (POLICIES, LOGS):
                (self._folder / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileProblem(
                phrase(
                    "cannot create {folder}: {strerror}",
                    folder=self._folder,
                    strerror=error.strerror,
                )
            ) from error

    def keep_site(
        self, site: str, signed_directory: bytes, admissions: bytes | None, *, fetched_ms: int
    ) -> None:
        """Write directory, admissions and the time: to be called after the logs."""
        keep_former(self._folder, signed_directory)
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
        path = self._folder / POLICIES / f"{policy.digest.hex()}.toml"
        atomic_write(path, text)
        atomic_write(path.with_suffix(".sig"), signature)
        return policy

    def fetch_lists(self, url: str) -> list[bytes]:
        """Fetch the signed directory, and the admissions if there are any, that a role holds.

        Raises:
            PeerUnreachable, ProblemError: it does not give the directory.
        """
        with client(url, self._context, _TIMEOUT_S, max_answer_bytes=_MAX_PAGE) as http:
            lists = [raise_for_problem(http.get(f"/v1/directory?form={max(FORMS)}")).content]
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
        with client(aggregator_url, self._context, _TIMEOUT_S) as http:
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
            notify(phrase("log of {actor}", actor=actor))
            fetched.append(
                self._fetch_log(origin, directory.principals[actor], directory, witnessed, notify)
            )
        return fetched

    def _fetch_witnessed(
        self, directory: Directory, notify: Callable[[str], None]
    ) -> dict[str, list[str]]:
        witnessed = {}
        for actor in sorted(log_keepers(directory).values()):
            notify(phrase("what {actor} has seen", actor=actor))
            principal = directory.principals[actor]
            try:
                witnessed[actor] = fetch_witnessed(
                    self._folder, principal, directory, self._context
                )
            except PeerUnreachable:
                continue  # said when its log is fetched
            except (OperationError, ProtocolError) as error:
                words = phrase(
                    "'{actor}' does not say what it has seen of the others' logs: {error}",
                    actor=actor,
                    error=error,
                )
                self._tell(Notice(words, warning=True))
        return witnessed

    def _fetch_log(
        self,
        origin: str,
        principal: Principal,
        directory: Directory,
        witnessed: Mapping[str, list[str]],
        notify: Callable[[str], None],
    ) -> Fetched:
        folder = self._folder / LOGS / principal.name
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
            with client(
                principal.url, self._context, _TIMEOUT_S, max_answer_bytes=_MAX_PAGE
            ) as http:
                text = raise_for_problem(http.get("/v1/log/checkpoint")).text
                head = verify_checkpoint(text, origin=origin, key=principal.verify_key)
                texts.append(text)
                entries = [*held.entries]
                for page in _new_entries(http, count, head.size):
                    entries += page
                    notify(
                        phrase(
                            "log of {actor}: {have:,} of {size:,} entries",
                            actor=principal.name,
                            have=len(entries),
                            size=head.size,
                        )
                    )
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
            phrase(
                "it shows {count} entries, and '{witness}' has cosigned {size} of it",
                count=len(entries),
                witness=witness,
                size=seen.size,
            )
        )
    try:
        check_entries(entries, seen)
    except LogError as error:
        raise LogForked(
            phrase(
                "'{witness}' was shown another history of its first {size} entries",
                witness=witness,
                size=seen.size,
            )
        ) from error


def _new_entries(http: httpx.Client, start: int, stop: int) -> Iterator[list[bytes]]:
    """Yield the entries ``start`` to ``stop`` by pages."""
    while start < stop:
        answer = http.get("/v1/log/entries", params={"start": start, "stop": stop})
        page = decode(raise_for_problem(answer).content, what="log entries", max_bytes=_MAX_PAGE)
        if (
            not isinstance(page, list)
            or not page
            or len(page) > stop - start
            or not all(isinstance(entry, bytes) for entry in page)
        ):
            raise MalformedMessage(
                phrase("the log does not hand out the entries that it signed for")
            )
        yield page
        start += len(page)


def _checkpoints(http: httpx.Client, held: LogCopy, size: int, needed: int) -> Iterator[str]:
    """Yield the checkpoints published since the newest one that we hold well cosigned."""
    since = _well_cosigned(held, needed)
    while since <= size:
        answer = raise_for_problem(http.get("/v1/log/checkpoints", params={"since": since}))
        try:
            page = parse_json(answer.content)
        except ValueError as error:
            raise MalformedMessage(phrase("the log's checkpoints are not JSON")) from error
        if not isinstance(page, list) or not all(isinstance(text, str) for text in page):
            raise MalformedMessage(phrase("the log's checkpoints are not a list of texts"))
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
