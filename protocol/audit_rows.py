"""Audit the rows and stills that custodians opened: allowed, counted, never more than approved.

Part of :mod:`protocol.audit`. A custodian counts distinct rows of a query, and distinct stills;
each entry says how many it opens and how many have been opened in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from protocol.about_queries import APPROVAL_KIND
from protocol.audit_authority import AuthorityAudit
from protocol.audit_officers import PROPAGATION_MS
from protocol.audit_queries import OpenedEntry, QueryAudit, octets
from protocol.auditlog import origin_of
from protocol.directory import AGGREGATOR, Directory
from protocol.errors import MalformedMessage
from protocol.findings import FindingKind, Severity
from protocol.query import QUERY_KIND, Query
from protocol.signing import Signed

_ROWS, _STILLS = "rows", "stills"
_VERSION = 2
_LARGEST = 1 << 32


@dataclass(frozen=True, slots=True)
class _Opening:
    """An entry of rows or stills as it was read."""

    at: OpenedEntry
    query_digest: bytes
    digest: bytes
    rows: bool


class RowAudit:
    """Holds what custodians opened one by one against queries, grants and their own counts.

    Args:
        queries: what the first pass learned of queries, approvals and withdrawals.
        present: the origins of the logs at hand.
    """

    def __init__(
        self,
        queries: QueryAudit,
        directory: Directory,
        authority: AuthorityAudit,
        *,
        present: set[str],
    ) -> None:
        self._known = queries
        self._directory = directory
        self._authority = authority
        self._present = present
        self._totals: dict[tuple[str, bytes, str], int] = {}
        self._ids: dict[tuple[str, bytes], _Opening] = {}
        self._granted: dict[bytes, list[OpenedEntry]] = {}
        self._opened: list[_Opening] = []
        self._taken: dict[bytes, OpenedEntry] = {}

    def note_grant(self, item: OpenedEntry, query_digest: bytes, versions: Iterable[int]) -> None:
        """Note a grant of generations of these versions: rows open after one of version 2."""
        if _VERSION in versions:
            self._granted.setdefault(query_digest, []).append(item)

    def check_rows(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        """Check an entry of rows."""
        query, digest = self._read(item, body)
        total = self._count(item, body, digest, _ROWS, most=query.max_candidates)
        count = self._known.query(digest)
        count.rows_opened = max(count.rows_opened or 0, total)

    def check_stills(self, item: OpenedEntry, body: Mapping[str, Any]) -> bytes:
        """Check an entry of stills: of opened rows, for who confirms hits; return its query."""
        query, digest = self._read(item, body)
        total = self._count(item, body, digest, _STILLS, most=query.asks.evidence_stills)
        count = self._known.query(digest)
        count.stills_opened = max(count.stills_opened or 0, total)
        rows = self._totals.get((item.actor, digest, _ROWS), 0)
        if total > rows:
            self._known.find(
                FindingKind.OPENED_WITHOUT_GRANT,
                item,
                f"{total} stills were opened of {rows} rows that this log says were opened before",
            )
        requester = Signed.parse(body["query"], kind=QUERY_KIND).signer
        confirming = {requester, *query.confirmers}
        strangers = {str(body["asked_by"]), *map(str, body["officers"])} - confirming
        if strangers:
            self._known.find(
                FindingKind.OPENED_BEYOND_QUERY,
                item,
                f"stills were opened for {', '.join(sorted(strangers))}, who confirm no hits of "
                "this query",
            )
        return digest

    def note_taken(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        """Note what the aggregator says it took of custodians' openings."""
        digest = octets(body, "query_digest")
        if digest in self._known.ids:
            count = self._known.query(digest)
            count.candidates = (count.candidates or 0) + _whole(body["candidates"])
        for release_id in body["release_ids"]:
            if not isinstance(release_id, bytes):
                raise TypeError("an id of an opening is not a byte string")
            self._taken[release_id] = item

    def compare_with_aggregator(self) -> None:
        """Hold what the aggregator says it took against what custodians opened, and the reverse."""
        site, directory = self._directory.site, self._directory
        given = {release_id for _, release_id in self._ids}
        if all(origin_of(site, name) in self._present for name in directory.custodians()):
            for release_id, item in self._taken.items():
                if release_id not in given:
                    self._known.find(
                        FindingKind.GRANT_NOT_LOGGED,
                        item,
                        f"no custodian's log holds the opening of rows {release_id.hex()}",
                    )
        takers = {p.name for p in directory.with_duty(AGGREGATOR)}
        if not any(origin_of(site, name) in self._present for name in takers):
            return
        for (_, release_id), opening in self._ids.items():
            if opening.rows and release_id not in self._taken:
                self._known.find(
                    FindingKind.GRANT_NOT_RECEIVED,
                    opening.at,
                    "the aggregator's log does not say that it received these rows: its answer was "
                    "lost, or the aggregator keeps them to itself; officers' receipts tell which",
                    severity=Severity.WARNING,
                )

    def compare_with_grants(self) -> None:
        """Report what was opened before anybody had granted the query, once all logs are read."""
        site = self._directory.site
        whole = all(origin_of(site, name) in self._present for name in self._directory.custodians())
        for opening in self._opened:
            if not any(
                _before(grant, opening.at) for grant in self._granted.get(opening.query_digest, ())
            ):
                self._known.find(
                    FindingKind.OPENED_WITHOUT_GRANT,
                    opening.at,
                    "no custodian had logged a grant of this query by then that leaves metadata "
                    "to be opened one by one"
                    + ("" if whole else ", as far as the logs at hand tell"),
                    severity=Severity.WRONG if whole else Severity.WARNING,
                )

    def _read(self, item: OpenedEntry, body: Mapping[str, Any]) -> tuple[Query, bytes]:
        """Decide an entry's query again; return it and its digest."""
        signed = Signed.parse(body["query"], kind=QUERY_KIND)
        query = Query.parse(signed.payload)
        if item.entry.query_id != query.query_id:
            raise MalformedMessage("the entry names another query than the one it is about")
        count = self._known.query(signed.digest)
        if count.requester is None:
            self._known.describe(count, query, signed.signer)
        approvals = [Signed.parse(data, kind=APPROVAL_KIND) for data in body["approvals"]]
        self._authority.authorize(item, signed, query, approvals)
        opening = _Opening(item, signed.digest, octets(body, "digest"), _ROWS in body)
        earlier = self._ids.setdefault((item.actor, octets(body, "release_id")), opening)
        if (earlier.query_digest, earlier.digest) != (opening.query_digest, opening.digest):
            self._known.find(
                FindingKind.ID_REUSED,
                item,
                f"it has the id of another opening (entry {earlier.at.index}): whoever goes by the "
                "id sees one of them",
            )
        self._opened.append(opening)
        return query, signed.digest

    def _count(
        self, item: OpenedEntry, body: Mapping[str, Any], digest: bytes, what: str, *, most: int
    ) -> int:
        """Check that a count follows from those before it; return how many are opened in all."""
        opened, total = _whole(body[what]), _whole(body["total"])
        before = self._totals.get((item.actor, digest, what), 0)
        if not (opened >= 1 and max(before, opened) <= total <= before + opened):
            self._known.find(
                FindingKind.OPENED_MISCOUNTED,
                item,
                f"it opens {opened} {what} and says that {total} have been opened in all, after "
                f"{before}",
            )
        if max(opened, total) > most:
            self._known.find(
                FindingKind.OPENED_BEYOND_QUERY,
                item,
                f"{max(opened, total)} {what} were opened; the query permits {most}",
            )
        self._totals[item.actor, digest, what] = max(before, total)
        return total


def _before(grant: OpenedEntry, opening: OpenedEntry) -> bool:
    if grant.actor == opening.actor:
        return grant.index < opening.index
    return grant.entry.time_ms <= opening.entry.time_ms + PROPAGATION_MS


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LARGEST:
        raise TypeError("a count is not a whole number")
    return value
