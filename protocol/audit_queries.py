"""Audit what officers did according to the logs: each signature verified, each act counted.

Part of :mod:`protocol.audit`, the pass before :mod:`protocol.audit_grants`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from protocol.auditlog import Entry
from protocol.authorization import check_withdrawal, parse_signed_query
from protocol.directory import APPROVER, INVESTIGATOR, Directory
from protocol.errors import ProtocolError
from protocol.findings import Finding, FindingKind, OfficerCount, QueryCount, Severity
from protocol.names import SLOT_MS
from protocol.query import APPROVAL_KIND, WITHDRAWAL_KIND, Approval, Query, Withdrawal
from protocol.results import DECISION_KIND, Decision
from protocol.signing import Signed

PROPAGATION_MS = SLOT_MS
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


def officers_of(directory: Directory) -> Directory:
    """Return the directory with its investigators and approvers alone."""
    officers = {
        name: p for name, p in directory.principals.items() if p.duties & {INVESTIGATOR, APPROVER}
    }
    return replace(directory, principals=officers)


def as_of(officers: Directory, time_ms: int) -> Directory:
    """Return the officers as they stood at ``time_ms``.

    A revocation counts from a quarter of an hour after its date, the time it may take to arrive.
    """
    standing = {
        name: replace(p, revoked_at_ms=None)
        if p.revoked_at_ms is not None and time_ms < p.revoked_at_ms + PROPAGATION_MS
        else p
        for name, p in officers.principals.items()
    }
    return replace(officers, principals=standing)


class QueryAudit:
    """Reads queries, approvals, withdrawals and decisions; counts by query and by officer.

    Public attributes are what the pass over the grants needs: ``ids`` (query digest to hex of the
    query id), ``filed`` (digests that the aggregator logged), ``withdrawn``, ``policies_seen``.
    """

    def __init__(self, directory: Directory, findings: list[Finding]) -> None:
        self._directory = directory
        self._officers_listed = officers_of(directory)
        self._findings = findings
        self._queries: dict[str, QueryCount] = {}
        self._officers: dict[str, OfficerCount] = {}
        self.ids: dict[bytes, str] = {}
        self.filed: set[bytes] = set()
        self.withdrawn: list[tuple[OpenedEntry, Signed, Withdrawal]] = []
        self.policies_seen: set[bytes] = set()

    def run(self, opened: Sequence[OpenedEntry]) -> None:
        """Read all entries of all logs."""
        for item in opened:
            self._count(item)
            self._learn_id(item)
        checks = {
            "query-filed": self._check_filed,
            "approval": self._check_approval,
            "withdrawal": self._check_withdrawal,
            "decision": self._check_decision,
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
        ordered = sorted(self._queries.values(), key=lambda q: (q.filed_ms or 0, q.query))
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
        item: OpenedEntry,
        message: str,
        *,
        severity: Severity = Severity.WRONG,
    ) -> None:
        """Report something about an entry."""
        query = item.entry.query_id.hex() if item.entry.query_id else None
        self._findings.append(Finding(kind, severity, item.origin, message, item.index, query))

    def query(self, query_id: str) -> QueryCount:
        """Return the count of one query, by the hex of its id."""
        return self._queries.setdefault(query_id, QueryCount(query_id))

    def officer(self, name: str) -> OfficerCount:
        """Return the count of one officer."""
        return self._officers.setdefault(name, OfficerCount(name))

    # What stands in the clear.

    def _count(self, item: OpenedEntry) -> None:
        if item.entry.query_id is None:
            return
        count = self.query(item.entry.query_id.hex())
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
            case "refusal":
                count.refusals += 1
            case _:
                pass

    # What needs the auditor's key.

    def _learn_id(self, item: OpenedEntry) -> None:
        """Learn which digest belongs to which query id, before anything refers to it."""
        if item.body is None or item.entry.kind not in {"query-filed", "grant"}:
            return
        try:
            signed = parse_signed_query(item.body["query"])
            self.ids[signed.digest] = Query.parse(signed.payload).query_id.hex()
        except BAD_BODY:
            return  # reported where the entry is checked

    def _note_policy(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        self.policies_seen.add(bytes(body["digest"]))

    def _check_filed(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        signed = parse_signed_query(body["query"])
        if not self._signed_by(signed, INVESTIGATOR, item):
            return
        query = Query.parse(signed.payload)
        self.filed.add(signed.digest)
        self.describe(self.query(query.query_id.hex()), query, signed.signer)
        self.officer(signed.signer).queries += 1

    @staticmethod
    def describe(count: QueryCount, query: Query, requester: str) -> None:
        """Copy what a query says into its count."""
        count.requester = requester
        count.purpose = query.purpose
        count.legal_basis = query.legal_basis
        count.consent_references = tuple(s.consent_reference for s in query.subjects)
        count.cameras = len(query.cameras)
        count.window_ms = (query.window_from_ms, query.window_to_ms)

    def _check_approval(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        signed = Signed.parse(body["approval"], kind=APPROVAL_KIND)
        if not self._signed_by(signed, APPROVER, item):
            return
        approval = Approval.parse(signed.payload)
        self.officer(signed.signer).approvals += 1
        query_id = self.ids.get(approval.query_digest)
        if query_id is not None:
            self.query(query_id).approvers += (signed.signer,)

    def _check_withdrawal(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        signed = Signed.parse(body["withdrawal"], kind=WITHDRAWAL_KIND)
        try:
            withdrawal = check_withdrawal(signed, self._directory)
        except ProtocolError as error:
            self.find(FindingKind.SIGNATURE_FALSE, item, str(error))
            return
        first = all(seen.digest != signed.digest for _, seen, _ in self.withdrawn)
        self.withdrawn.append((item, signed, withdrawal))
        query_id = self.ids.get(withdrawal.query_digest)
        if query_id is not None:
            self.query(query_id).withdrawn_by += (signed.signer,)
        if first:
            self.officer(signed.signer).withdrawals += 1

    def _check_decision(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        signed = Signed.parse(body["decision"], kind=DECISION_KIND)
        if self._signed_by(signed, INVESTIGATOR, item):
            Decision.parse(signed.payload)
            self.officer(signed.signer).decisions += 1

    def _signed_by(self, signed: Signed, duty: str, item: OpenedEntry) -> bool:
        try:
            signed.verify(as_of(self._officers_listed, item.entry.time_ms).resolver(duty))
        except ProtocolError as error:
            self.find(FindingKind.SIGNATURE_FALSE, item, str(error))
            return False
        return True
