"""Count queries by month and legal ground: asked, refused, approved, what was opened, how fast.

These are numbers of queries and of what was opened, not of people whom cameras saw: they are told
as they are, below five too. Nothing is counted by officer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from protocol.about_queries import APPROVAL_KIND, Approval
from protocol.audit_queries import BAD_BODY, OpenedEntry
from protocol.findings import QueryCount, Report
from protocol.grant import Scope
from protocol.policy import OPTIONS, Policy
from protocol.query import QUERY_KIND
from protocol.signing import Signed

_MOST_SLOTS = 4_000_000
"""Of one query; what a dishonest log says beyond is not counted one by one."""


@dataclass(frozen=True, slots=True)
class MonthCount:
    """The queries filed in a month on one legal ground.

    Args:
        month: such as ``2031-05``, by the site's clocks; empty where no log says when.
        ground: the legal ground, empty where it is sealed.
        filed: how many were filed.
        refused: of those, that an approver refused or a role turned away, and nobody approved.
        approved: that had the approvals they need.
        withdrawn: that were withdrawn.
        quarter_hours: camera quarter hours that enough custodians gave keys for.
        rows: sightings opened one by one.
        stills: stills opened.
        approval_ms: from filing to the last approval needed: half were faster; None without any.
        slowest_ms: the slowest.
    """

    month: str
    ground: str
    filed: int
    refused: int
    approved: int
    withdrawn: int
    quarter_hours: int
    rows: int
    stills: int
    approval_ms: int | None
    slowest_ms: int | None


def counts_by_month(
    report: Report,
    entries: Sequence[OpenedEntry],
    policies: Mapping[bytes, Policy],
    *,
    threshold: int,
    month_of: Callable[[int], str],
) -> list[MonthCount]:
    """Return the counts, the newest month first.

    Args:
        report: what verifying the logs found.
        entries: of all logs in order of time.
        policies: those at hand; the newest says how many approvals a query needs.
        threshold: how many custodians must give a key.
        month_of: the month of a moment (ms UTC).
    """
    read = _Read(entries)
    policy = max(policies.values(), key=lambda one: one.version, default=None)
    rows: dict[tuple[str, str], list[tuple[QueryCount, int | None]]] = {}
    for count in report.queries:
        month = "" if count.filed_ms is None else month_of(count.filed_ms)
        took = _took_ms(count, read.approvals.get(count.digest or "", {}), policy)
        rows.setdefault((month, count.legal_basis or ""), []).append((count, took))
    return [
        _counted(month, ground, rows[month, ground], read, threshold)
        for month, ground in sorted(rows, key=lambda key: (-_order(key[0]), key[1]))
    ]


class _Read:
    """What the counts need of the entries' bodies: when who approved, who gave which keys."""

    def __init__(self, entries: Sequence[OpenedEntry]) -> None:
        self.approvals: dict[str, dict[str, int]] = {}
        self._given: dict[str, dict[str, set[tuple[str, int, int]]]] = {}
        for item in entries:
            if item.body is None:
                continue
            try:
                if item.entry.kind == "approval":
                    self._approval(item, item.body["approval"])
                elif item.entry.kind == "grant":
                    self._grant(item.actor, item.body)
            except BAD_BODY:
                continue  # a finding of its own

    def _approval(self, item: OpenedEntry, data: bytes) -> None:
        signed = Signed.parse(data, kind=APPROVAL_KIND)
        digest = Approval.parse(signed.payload).query_digest.hex()
        self.approvals.setdefault(digest, {}).setdefault(signed.signer, item.entry.time_ms)

    def _grant(self, custodian: str, body: Mapping[str, object]) -> None:
        data, scopes = body["query"], body["scopes"]
        if not isinstance(data, bytes) or not isinstance(scopes, list | tuple):
            raise TypeError("not a grant")
        digest = Signed.parse(data, kind=QUERY_KIND).digest.hex()
        given = self._given.setdefault(digest, {}).setdefault(custodian, set())
        for value in scopes:
            scope = Scope.from_value(value)
            if len(given) > _MOST_SLOTS:
                return
            given.update(
                (scope.address.camera, scope.epoch, slot)
                for slot in range(scope.first_slot, scope.last_slot + 1)
            )

    def quarter_hours(self, digest: str, threshold: int) -> int:
        """Return how many camera quarter hours so many custodians gave keys for."""
        given = Counter[tuple[str, int, int]]()
        for slots in self._given.get(digest, {}).values():
            given.update(slots)
        return sum(many >= threshold for many in given.values())


def _took_ms(count: QueryCount, approvals: Mapping[str, int], policy: Policy | None) -> int | None:
    """Return how long the approvals took that a query needs; None while it lacks some."""
    if count.filed_ms is None:
        return None
    needed = 1
    ground = count.legal_basis or ""
    if policy is not None and ground in policy.bases:
        asked = [option for option in count.options if option in OPTIONS]
        needed = policy.approvals_for(ground, asked)
    by_time = sorted(
        time_ms for officer, time_ms in approvals.items() if officer in count.approvers
    )
    if len(by_time) < needed:
        return by_time[-1] - count.filed_ms if by_time and count.grants else None
    return max(0, by_time[needed - 1] - count.filed_ms)


def _counted(
    month: str,
    ground: str,
    queries: Sequence[tuple[QueryCount, int | None]],
    read: _Read,
    threshold: int,
) -> MonthCount:
    took = [time_ms for _, time_ms in queries if time_ms is not None]
    return MonthCount(
        month=month,
        ground=ground,
        filed=len(queries),
        refused=sum(
            bool(query.refused_by or query.refusals) and took is None for query, took in queries
        ),
        approved=len(took),
        withdrawn=sum(bool(query.withdrawn_by) for query, _ in queries),
        quarter_hours=sum(read.quarter_hours(q.digest or "", threshold) for q, _ in queries),
        rows=sum(query.rows_opened or 0 for query, _ in queries),
        stills=sum(query.stills_opened or 0 for query, _ in queries),
        approval_ms=None if not took else round(median(took)),
        slowest_ms=max(took, default=None),
    )


def _order(month: str) -> int:
    """Return a number that rises with the month; -1 for none."""
    digits = month.replace("-", "")
    return int(digits) if digits.isdigit() else -1
