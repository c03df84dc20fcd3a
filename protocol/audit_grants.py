"""Audit the grants in the logs: each authorized again, each match backed by enough of them.

Part of :mod:`protocol.audit`. A grant's entry carries the query and the approvals themselves, so
the decision is taken again here, as of the entry's time, trusting no role's word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocol.about_queries import APPROVAL_KIND
from protocol.audit_authority import AuthorityAudit
from protocol.audit_queries import BAD_BODY, OpenedEntry, QueryAudit, octets
from protocol.audit_rows import RowAudit
from protocol.audit_stills import StillAudit
from protocol.auditlog import origin_of
from protocol.authorization import AuthorizedQuery
from protocol.directory import AGGREGATOR, CUSTODIAN, Directory
from protocol.errors import MalformedMessage
from protocol.findings import FindingKind, Severity
from protocol.grant import Scope
from protocol.keytree import LABELS_OF
from protocol.names import epoch_of
from protocol.policy import Policy
from protocol.query import QUERY_KIND, Query
from protocol.signing import Signed


@dataclass(frozen=True, slots=True)
class _Given:
    """A grant as its custodian logged it."""

    at: OpenedEntry
    query_digest: bytes
    scopes: tuple[Scope, ...]
    labels: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Taken:
    """A grant as the aggregator logged it; ``labels`` is None in logs older than that field."""

    at: OpenedEntry
    custodian: str
    query_digest: bytes
    scopes: tuple[Scope, ...]
    labels: frozenset[str] | None


class GrantAudit:
    """Holds grants, their receipts and the matches of all logs against one another.

    Args:
        queries: what the first pass learned of queries, approvals and withdrawals.
        present: the origins of the logs at hand.
    """

    def __init__(
        self,
        queries: QueryAudit,
        directory: Directory,
        policies: Mapping[bytes, Policy],
        *,
        present: set[str],
    ) -> None:
        self._known = queries
        self._directory = directory
        self._authority = AuthorityAudit(queries, directory, policies)
        self._rows = RowAudit(queries, directory, self._authority, present=present)
        self._stills = StillAudit(queries, directory, present=present)
        self._present = present
        # By custodian and id: an id is what whoever wrote the entry says.
        self._given: dict[tuple[str, bytes], _Given] = {}
        self._taken: dict[tuple[str, bytes], _Taken] = {}
        self._taken_as: dict[bytes, dict[str, _Taken]] = {}
        self._destroyed: dict[str, set[int]] = {}

    def run(self, opened: Sequence[OpenedEntry], *, opens_bodies: bool) -> None:
        """Check every entry in the order of its log."""
        checks = {
            "policy": self._authority.note_policy,
            "day-keys-issued": self._check_issued,
            "day-key-destroyed": self._note_destroyed,
            "grant": self._check_grant,
            "rows": self._rows.check_rows,
            "evidence": self._check_stills,
            "still-asked": self._stills.check_asked,
            "still-answered": self._stills.check_answered,
            "grant-received": self._note_received,
            "match": self._check_match,
            "opened-rows": self._rows.note_taken,
            "refusal": self._note_refusal,
        }
        for item in opened:
            if item.entry.kind == "policy":
                self._authority.told_policy(item.actor)
            check = checks.get(item.entry.kind)
            if check is None or item.body is None:
                continue
            try:
                check(item, item.body)
            except BAD_BODY as error:
                self._known.unreadable(item, error)
        if opens_bodies:
            self._compare_grants()
            self._rows.compare_with_grants()
            self._rows.compare_with_aggregator()
            self._stills.compare()
        else:
            self._count_matches(opened)

    def _check_stills(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        self._stills.note_opened(item, self._rows.check_stills(item, body))

    def _note_destroyed(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        self._destroyed.setdefault(item.actor, set()).add(int(body["epoch"]))

    def _check_issued(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        again = self._destroyed.get(item.actor, set()).intersection(map(int, body["epochs"]))
        if again:
            self._known.find(
                FindingKind.DAY_KEY_MADE_AGAIN,
                item,
                f"the day key of epoch {min(again)} had been logged as destroyed, and another one "
                "was made: boxes may seal to a day that is over",
            )

    def _check_grant(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        signed = Signed.parse(body["query"], kind=QUERY_KIND)
        query = Query.parse(signed.payload)
        scopes = tuple(Scope.from_value(value) for value in body["scopes"])
        labels = {str(label) for label in body["labels"]}
        given = _Given(item, signed.digest, scopes, frozenset(labels))
        earlier = self._given.setdefault((item.actor, octets(body, "grant_id")), given)
        if (earlier.query_digest, earlier.scopes) != (given.query_digest, given.scopes):
            self._find_reused(item, earlier.at)
        if item.entry.query_id != query.query_id:
            raise MalformedMessage("the entry names another query than the one that was granted")
        count = self._known.query(signed.digest)
        if count.requester is None:
            self._known.describe(count, query, signed.signer)
        slots = sum(scope.last_slot - scope.first_slot + 1 for scope in scopes)
        count.granted_slots = (count.granted_slots or 0) + slots
        self._known.officer(signed.signer).grants_asked += 1
        approvals = [Signed.parse(data, kind=APPROVAL_KIND) for data in body["approvals"]]
        for name in {approval.signer for approval in approvals}:
            self._known.officer(name).grants_approved += 1
        versions = _versions(body, scopes)
        self._rows.note_grant(item, signed.digest, versions)
        authorized = self._authority.authorize(item, signed, query, approvals)
        if authorized is not None:
            allowed = {label for version in versions for label in authorized.labels(version)}
            self._check_scopes(item, authorized, scopes, extra=labels - allowed)
        for scope in scopes:
            if scope.epoch in self._destroyed.get(item.actor, ()):
                self._known.find(
                    FindingKind.GRANT_AFTER_DESTRUCTION,
                    item,
                    f"the day key of epoch {scope.epoch} had been logged as destroyed",
                )

    def _check_scopes(
        self,
        item: OpenedEntry,
        authorized: AuthorizedQuery,
        scopes: Sequence[Scope],
        *,
        extra: set[str],
    ) -> None:
        cameras = set(authorized.query.cameras)
        policy = self._authority.policies[authorized.query.policy_digest]
        first_kept = epoch_of(item.entry.time_ms) - policy.retention_days
        wrong = [f"the keys of {', '.join(sorted(extra))} were not asked for"] if extra else []
        for scope in scopes:
            allowed = authorized.grantable_slots(scope.epoch, now_ms=item.entry.time_ms)
            camera = scope.address.camera
            box = self._directory.principals.get(scope.address.box)
            if scope.epoch < first_kept:
                self._known.find(
                    FindingKind.GRANT_AFTER_DESTRUCTION,
                    item,
                    f"the retention of epoch {scope.epoch} had ended: its day key should have "
                    "been destroyed",
                )
            if camera not in cameras or scope.address.site != self._directory.site:
                wrong.append(f"camera '{camera}' is not in the query")
            elif scope.first_slot not in allowed or scope.last_slot not in allowed:
                wrong.append(
                    f"slots {scope.first_slot} to {scope.last_slot} of epoch {scope.epoch} of "
                    f"camera '{camera}' were not covered by the query at that time"
                )
            elif box is None or camera not in box.tells_of:
                self._known.find(
                    FindingKind.GRANT_OUTSIDE_QUERY,
                    item,
                    f"the directory no longer says that '{scope.address.box}' speaks for "
                    f"camera '{camera}'",
                    severity=Severity.WARNING,
                )
        for message in wrong:
            self._known.find(FindingKind.GRANT_OUTSIDE_QUERY, item, message)

    def _note_received(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        custodian = str(body["custodian"])
        taken = _Taken(
            item,
            custodian,
            octets(body, "query_digest"),
            tuple(Scope.from_value(value) for value in body["scopes"]),
            frozenset(map(str, body["labels"])) if "labels" in body else None,
        )
        grant_id = octets(body, "grant_id")
        earlier = self._taken.setdefault((custodian, grant_id), taken)
        self._taken_as.setdefault(grant_id, {}).setdefault(custodian, taken)
        if (earlier.query_digest, earlier.scopes) != (taken.query_digest, taken.scopes):
            self._find_reused(item, earlier.at)

    def _parties(self, names: Iterable[str]) -> set[bytes]:
        """Return the keys of the custodians among ``names``: each party counts once."""
        return {
            principal.verify_key.raw
            for name in names
            if (principal := self._directory.principals.get(name)) is not None
            and CUSTODIAN in principal.duties
        }

    def _find_reused(self, item: OpenedEntry, earlier: OpenedEntry) -> None:
        self._known.find(
            FindingKind.ID_REUSED,
            item,
            f"the grant has the id of another one, of another query or scope (entry {earlier.index}"
            f" of the log of '{earlier.actor}'): whoever goes by the id sees one of them",
        )

    def _note_refusal(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        if "custodian" in body:
            self._known.find(
                FindingKind.GRANT_FALSE,
                item,
                f"'{item.actor}' refused a grant as false: {body['reason']}",
                severity=Severity.WARNING,
            )

    def _check_match(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        digest = octets(body, "query_digest")
        if digest in self._known.ids:
            count = self._known.query(digest)
            count.sightings = (count.sightings or 0) + int(body["sightings"])
            count.candidates = (count.candidates or 0) + int(body["candidates"])
        # Entries come in the order of their log: what is noted by now stands before the match.
        used = [self._taken_as.get(grant_id, {}) for grant_id in body["grant_ids"]]
        backing = self._parties(
            taken.custodian
            for by_custodian in used
            for taken in by_custodian.values()
            if taken.query_digest == digest
        )
        if {} in used or len(backing) < self._directory.threshold:
            self._known.find(
                FindingKind.MATCH_WITHOUT_GRANT,
                item,
                f"the match names grants of {len(backing)} custodians for its query that were "
                f"received before it; {self._directory.threshold} must grant",
            )

    def _compare_grants(self) -> None:
        """Hold what custodians say they gave against what the aggregator says it took."""
        site = self._directory.site
        for (custodian, grant_id), taken in self._taken.items():
            given = self._given.get((custodian, grant_id))
            if not self._parties([custodian]):
                self._known.find(
                    FindingKind.GRANT_NOT_LOGGED,
                    taken.at,
                    f"the directory lists no custodian '{custodian}' that could have granted",
                )
                continue
            if given is None and origin_of(site, taken.custodian) not in self._present:
                continue  # the missing log is a finding of its own
            if (
                given is None
                or given.query_digest != taken.query_digest
                or given.scopes != taken.scopes
                or taken.labels not in {None, given.labels}
            ):
                self._known.find(
                    FindingKind.GRANT_NOT_LOGGED,
                    taken.at,
                    f"the log of '{taken.custodian}' holds no grant {grant_id.hex()} of this "
                    "query, scope and labels",
                )
        takers = {p.name for p in self._directory.with_duty(AGGREGATOR)}
        if not any(origin_of(site, name) in self._present for name in takers):
            return
        for key, given in self._given.items():
            if key not in self._taken:
                self._known.find(
                    FindingKind.GRANT_NOT_RECEIVED,
                    given.at,
                    "the aggregator's log does not say that it received this grant",
                    severity=Severity.WARNING,
                )
            if given.query_digest not in self._known.filed:
                self._known.find(
                    FindingKind.QUERY_NOT_FILED,
                    given.at,
                    "the aggregator's log does not hold the query of this grant",
                    severity=Severity.WARNING,
                )

    def _count_matches(self, opened: Sequence[OpenedEntry]) -> None:
        """Count in the clear: no match without enough custodians that granted its query."""
        custodians = self._directory.custodians()
        if not all(origin_of(self._directory.site, name) in self._present for name in custodians):
            return
        for item in opened:
            if item.entry.kind != "match":
                continue
            count = self._known.query_of(item)
            granting = len(self._parties(count.granting_custodians))
            if granting < self._directory.threshold:
                self._known.find(
                    FindingKind.MATCH_WITHOUT_GRANT,
                    item,
                    f"{granting} custodians logged a grant for this query; "
                    f"{self._directory.threshold} must grant",
                )


def _versions(body: Mapping[str, Any], scopes: Sequence[Scope]) -> tuple[int, ...]:
    """Return the protocol's version of each scope of a grant; older logs know the first alone.

    Raises:
        MalformedMessage: they are none.
    """
    versions = tuple(body.get("versions", [1] * len(scopes)))
    if len(versions) != len(scopes) or not set(versions) <= set(LABELS_OF):
        raise MalformedMessage("a grant does not say of each scope which version it is of")
    return versions
