"""The ledger's share of stills (`aggregator.store.stills.StillsWriting`)."""

from __future__ import annotations

from aggregator.store.postgresql.tables import Tables
from aggregator.store.stills import StillAsked

_ASKED = (
    "SELECT r.request, r.query_digest, q.query_id, r.officer, r.box, r.signed, r.stills,"
    " r.received_ms, (SELECT count(*) FROM still_answers a WHERE a.request = r.request)"
    " FROM still_requests r JOIN queries q ON q.digest = r.query_digest"
)


class StillTables(Tables):
    """Requests for stills and their answers, both for a while."""

    def still_request(self, request: bytes) -> StillAsked | None:
        row = self._one(f"{_ASKED} WHERE r.request = %s", [request])
        return None if row is None else StillAsked(*row)

    def unanswered_stills(self, *, since_ms: int) -> list[StillAsked]:
        rows = self._peek(
            f"{_ASKED} WHERE r.received_ms >= %s ORDER BY r.received_ms, r.request", [since_ms]
        )
        listed = [StillAsked(*row) for row in rows]
        return [one for one in listed if one.answered < one.stills]

    def count_still_requests(self, officer: str | None = None) -> int:
        return self._number(
            "SELECT count(*) FROM still_requests WHERE %s::text IS NULL OR officer = %s",
            [officer, officer],
        )

    def still_answers(
        self, query_digest: bytes, officer: str, request: bytes | None = None
    ) -> list[bytes]:
        rows = self._peek(
            "SELECT signed FROM still_answers WHERE query_digest = %s AND officer = %s"
            " AND (%s::bytea IS NULL OR request = %s) ORDER BY received_ms, number",
            [query_digest, officer, request, request],
        )
        return [row[0] for row in rows]

    def has_still_answer(self, request: bytes, mark: bytes) -> bool:
        found = "SELECT 1 FROM still_answers WHERE request = %s AND mark = %s"
        return self._one(found, [request, mark]) is not None

    def still_answer_bytes(self) -> int:
        return self._number("SELECT sum(length(signed))::bigint FROM still_answers")

    def count_stills_sent(self, query_digest: bytes) -> int:
        counted = "SELECT count(*) FROM stills_sent WHERE query_digest = %s"
        return self._number(counted, [query_digest])

    def add_still_request(self, asked: StillAsked) -> None:
        self._run(
            "INSERT INTO still_requests"
            " (request, query_digest, officer, box, signed, stills, received_ms)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (
                asked.request,
                asked.query_digest,
                asked.officer,
                asked.box,
                asked.signed,
                asked.stills,
                asked.received_ms,
            ),
        )

    def add_still_answer(
        self, asked: StillAsked, mark: bytes, signed: bytes, *, sent: bool, received_ms: int
    ) -> None:
        self._run(
            "INSERT INTO still_answers (request, mark, query_digest, officer, signed, received_ms)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            (asked.request, mark, asked.query_digest, asked.officer, signed, received_ms),
        )
        if sent:
            self._run(
                "INSERT INTO stills_sent (query_digest, mark) VALUES (%s, %s)"
                " ON CONFLICT DO NOTHING",
                [asked.query_digest, mark],
            )

    def forget_stills(self, *, asked_before_ms: int, answered_before_ms: int) -> int:
        asked = self._run("DELETE FROM still_requests WHERE received_ms < %s", [asked_before_ms])
        told = self._run("DELETE FROM still_answers WHERE received_ms < %s", [answered_before_ms])
        return asked + told
