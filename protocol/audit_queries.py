"""Audit what officers did according to the logs: each signature verified, each act counted.

Part of :mod:`protocol.audit`, the pass before :mod:`protocol.audit_grants`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocol.about_queries import (
    APPROVAL_KIND,
    REFUSAL_KIND,
    WITHDRAWAL_KIND,
    Approval,
    Refusal,
    Withdrawal,
)
from protocol.audit_officers import Ended, as_of, officers_of
from protocol.auditlog import Entry
from protocol.authorization import check_withdrawal, parse_signed_query
from protocol.directory import APPROVER, INVESTIGATOR, Directory
from protocol.enrolment import check_witnessed
from protocol.errors import ProtocolError
from protocol.exports import EXPORT_KIND, Export
from protocol.findings import Finding, FindingKind, OfficerCount, QueryCount, Severity
from protocol.query import Query
from protocol.results import DECISION_KIND, Decision
from protocol.signing import Signed

OPENS = frozenset({"grant", "rows", "evidence"})
"""Entries of what a custodian opened: each carries the signed query and the approvals."""
BRINGS_QUERY = OPENS | {"query-filed"}
BAD_BODY = (
    ProtocolError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
)
"""What reading a body that a dishonest role wrote may raise."""


@dataclass(frozen=True, slots=True)
class OpenedEntry:
    """An entry at its place; ``body`` is None without the auditor's key or when it is unreadable.

    ``actor`` is the owner of the log that the entry stands in.
    """

    actor: str
    origin: str
    index: int
    entry: Entry
    body: Mapping[str, Any] | None


def octets(body: Mapping[str, Any], name: str) -> bytes:
    """Return a byte string out of a body.

    Raises:
        LookupError, TypeError: there is none of that name (``bytes`` of a number would allocate as
            many zeros as a dishonest role likes).
    """
    value = body[name]
    if not isinstance(value, bytes):
        raise TypeError(f"'{name}' is not a byte string")
    return value


class QueryAudit:
    """Reads queries, approvals, withdrawals, decisions and exports; counts by query and by officer.

    A query is told by its digest: nothing but the aggregator's good will keeps an id from standing
    for two. Public attributes are what the pass over the grants needs: ``ids`` (query digest to hex
    of the query id), ``filed`` (digests that the aggregator logged), ``withdrawn``,
    ``policies_seen``.
    """

    def __init__(
        self, directory: Directory, findings: list[Finding], ended: Ended | None = None
    ) -> None:
        self._directory = directory
        self._officers_listed = officers_of(directory)
        self.ended: Ended = ended or {}
        self._findings = findings
        self._queries: dict[bytes | str, QueryCount] = {}
        self._of_id: dict[str, dict[bytes, OpenedEntry]] = {}
        self._linking: set[bytes] = set()
        self._stills: dict[bytes, tuple[int, frozenset[str]]] = {}
        self._officers: dict[str, OfficerCount] = {}
        self.ids: dict[bytes, str] = {}
        self.filed: set[bytes] = set()
        self.withdrawn: list[tuple[OpenedEntry, Signed, Withdrawal]] = []
        self.policies_seen: set[bytes] = set()

    def run(self, opened: Sequence[OpenedEntry]) -> None:
        """Read all entries of all logs."""
        for item in opened:
            self._learn_id(item)
        for item in opened:
            self._count(item)
        checks = {
            "query-filed": self._check_filed,
            "approval": self._check_approval,
            "withdrawal": self._check_withdrawal,
            "decision": self._check_decision,
            "linked-contacts": self._check_linked,
            "exported": self._check_export,
            "policy": self._note_policy,
        }
        for item in opened:
            check = checks.get(item.entry.kind)
            if check is None or item.body is None:
                continue
            try:
                check(item, item.body)
            except BAD_BODY as error:
                self.unreadable(item, error)

    def counts(self) -> tuple[list[QueryCount], list[OfficerCount]]:
        """Return what was counted, by query in order of filing and by officer."""
        for count in self._queries.values():
            count.granting_custodians = tuple(sorted(set(count.granting_custodians)))
            count.approvers = tuple(sorted(set(count.approvers)))
            count.withdrawn_by = tuple(sorted(set(count.withdrawn_by)))
        ordered = sorted(
            self._queries.values(), key=lambda q: (q.filed_ms or 0, q.query, q.digest or "")
        )
        return ordered, sorted(self._officers.values(), key=lambda o: o.name)

    def unreadable(self, item: OpenedEntry, error: Exception) -> None:
        """Report a body that opens but is not what its kind says."""
        self.find(
            FindingKind.BODY_UNREADABLE,
            item,
            f"the body is not that of a {item.entry.kind}: {error}",
        )

    def find(
        self,
        kind: FindingKind,
        item: OpenedEntry | None,
        message: str,
        *,
        severity: Severity = Severity.WRONG,
    ) -> None:
        """Report something about an entry, or (None) about what the auditor brought along."""
        if item is None:
            self._findings.append(Finding(kind, severity, self._directory.site, message))
            return
        query = item.entry.query_id.hex() if item.entry.query_id else None
        self._findings.append(Finding(kind, severity, item.origin, message, item.index, query))

    def stills_of(self, digest: bytes) -> tuple[int, frozenset[str]] | None:
        """Return of how many sightings a query asks for stills, and who confirms its hits."""
        return self._stills.get(digest)

    def query(self, digest: bytes, query_id: str = "") -> QueryCount:
        """Return the count of the query of that digest."""
        found = self._queries.get(digest)
        if found is None:
            found = QueryCount(self.ids.get(digest, query_id), digest.hex())
            self._queries[digest] = found
        return found

    def query_of(self, item: OpenedEntry) -> QueryCount:
        """Return the count of the query that an entry is about, by its body where that opens."""
        query_id = item.entry.query_id.hex() if item.entry.query_id else ""
        digest = _digest_in(item)
        if digest:
            if self.ids.get(digest, query_id) != query_id and item.entry.kind not in OPENS:
                self.unreadable(item, ValueError("it is about another query than the entry names"))
            return self.query(digest, query_id)
        known = self._of_id.get(query_id, {})
        if len(known) == 1:
            return self.query(next(iter(known)))
        return self._queries.setdefault(query_id, QueryCount(query_id))

    def officer(self, name: str) -> OfficerCount:
        """Return the count of one officer."""
        return self._officers.setdefault(name, OfficerCount(name))

    # What stands in the clear.

    def _count(self, item: OpenedEntry) -> None:
        if item.entry.query_id is None:
            return
        count = self.query_of(item)
        match item.entry.kind:
            case "query-filed":
                count.filed_ms = count.filed_ms or item.entry.time_ms
            case "grant":
                count.grants += 1
                count.granting_custodians += (item.actor,)
            case "grant-received":
                count.received += 1
            case "match":
                count.matches += 1
            case "decision":
                count.decisions += 1
            case "result-read":
                count.reads += 1
            case "exported":
                count.exports += 1
            case "refusal":
                count.refusals += 1
            case _:
                pass

    # What needs the auditor's key.

    def _learn_id(self, item: OpenedEntry) -> None:
        """Learn which digest belongs to which query id, before anything refers to it."""
        if item.body is None or item.entry.kind not in BRINGS_QUERY:
            return
        try:
            signed = parse_signed_query(item.body["query"])
            query = Query.parse(signed.payload)
        except BAD_BODY:
            return  # reported where the entry is checked
        query_id = query.query_id.hex()
        if query.asks.linked_contacts:
            self._linking.add(signed.digest)
        confirming = frozenset({signed.signer, *query.confirmers})
        self._stills[signed.digest] = (query.asks.evidence_stills, confirming)
        self.ids[signed.digest] = query_id
        known = self._of_id.setdefault(query_id, {})
        if signed.digest in known:
            return
        if known:
            digest, first = next(iter(known.items()))
            self.find(
                FindingKind.ID_REUSED,
                item,
                f"the query {signed.digest.hex()[:16]} has the id of another one, "
                f"{digest.hex()[:16]} (log of '{first.actor}', entry {first.index}): whoever goes "
                "by the id sees one of them",
            )
        known[signed.digest] = item

    def _note_policy(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        self.policies_seen.add(octets(body, "digest"))

    def _check_filed(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        signed = parse_signed_query(body["query"])
        if not self.signed_by(signed, INVESTIGATOR, item):
            return
        query = Query.parse(signed.payload)
        self.filed.add(signed.digest)
        count = self.query(signed.digest)
        self.describe(count, query, signed.signer)
        self._check_witnesses(item, query, signed.signer, count)
        self.officer(signed.signer).queries += 1

    def _check_witnesses(
        self, item: OpenedEntry, query: Query, requester: str, count: QueryCount
    ) -> None:
        """Hold each statement of a witness against the officers of that time."""
        time_ms = item.entry.time_ms
        officers = as_of(self._officers_listed, time_ms, self.ended)
        for subject in query.subjects:
            if not subject.witnessed:
                continue
            try:
                _, witness = check_witnessed(
                    subject, requester=requester, directory=officers, now_ms=time_ms
                )
            except ProtocolError as error:
                self.find(FindingKind.SIGNATURE_FALSE, item, str(error))
            else:
                count.witnessed[subject.pseudonym] = witness

    @staticmethod
    def describe(count: QueryCount, query: Query, requester: str) -> None:
        """Copy what a query says into its count."""
        count.requester = requester
        count.purpose = query.purpose
        count.purpose_kind = query.purpose_kind or None
        count.options = query.options
        count.legal_basis = query.legal_basis
        count.consent_references = tuple(s.consent_reference for s in query.subjects)
        count.consent_documents = {
            one.pseudonym: one.consent_document.hex()
            for one in query.subjects
            if one.consent_document
        }
        count.cameras = len(query.cameras)
        count.window_ms = (query.window_from_ms, query.window_to_ms)

    def _check_approval(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        signed = Signed.parse(body["approval"], kind=APPROVAL_KIND)
        if not self.signed_by(signed, APPROVER, item):
            return
        approval = Approval.parse(signed.payload)
        self.officer(signed.signer).approvals += 1
        if approval.query_digest in self.ids:
            self.query(approval.query_digest).approvers += (signed.signer,)

    def _check_withdrawal(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        signed = Signed.parse(body["withdrawal"], kind=WITHDRAWAL_KIND)
        try:
            withdrawal = check_withdrawal(signed, self._directory)
        except ProtocolError as error:
            self.find(FindingKind.SIGNATURE_FALSE, item, str(error))
            return
        first = all(seen.digest != signed.digest for _, seen, _ in self.withdrawn)
        self.withdrawn.append((item, signed, withdrawal))
        if withdrawal.query_digest in self.ids:
            self.query(withdrawal.query_digest).withdrawn_by += (signed.signer,)
        if first:
            self.officer(signed.signer).withdrawals += 1

    def _check_decision(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        signed = Signed.parse(body["decision"], kind=DECISION_KIND)
        if self.signed_by(signed, INVESTIGATOR, item):
            Decision.parse(signed.payload)
            self.officer(signed.signer).decisions += 1

    def _check_linked(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        """Count what was compared; a query has asked for it, with the approvals that it costs."""
        digest, pairs = octets(body, "query_digest"), body["pairs"]
        if type(pairs) is not int or not 0 <= pairs < 1 << 62:
            raise TypeError("a count of pairs is not a whole number")
        count = self.query_of(item)
        count.pairs = max(count.pairs or 0, pairs)
        if digest in self.ids and digest not in self._linking:
            self.find(
                FindingKind.LINKED_UNASKED,
                item,
                f"{pairs} pairs of people who were near a subject were compared with one another, "
                "and the query does not ask for linked contacts",
            )

    def _check_export(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        signed = Signed.parse(body["export"], kind=EXPORT_KIND)
        if self.signed_by(signed, INVESTIGATOR, item):
            Export.parse(signed.payload)
            self.officer(signed.signer).exports += 1

    def signed_by(self, signed: Signed, duty: str, item: OpenedEntry) -> bool:
        """Tell whether an officer of that duty in force then signed; report it if not."""
        try:
            officers = as_of(self._officers_listed, item.entry.time_ms, self.ended)
            signed.verify(officers.resolver(duty))
        except ProtocolError as error:
            self.find(FindingKind.SIGNATURE_FALSE, item, str(error))
            return False
        return True


def _digest_in(item: OpenedEntry) -> bytes | None:
    """Return the digest of the query that an entry's body is about, None if it does not tell."""
    read = _DIGESTS.get(item.entry.kind)
    if item.body is None or read is None:
        return None
    try:
        return read(item.body)
    except BAD_BODY:
        return None  # reported where the entry is checked


def _query_digest(body: Mapping[str, Any]) -> bytes:
    return parse_signed_query(body["query"]).digest


def _said_digest(body: Mapping[str, Any]) -> bytes:
    return octets(body, "query_digest")


def _approved_digest(body: Mapping[str, Any]) -> bytes:
    signed = Signed.parse(body["approval"], kind=APPROVAL_KIND)
    return Approval.parse(signed.payload).query_digest


def _refused_digest(body: Mapping[str, Any]) -> bytes:
    signed = Signed.parse(body["refusal"], kind=REFUSAL_KIND)
    return Refusal.parse(signed.payload).query_digest


def _withdrawn_digest(body: Mapping[str, Any]) -> bytes:
    signed = Signed.parse(body["withdrawal"], kind=WITHDRAWAL_KIND)
    return Withdrawal.parse(signed.payload).query_digest


def _decided_digest(body: Mapping[str, Any]) -> bytes:
    signed = Signed.parse(body["decision"], kind=DECISION_KIND)
    return Decision.parse(signed.payload).query_digest


def _exported_digest(body: Mapping[str, Any]) -> bytes:
    signed = Signed.parse(body["export"], kind=EXPORT_KIND)
    return Export.parse(signed.payload).query_digest


_DIGESTS: dict[str, Callable[[Mapping[str, Any]], bytes]] = {
    "query-filed": _query_digest,
    **dict.fromkeys(OPENS, _query_digest),
    "approval": _approved_digest,
    "approval-refused": _refused_digest,
    "withdrawal": _withdrawn_digest,
    "decision": _decided_digest,
    "exported": _exported_digest,
    "grant-received": _said_digest,
    "match": _said_digest,
    "opened-rows": _said_digest,
    "linked-contacts": _said_digest,
    "still-asked": _said_digest,
    "still-answered": _said_digest,
    "result-read": _said_digest,
    "refusal": _said_digest,
}
