"""The ledger's share of stills, in SQLite (`aggregator.store.stills.StillsWriting`)."""

from __future__ import annotations

from aggregator.store.sqlite.tables import Tables
from aggregator.store.stills import StillAsked

_ASKED = (
    "SELECT r.request, r.query_digest, q.query_id, r.officer, r.box, r.signed, r.stills,"
    " r.received_ms, (SELECT count(*) FROM still_answers a WHERE a.request = r.request)"
    " FROM still_requests r JOIN queries q ON q.digest = r.query_digest"
)


class StillTables(Tables):
    """Requests for stills and their answers, both for a while."""

    def still_request(self, request: bytes) -> StillAsked | None:
        row = self._run(f"{_ASKED} WHERE r.request = ?", [request]).fetchone()
        return None if row is None else StillAsked(*row)

    def unanswered_stills(self, *, since_ms: int) -> list[StillAsked]:
        rows = self._run(f"{_ASKED} WHERE r.received_ms >= ? ORDER BY r.received_ms", [since_ms])
        listed = [StillAsked(*row) for row in rows]
        return [one for one in listed if one.answered < one.stills]

    def count_still_requests(self, officer: str | None = None) -> int:
        where = "?1 IS NULL OR officer = ?1"
        return int(self._table("still_requests").count_where(where, [officer]))

    def still_answers(
        self, query_digest: bytes, officer: str, request: bytes | None = None
    ) -> list[bytes]:
        rows = self._run(
            "SELECT signed FROM still_answers WHERE query_digest = ?1 AND officer = ?2"
            " AND (?3 IS NULL OR request = ?3) ORDER BY received_ms, rowid",
            [query_digest, officer, request],
        )
        return [row[0] for row in rows]

    def has_still_answer(self, request: bytes, mark: bytes) -> bool:
        where = "request = ? AND mark = ?"
        return bool(self._table("still_answers").count_where(where, [request, mark]))

    def still_answer_bytes(self) -> int:
        return self._number("SELECT sum(length(signed)) FROM still_answers")

    def count_stills_sent(self, query_digest: bytes) -> int:
        return int(self._table("stills_sent").count_where("query_digest = ?", [query_digest]))

    def add_still_request(self, asked: StillAsked) -> None:
        self._table("still_requests").insert(
            {
                "request": asked.request,
                "query_digest": asked.query_digest,
                "officer": asked.officer,
                "box": asked.box,
                "signed": asked.signed,
                "stills": asked.stills,
                "received_ms": asked.received_ms,
            }
        )

    def add_still_answer(
        self, asked: StillAsked, mark: bytes, signed: bytes, *, sent: bool, received_ms: int
    ) -> None:
        self._table("still_answers").insert(
            {
                "request": asked.request,
                "mark": mark,
                "query_digest": asked.query_digest,
                "officer": asked.officer,
                "signed": signed,
                "received_ms": received_ms,
            }
        )
        if sent:
            self._run(
                "INSERT OR IGNORE INTO stills_sent (query_digest, mark) VALUES (?, ?)",
                [asked.query_digest, mark],
            )

    def forget_stills(self, *, asked_before_ms: int, answered_before_ms: int) -> int:
        asked = self._run("DELETE FROM still_requests WHERE received_ms < ?", [asked_before_ms])
        told = self._run("DELETE FROM still_answers WHERE received_ms < ?", [answered_before_ms])
        return asked.rowcount + told.rowcount
