"""Audit the stills that boxes were asked for and sent: asked by who confirms, within the cap.

Part of :mod:`protocol.audit`. The aggregator logs what it carries and opens nothing; what opened is
in custodians' logs (:mod:`protocol.audit_rows`). One beside the other shows a still that went
another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.audit_queries import OpenedEntry, QueryAudit, octets
from protocol.auditlog import origin_of
from protocol.directory import AGGREGATOR, Directory
from protocol.findings import FindingKind, Severity
from protocol.v2.stills import MAX_ASKED, OUTCOMES, SENT

_LARGEST = 1 << 32


class StillAudit:
    """Holds what the aggregator carried against queries and what custodians opened.

    Args:
        queries: what the first pass learned of queries.
        present: the origins of the logs at hand.
    """

    def __init__(self, queries: QueryAudit, directory: Directory, *, present: set[str]) -> None:
        self._known = queries
        self._directory = directory
        self._present = present
        self._asked: dict[bytes, bytes] = {}
        self._opened: dict[bytes, OpenedEntry] = {}

    def note_opened(self, item: OpenedEntry, query_digest: bytes) -> None:
        """Note that a custodian opened stills of a query; the first entry is kept."""
        self._opened.setdefault(query_digest, item)

    def check_asked(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        """Check that who asked a box for stills confirms hits of a query that asks for them."""
        digest, officer = octets(body, "query_digest"), str(body["officer"])
        stills = _whole(body["stills"])
        if not 1 <= stills <= MAX_ASKED:
            raise TypeError("a request for stills names none, or too many")
        self._asked[octets(body, "request")] = digest
        limits = self._known.stills_of(digest)
        if limits is None:
            return
        most, confirming = limits
        if not most or officer not in confirming:
            self._known.find(
                FindingKind.OPENED_BEYOND_QUERY,
                item,
                f"'{officer}' had '{body['box']}' asked for {stills} stills, and "
                + ("confirms no hits of this query" if most else "the query asks for none"),
            )

    def check_answered(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        """Check that a box sent what was asked for, and no more sightings than approved."""
        digest, sent = octets(body, "query_digest"), _whole(body["sent"])
        if body["outcome"] not in OUTCOMES:
            raise TypeError("an answer of a box says none of what boxes answer")
        if digest in self._known.ids:
            count = self._known.query(digest)
            count.stills_sent = max(count.stills_sent or 0, sent)
        if self._asked.get(octets(body, "request")) != digest and body["outcome"] == SENT:
            self._known.find(
                FindingKind.STILLS_UNASKED,
                item,
                f"'{body['box']}' sent a still to '{body['officer']}', and this log holds no "
                "request for it",
            )
        limits = self._known.stills_of(digest)
        if limits is not None and sent > limits[0]:
            self._known.find(
                FindingKind.OPENED_BEYOND_QUERY,
                item,
                f"boxes sent stills of {sent} sightings; the query permits {limits[0]}. They open "
                "only as custodians release them, but a box did not count",
                severity=Severity.WARNING,
            )

    def compare(self) -> None:
        """Report stills that custodians opened and no box was asked for, as far as logs tell."""
        site, takers = self._directory.site, self._directory.with_duty(AGGREGATOR)
        if not any(origin_of(site, taker.name) in self._present for taker in takers):
            return
        asked = set(self._asked.values())
        for digest, item in self._opened.items():
            if digest not in asked:
                self._known.find(
                    FindingKind.STILLS_UNASKED,
                    item,
                    "custodians opened stills of this query, and the aggregator's log holds no "
                    "request to a box: the still went another way, or the aggregator does not "
                    "tell of it",
                    severity=Severity.WARNING,
                )


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LARGEST:
        raise TypeError("a count of stills is not a whole number")
    return value
