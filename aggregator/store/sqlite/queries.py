"""The ledger's half of what was asked, in SQLite (`aggregator.store.ledger.QueriesWriting`)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from aggregator.store.rows import (
    AWAITING_TEMPLATES,
    ENDED,
    FalseGrant,
    GrantRow,
    PendingEntry,
    QueryRecord,
    Seen,
)
from aggregator.store.sqlite.tables import Tables, one
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
    "progress, query_id, digest, requester, signed, state, reason, filed_ms, changed_ms,"
    " seen_envelope, seen_announcement"
)


class QueryTables(Tables):
    """Queries, their messages, grants, results and decisions, and the audit log's outbox."""

    # ------------------------------------------------------------------ queries

    def query(self, query_id: bytes) -> QueryRecord | None:
        found = self._queries("query_id = ?", [query_id])
        return found[0] if found else None

    def queries(self) -> list[QueryRecord]:
        return self._queries(order="filed_ms DESC, query_id")

    def queries_in(self, states: Collection[str]) -> list[QueryRecord]:
        return self._queries(f"state IN ({_marks(states)})", sorted(states), order="filed_ms")

    def _queries(
        self, where: str | None = None, values: Sequence[object] = (), *, order: str | None = None
    ) -> list[QueryRecord]:
        rows = self._table("queries").rows_where(where, values, order_by=order, select=_QUERY)
        return [_record(row) for row in rows]

    def count_open_queries(self) -> int:
        where = f"state NOT IN ({_marks(ENDED)})"
        return int(self._table("queries").count_where(where, sorted(ENDED)))

    def add_query(self, query: Query, signed: Signed, *, now_ms: int) -> None:
        self._table("queries").insert(
            {
                "query_id": query.query_id,
                "digest": signed.digest,
                "requester": signed.signer,
                "signed": signed.to_bytes(),
                "state": AWAITING_TEMPLATES,
                "live": int(query.live),
                "window_from_ms": query.window_from_ms,
                "window_to_ms": query.window_to_ms,
                "not_after_ms": query.not_after_ms,
                "filed_ms": now_ms,
                "changed_ms": now_ms,
                "link_seed": secrets.token_bytes(SEED_BYTES),
            }
        )

    def set_state(
        self, digest: bytes, state: str, reason: str, *, now_ms: int, seen: Seen | None = None
    ) -> bool:
        changed = self._run(
            "UPDATE queries SET state = ?, reason = ?, changed_ms = ? WHERE digest = ?"  # noqa: S608 - marks only
            f" AND (state != ? OR reason != ?) AND state NOT IN ({_marks(ENDED)})",
            [state, reason, now_ms, digest, state, reason, *sorted(ENDED)],
        )
        if changed.rowcount and state in ENDED:
            if seen is None:
                seen = Seen(
                    self._number("SELECT max(id) FROM envelopes"),
                    self._number("SELECT max(id) FROM announcements"),
                )
            self._run(
                "UPDATE queries SET seen_envelope = ?, seen_announcement = ? WHERE digest = ?",
                [*seen, digest],
            )
        return changed.rowcount > 0

    def add_progress(self, digest: bytes, figures: Mapping[str, int]) -> None:
        row = one(self._table("queries").rows_where("digest = ?", [digest], select="progress"))
        if row is None:
            raise KeyError(digest)
        total = json.loads(row["progress"])
        for name, value in figures.items():
            total[name] = total.get(name, 0) + value
        self._run("UPDATE queries SET progress = ? WHERE digest = ?", [json.dumps(total), digest])

    # -------------------------------------------------------- approvals, refusals, withdrawals

    def messages(self, kind: str, digest: bytes) -> list[Signed]:
        table, _ = _MESSAGES[kind]
        rows = self._run(
            f"SELECT signed FROM {table} WHERE query_digest = ? ORDER BY received_ms",  # noqa: S608 - our own words
            [digest],
        )
        return [Signed.parse(row[0], kind=kind) for row in rows]

    def add_message(self, digest: bytes, signed: Signed, *, now_ms: int) -> None:
        table, signer = _MESSAGES[signed.kind]
        self._table(table).insert(
            {
                "query_digest": digest,
                signer: signed.signer,
                "signed": signed.to_bytes(),
                "received_ms": now_ms,
            }
        )

    # ------------------------------------------------------------------ grants

    def knows_grant(self, grant_id: bytes) -> bool:
        return bool(self._table("grants").count_where("grant_id = ?", [grant_id]))

    def add_grant(self, grant: GrantRow) -> None:
        texts = {name: json.dumps(getattr(grant, name)) for name in ("labels", "refused")}
        self._table("grants").insert(asdict(grant) | texts)

    def false_grants(self, digest: bytes | None = None) -> list[FalseGrant]:
        where, values = ("", []) if digest is None else ("WHERE query_digest = ?", [digest])
        rows = self._run(
            "SELECT query_digest, custodian, reason, found_ms FROM false_grants"  # noqa: S608 - our own words
            f" {where} ORDER BY found_ms, custodian",
            values,
        )
        return [FalseGrant(*row) for row in rows]

    def add_false_grant(self, found: FalseGrant) -> None:
        self._run(
            "INSERT OR IGNORE INTO false_grants (query_digest, custodian, reason, found_ms)"
            " VALUES (?, ?, ?, ?)",
            [found.query_digest, found.custodian, found.reason, found.found_ms],
        )

    # ------------------------------------------------------------------ results and decisions

    def results(self, digest: bytes, officer: str) -> list[tuple[bytes, bytes, bytes | None]]:
        rows = self._run(
            "SELECT r.candidate_id, s.sealed, d.signed FROM results r JOIN result_seals s"
            " ON s.query_digest = r.query_digest AND s.candidate_id = r.candidate_id"
            " AND s.officer = ?2 LEFT JOIN decisions d ON d.query_digest = r.query_digest"
            " AND d.candidate_id = r.candidate_id AND d.officer = ?2"
            " WHERE r.query_digest = ?1 ORDER BY r.number",
            [digest, officer],
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def decisions(self, digest: bytes) -> list[bytes]:
        rows = self._run(
            "SELECT d.signed FROM decisions d JOIN results r ON r.query_digest = d.query_digest"
            " AND r.candidate_id = d.candidate_id WHERE d.query_digest = ?"
            " ORDER BY r.number, d.officer",
            [digest],
        )
        return [row[0] for row in rows]

    def openings(self, digest: bytes, officer: str) -> list[bytes]:
        rows = self._run(
            "SELECT s.sealed FROM openings o JOIN opening_seals s ON s.opening = o.number"
            " WHERE o.query_digest = ? AND s.officer = ? ORDER BY o.number",
            [digest, officer],
        )
        return [row[0] for row in rows]

    def watching(self, digest: bytes, officer: str) -> bytes | None:
        row = self._run(
            "SELECT sealed FROM watching WHERE query_digest = ? AND officer = ?", [digest, officer]
        ).fetchone()
        return None if row is None else bytes(row[0])

    def links(self, digest: bytes, officer: str) -> bytes | None:
        row = self._run(
            "SELECT sealed FROM links WHERE query_digest = ? AND officer = ?", [digest, officer]
        ).fetchone()
        return None if row is None else bytes(row[0])

    def link_seed(self, digest: bytes) -> bytes:
        row = self._run("SELECT link_seed FROM queries WHERE digest = ?", [digest]).fetchone()
        return bytes(row[0])

    def opened_rows(self, digest: bytes) -> frozenset[bytes]:
        rows = self._run("SELECT mark FROM opened_rows WHERE query_digest = ?", [digest])
        return frozenset(row[0] for row in rows)

    def result_ids(self, digest: bytes) -> frozenset[bytes]:
        rows = self._run("SELECT candidate_id FROM results WHERE query_digest = ?", [digest])
        return frozenset(row[0] for row in rows)

    def count_results(self, digest: bytes) -> int:
        return self._number("SELECT count(*) FROM results WHERE query_digest = ?", [digest])

    def has_result(self, digest: bytes, candidate_id: bytes) -> bool:
        where = "query_digest = ? AND candidate_id = ?"
        return bool(self._table("results").count_where(where, [digest, candidate_id]))

    def add_result(
        self, digest: bytes, candidate_id: bytes, sealed: Mapping[str, bytes], *, found_ms: int
    ) -> bool:
        added = self._run(
            "INSERT OR IGNORE INTO results (query_digest, candidate_id, found_ms) VALUES (?, ?, ?)",
            [digest, candidate_id, found_ms],
        )
        if not added.rowcount:
            return False
        self._seal(digest, candidate_id, sealed)
        return True

    def reseal_result(
        self, digest: bytes, candidate_id: bytes, sealed: Mapping[str, bytes]
    ) -> None:
        if self.has_result(digest, candidate_id):
            self._seal(digest, candidate_id, sealed)

    def _seal(self, digest: bytes, candidate_id: bytes, sealed: Mapping[str, bytes]) -> None:
        self._run_many(
            "INSERT OR REPLACE INTO result_seals (query_digest, candidate_id, officer, sealed)"
            " VALUES (?, ?, ?, ?)",
            [(digest, candidate_id, officer, one) for officer, one in sealed.items()],
        )

    def add_opening(
        self,
        digest: bytes,
        sealed: Mapping[str, bytes],
        *,
        marks: Collection[bytes],
        opened_ms: int,
    ) -> None:
        number = self._run(
            "INSERT INTO openings (query_digest, opened_ms) VALUES (?, ?)", [digest, opened_ms]
        ).lastrowid
        self._run_many(
            "INSERT OR IGNORE INTO opened_rows (query_digest, mark) VALUES (?, ?)",
            [(digest, mark) for mark in marks],
        )
        self._run_many(
            "INSERT INTO opening_seals (opening, officer, sealed) VALUES (?, ?, ?)",
            [(number, officer, one) for officer, one in sealed.items()],
        )

    def put_watching(self, digest: bytes, sealed: Mapping[str, bytes]) -> None:
        self._run_many(
            "INSERT OR REPLACE INTO watching (query_digest, officer, sealed) VALUES (?, ?, ?)",
            [(digest, officer, one) for officer, one in sealed.items()],
        )

    def put_links(self, digest: bytes, sealed: Mapping[str, bytes]) -> None:
        self._run_many(
            "INSERT OR REPLACE INTO links (query_digest, officer, sealed) VALUES (?, ?, ?)",
            [(digest, officer, one) for officer, one in sealed.items()],
        )

    def drop_undecided_result(self, digest: bytes, candidate_id: bytes) -> None:
        self._table("results").delete_where(
            "query_digest = ?1 AND candidate_id = ?2 AND NOT EXISTS"
            " (SELECT 1 FROM decisions WHERE query_digest = ?1 AND candidate_id = ?2)",
            [digest, candidate_id],
        )

    def put_decision(
        self, digest: bytes, candidate_id: bytes, signed: Signed, *, decided_ms: int
    ) -> None:
        self._table("decisions").insert(
            {
                "query_digest": digest,
                "candidate_id": candidate_id,
                "officer": signed.signer,
                "signed": signed.to_bytes(),
                "decided_ms": decided_ms,
            },
            replace=True,
        )

    # ------------------------------------------------------------------ the audit log's outbox

    def pending_entries(self) -> list[PendingEntry]:
        rows = self._run("SELECT number, entry, log_size FROM log_outbox ORDER BY number")
        return [PendingEntry(*row) for row in rows]

    def pending_numbers(self) -> range:
        first, last = self._run("SELECT min(number), max(number) FROM log_outbox").fetchone()
        return range(0) if first is None else range(first, last + 1)

    def add_entry(self, entry: bytes, *, log_size: int) -> None:
        self._table("log_outbox").insert({"entry": entry, "log_size": log_size})

    def drop_entry(self, number: int) -> None:
        self._run("DELETE FROM log_outbox WHERE number = ?", [number])


def _record(row: Mapping[str, Any]) -> QueryRecord:
    values = dict(row)
    seen = values.pop("seen_envelope"), values.pop("seen_announcement")
    return QueryRecord(
        **{**values, "progress": json.loads(values["progress"])},
        seen=None if seen[0] is None else Seen(*seen),
    )


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))
