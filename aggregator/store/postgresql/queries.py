"""The ledger's half of what was asked (`aggregator.store.ledger.QueriesWriting`)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aggregator.store.postgresql.cursors import ANNOUNCEMENTS, ENVELOPES
from aggregator.store.postgresql.findings import FindingTables
from aggregator.store.rows import (
    AWAITING_TEMPLATES,
    ENDED,
    FalseGrant,
    GrantRow,
    PendingEntry,
    QueryRecord,
    Seen,
)
from protocol.about_queries import APPROVAL_KIND, REFUSAL_KIND, WITHDRAWAL_KIND
from protocol.query import Query
from protocol.signing import Signed

_MESSAGES = {
    APPROVAL_KIND: ("approvals", "approver"),
    REFUSAL_KIND: ("refusals", "approver"),
    WITHDRAWAL_KIND: ("withdrawals", "officer"),
}
"""Kind of message to its table and the column of its signer."""
SEED_BYTES = 32
_QUERY = (
    "SELECT progress, query_id, digest, requester, signed, state, reason, filed_ms, changed_ms,"
    " seen_envelope, seen_announcement FROM queries"
)


class QueryTables(FindingTables):
    """Queries, their messages, grants, and the audit log's outbox."""

    # ------------------------------------------------------------------ queries

    def query(self, query_id: bytes) -> QueryRecord | None:
        row = self._one(f"{_QUERY} WHERE query_id = %s", [query_id])
        return None if row is None else _record(row)

    def queries(self) -> list[QueryRecord]:
        return [_record(row) for row in self._peek(f"{_QUERY} ORDER BY filed_ms DESC, query_id")]

    def queries_in(self, states: Collection[str]) -> list[QueryRecord]:
        ordered = f"{_QUERY} WHERE state = ANY (%s) ORDER BY filed_ms, query_id"
        return [_record(row) for row in self._peek(ordered, [sorted(states)])]

    def count_open_queries(self) -> int:
        return self._number("SELECT count(*) FROM queries WHERE state <> ALL (%s)", [sorted(ENDED)])

    def add_query(self, query: Query, signed: Signed, *, now_ms: int) -> None:
        self._run(
            "INSERT INTO queries (query_id, digest, requester, signed, state, live,"
            " window_from_ms, window_to_ms, not_after_ms, filed_ms, changed_ms, link_seed)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                query.query_id,
                signed.digest,
                signed.signer,
                signed.to_bytes(),
                AWAITING_TEMPLATES,
                query.live,
                query.window_from_ms,
                query.window_to_ms,
                query.not_after_ms,
                now_ms,
                now_ms,
                secrets.token_bytes(SEED_BYTES),
            ),
        )

    def set_state(
        self, digest: bytes, state: str, reason: str, *, now_ms: int, seen: Seen | None = None
    ) -> bool:
        changed = self._run(
            "UPDATE queries SET state = %s, reason = %s, changed_ms = %s WHERE digest = %s"
            " AND (state <> %s OR reason <> %s) AND state <> ALL (%s)",
            [state, reason, now_ms, digest, state, reason, sorted(ENDED)],
        )
        if changed and state in ENDED:
            if seen is None:
                self._session.settle()
                seen = Seen(ENVELOPES.newest(self._session), ANNOUNCEMENTS.newest(self._session))
            self._run(
                "UPDATE queries SET seen_envelope = %s, seen_announcement = %s WHERE digest = %s",
                [*seen, digest],
            )
        return changed > 0

    def add_progress(self, digest: bytes, figures: Mapping[str, int]) -> None:
        row = self._one("SELECT progress FROM queries WHERE digest = %s FOR UPDATE", [digest])
        if row is None:
            raise KeyError(digest)
        total = json.loads(row[0])
        for name, value in figures.items():
            total[name] = total.get(name, 0) + value
        self._run("UPDATE queries SET progress = %s WHERE digest = %s", [json.dumps(total), digest])

    def link_seed(self, digest: bytes) -> bytes:
        row = self._one("SELECT link_seed FROM queries WHERE digest = %s", [digest])
        if row is None:
            raise KeyError(digest)
        return bytes(row[0])

    # -------------------------------------------------------- approvals, refusals, withdrawals

    def messages(self, kind: str, digest: bytes) -> list[Signed]:
        table, signer = _MESSAGES[kind]
        rows = self._peek(
            f"SELECT signed FROM {table} WHERE query_digest = %s ORDER BY received_ms, {signer}",  # noqa: S608 - our own words
            [digest],
        )
        return [Signed.parse(row[0], kind=kind) for row in rows]

    def add_message(self, digest: bytes, signed: Signed, *, now_ms: int) -> None:
        table, signer = _MESSAGES[signed.kind]
        self._run(
            f"INSERT INTO {table} (query_digest, {signer}, signed, received_ms)"  # noqa: S608 - our own words
            " VALUES (%s, %s, %s, %s)",
            [digest, signed.signer, signed.to_bytes(), now_ms],
        )

    # ------------------------------------------------------------------ grants

    def knows_grant(self, grant_id: bytes) -> bool:
        return self._one("SELECT 1 FROM grants WHERE grant_id = %s", [grant_id]) is not None

    def add_grant(self, grant: GrantRow) -> None:
        self._run(
            "INSERT INTO grants (grant_id, custodian, query_digest, labels, scopes, refused,"
            " entry_index, granted_ms, received_ms)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                grant.grant_id,
                grant.custodian,
                grant.query_digest,
                json.dumps(grant.labels),
                grant.scopes,
                json.dumps(grant.refused),
                grant.entry_index,
                grant.granted_ms,
                grant.received_ms,
            ),
        )

    def false_grants(self, digest: bytes | None = None) -> list[FalseGrant]:
        rows = self._peek(
            "SELECT query_digest, custodian, reason, found_ms FROM false_grants"
            " WHERE %s::bytea IS NULL OR query_digest = %s ORDER BY found_ms, custodian",
            [digest, digest],
        )
        return [FalseGrant(*row) for row in rows]

    def add_false_grant(self, found: FalseGrant) -> None:
        self._run(
            "INSERT INTO false_grants (query_digest, custodian, reason, found_ms)"
            " VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [found.query_digest, found.custodian, found.reason, found.found_ms],
        )

    # ------------------------------------------------------------------ the audit log's outbox

    def pending_entries(self) -> list[PendingEntry]:
        rows = self._peek("SELECT number, entry, log_size FROM log_outbox ORDER BY number")
        return [PendingEntry(*row) for row in rows]

    def pending_numbers(self) -> range:
        first, last = self._peek("SELECT min(number), max(number) FROM log_outbox")[0]
        return range(0) if first is None else range(first, last + 1)

    def add_entry(self, entry: bytes, *, log_size: int) -> None:
        self._run("INSERT INTO log_outbox (entry, log_size) VALUES (%s, %s)", [entry, log_size])

    def drop_entry(self, number: int) -> None:
        self._run("DELETE FROM log_outbox WHERE number = %s", [number])


def _record(row: Sequence[Any]) -> QueryRecord:
    progress, *values, envelope, announcement = row
    seen = None if envelope is None else Seen(envelope, announcement)
    return QueryRecord(*(json.loads(progress), *values, seen))
