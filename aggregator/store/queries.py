"""Queries, their messages and their results in the store: rows in, rows out, no judgement."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aggregator.store.store import Store
from protocol.authorization import parse_signed_query
from protocol.query import APPROVAL_KIND, WITHDRAWAL_KIND, Query
from protocol.signing import Signed
from runtime.clock import system_ms

AWAITING_TEMPLATES = "awaiting-templates"
AWAITING_APPROVALS = "awaiting-approvals"
RUNNING = "running"
STANDING = "standing"
BLOCKED = "blocked"
INTERRUPTED = "interrupted"
COMPLETE, WITHDRAWN, EXPIRED, FAILED = "complete", "withdrawn", "expired", "failed"
ENDED = frozenset({COMPLETE, WITHDRAWN, EXPIRED, FAILED})
RUNNABLE = frozenset({AWAITING_APPROVALS, RUNNING, STANDING, BLOCKED})
_TABLES = {
    APPROVAL_KIND: ("approvals", "approver"),
    WITHDRAWAL_KIND: ("withdrawals", "officer"),
}
"""Kind of message to its table and the column of its signer."""


@dataclass(frozen=True, slots=True)
class QueryRecord:
    """A query as the store has it. ``state`` is one of this module's; ``reason`` explains it."""

    progress: Mapping[str, int]
    query_id: bytes
    digest: bytes
    requester: str
    signed: bytes
    state: str
    reason: str
    filed_ms: int
    changed_ms: int

    @property
    def query(self) -> Query:
        """The query's content; its signature was checked when it was filed."""
        return Query.parse(parse_signed_query(self.signed).payload)


@dataclass(frozen=True, slots=True)
class FalseGrant:
    """That a custodian answered a query falsely, and how that showed."""

    query_digest: bytes
    custodian: str
    reason: str
    found_ms: int


class QueryBook:
    """Queries, their approvals, withdrawals, results and decisions, and false grants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # ------------------------------------------------------------------ reading

    def find(self, query_id: bytes) -> QueryRecord | None:
        """Return a query, or None."""
        found = self._select("WHERE query_id = ?", [query_id])
        return found[0] if found else None

    def everything(self) -> list[QueryRecord]:
        """Return all queries, newest first."""
        return self._select("ORDER BY filed_ms DESC, query_id", [])

    def in_states(self, states: frozenset[str]) -> list[QueryRecord]:
        """Return the queries in one of ``states``, oldest first."""
        marks = ", ".join("?" * len(states))
        return self._select(f"WHERE state IN ({marks}) ORDER BY filed_ms", sorted(states))

    def messages(self, kind: str, digest: bytes) -> list[Signed]:
        """Return a query's approvals or withdrawals (``kind``) as they came."""
        table, _ = _TABLES[kind]
        rows = self._store.reading().conn.execute(
            f"SELECT signed FROM {table} WHERE query_digest = ? ORDER BY received_ms",  # noqa: S608 - our own words
            [digest],
        )
        return [Signed.parse(row[0], kind=kind) for row in rows]

    def count_open(self) -> int:
        """Return how many queries have not ended."""
        marks = ", ".join("?" * len(ENDED))
        row = self._store.reading().conn.execute(
            f"SELECT count(*) FROM queries WHERE state NOT IN ({marks})",  # noqa: S608 - marks only
            sorted(ENDED),
        )
        return int(row.fetchone()[0])

    def results(self, digest: bytes) -> list[tuple[bytes, bytes, bytes | None]]:
        """Return (candidate id, sealed candidate, signed decision or None) in order of finding."""
        rows = self._store.reading().conn.execute(
            "SELECT r.candidate_id, r.sealed, d.signed FROM results r LEFT JOIN decisions d"
            " ON d.query_digest = r.query_digest AND d.candidate_id = r.candidate_id"
            " WHERE r.query_digest = ? ORDER BY r.number",
            [digest],
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def count_results(self, digest: bytes) -> int:
        """Return how many candidates a query has."""
        row = self._store.reading().conn.execute(
            "SELECT count(*) FROM results WHERE query_digest = ?", [digest]
        )
        return int(row.fetchone()[0])

    def has_result(self, digest: bytes, candidate_id: bytes) -> bool:
        """Tell whether a query has that candidate."""
        row = self._store.reading().conn.execute(
            "SELECT 1 FROM results WHERE query_digest = ? AND candidate_id = ?",
            [digest, candidate_id],
        )
        return row.fetchone() is not None

    def false_grants(self, digest: bytes | None = None) -> list[FalseGrant]:
        """Return which custodians answered falsely, to one query or to any; the oldest first."""
        rows = self._store.reading().conn.execute(
            "SELECT query_digest, custodian, reason, found_ms FROM false_grants"
            " WHERE ?1 IS NULL OR query_digest = ?1 ORDER BY found_ms, custodian",
            [digest],
        )
        return [FalseGrant(*row) for row in rows]

    # ------------------------------------------------------------------ writing

    def add_false_grant(self, found: FalseGrant) -> None:
        """Keep that a custodian answered falsely; once a query and custodian."""
        with self._store.writing() as database:
            database.conn.execute(
                "INSERT OR IGNORE INTO false_grants (query_digest, custodian, reason, found_ms)"
                " VALUES (?, ?, ?, ?)",
                [found.query_digest, found.custodian, found.reason, found.found_ms],
            )

    def add(self, query: Query, signed: Signed, *, now_ms: int) -> None:
        """Add a query that was just filed."""
        with self._store.writing() as database:
            database.conn.execute(
                "INSERT INTO queries (query_id, digest, requester, signed, state, live,"
                " window_from_ms, window_to_ms, not_after_ms, filed_ms, changed_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    query.query_id,
                    signed.digest,
                    signed.signer,
                    signed.to_bytes(),
                    AWAITING_TEMPLATES,
                    int(query.live),
                    query.window_from_ms,
                    query.window_to_ms,
                    query.not_after_ms,
                    now_ms,
                    now_ms,
                ],
            )

    def add_message(self, digest: bytes, signed: Signed, *, now_ms: int) -> None:
        """Keep an approval or a withdrawal."""
        table, column = _TABLES[signed.kind]
        with self._store.writing() as database:
            database.conn.execute(
                f"INSERT INTO {table} (query_digest, {column}, signed, received_ms)"  # noqa: S608 - our own words
                " VALUES (?, ?, ?, ?)",
                [digest, signed.signer, signed.to_bytes(), now_ms],
            )

    def put_decision(
        self, digest: bytes, candidate_id: bytes, signed: Signed, *, decided_ms: int
    ) -> None:
        """Keep a decision; it takes the place of an earlier one."""
        with self._store.writing() as database:
            database.conn.execute(
                "INSERT OR REPLACE INTO decisions"
                " (query_digest, candidate_id, investigator, signed, decided_ms)"
                " VALUES (?, ?, ?, ?, ?)",
                [digest, candidate_id, signed.signer, signed.to_bytes(), decided_ms],
            )

    def set_state(self, digest: bytes, state: str, reason: str) -> bool:
        """Change the state of a query that has not ended; tell whether that changed anything."""
        marks = ", ".join("?" * len(ENDED))
        with self._store.writing() as database:
            cursor = database.conn.execute(
                "UPDATE queries SET state = ?, reason = ?, changed_ms = ? WHERE digest = ?"  # noqa: S608 - marks only
                f" AND (state != ? OR reason != ?) AND state NOT IN ({marks})",
                [
                    state,
                    reason,
                    system_ms(),
                    digest,
                    state,
                    reason,
                    *sorted(ENDED),
                ],
            )
        return cursor.rowcount > 0

    def add_progress(self, digest: bytes, figures: Mapping[str, int]) -> None:
        """Add to a query's figures (segments, sightings, altered, ...)."""
        with self._store.writing() as database:
            row = database.conn.execute(
                "SELECT progress FROM queries WHERE digest = ?", [digest]
            ).fetchone()
            total = json.loads(row[0])
            for name, value in figures.items():
                total[name] = total.get(name, 0) + value
            database.conn.execute(
                "UPDATE queries SET progress = ? WHERE digest = ?", [json.dumps(total), digest]
            )

    def _select(self, clause: str, values: Sequence[object]) -> list[QueryRecord]:
        rows = self._store.reading().conn.execute(
            "SELECT progress, query_id, digest, requester, signed, state, reason, filed_ms,"  # noqa: S608 - our own words
            f" changed_ms FROM queries {clause}",
            values,
        )
        return [QueryRecord(json.loads(progress), *rest) for progress, *rest in rows]
