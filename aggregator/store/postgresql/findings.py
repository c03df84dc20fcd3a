"""What was found for queries, sealed to each officer (part of `QueriesWriting`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aggregator.store.postgresql.tables import Tables
from protocol.signing import Signed


class FindingTables(Tables):
    """Results and decisions, openings, what was watched, links."""

    # ------------------------------------------------------------------ results and decisions

    def results(self, digest: bytes, officer: str) -> list[tuple[bytes, bytes, bytes | None]]:
        rows = self._peek(
            "SELECT r.candidate_id, s.sealed, d.signed FROM results r JOIN result_seals s"
            " ON s.query_digest = r.query_digest AND s.candidate_id = r.candidate_id"
            " AND s.officer = %s LEFT JOIN decisions d ON d.query_digest = r.query_digest"
            " AND d.candidate_id = r.candidate_id AND d.officer = s.officer"
            " WHERE r.query_digest = %s ORDER BY r.number",
            [officer, digest],
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def decisions(self, digest: bytes) -> list[bytes]:
        return self._blobs(
            "SELECT d.signed FROM decisions d JOIN results r ON r.query_digest = d.query_digest"
            " AND r.candidate_id = d.candidate_id WHERE d.query_digest = %s"
            " ORDER BY r.number, d.officer",
            digest,
        )

    def result_ids(self, digest: bytes) -> frozenset[bytes]:
        return frozenset(
            self._blobs("SELECT candidate_id FROM results WHERE query_digest = %s", digest)
        )

    def count_results(self, digest: bytes) -> int:
        return self._number("SELECT count(*) FROM results WHERE query_digest = %s", [digest])

    def has_result(self, digest: bytes, candidate_id: bytes) -> bool:
        found = "SELECT 1 FROM results WHERE query_digest = %s AND candidate_id = %s"
        return self._one(found, [digest, candidate_id]) is not None

    def add_result(
        self, digest: bytes, candidate_id: bytes, sealed: Mapping[str, bytes], *, found_ms: int
    ) -> bool:
        added = self._run(
            "INSERT INTO results (query_digest, candidate_id, found_ms) VALUES (%s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [digest, candidate_id, found_ms],
        )
        if added:
            self._seal(digest, candidate_id, sealed)
        return added > 0

    def reseal_result(
        self, digest: bytes, candidate_id: bytes, sealed: Mapping[str, bytes]
    ) -> None:
        if self.has_result(digest, candidate_id):
            self._seal(digest, candidate_id, sealed)

    def _seal(self, digest: bytes, candidate_id: bytes, sealed: Mapping[str, bytes]) -> None:
        self._run_many(
            "INSERT INTO result_seals (query_digest, candidate_id, officer, sealed)"
            " VALUES (%s, %s, %s, %s) ON CONFLICT (query_digest, candidate_id, officer)"
            " DO UPDATE SET sealed = excluded.sealed",
            [(digest, candidate_id, officer, one) for officer, one in sealed.items()],
        )

    def drop_undecided_result(self, digest: bytes, candidate_id: bytes) -> None:
        self._run(
            "DELETE FROM results r WHERE query_digest = %s AND candidate_id = %s AND NOT EXISTS"
            " (SELECT 1 FROM decisions d WHERE d.query_digest = r.query_digest"
            " AND d.candidate_id = r.candidate_id)",
            [digest, candidate_id],
        )

    def put_decision(
        self, digest: bytes, candidate_id: bytes, signed: Signed, *, decided_ms: int
    ) -> None:
        self._run(
            "INSERT INTO decisions (query_digest, candidate_id, officer, signed, decided_ms)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (query_digest, candidate_id, officer)"
            " DO UPDATE SET signed = excluded.signed, decided_ms = excluded.decided_ms",
            [digest, candidate_id, signed.signer, signed.to_bytes(), decided_ms],
        )

    # ------------------------------------------------------------------ openings

    def openings(self, digest: bytes, officer: str) -> list[bytes]:
        rows = self._peek(
            "SELECT s.sealed FROM openings o JOIN opening_seals s ON s.opening = o.number"
            " WHERE o.query_digest = %s AND s.officer = %s ORDER BY o.number",
            [digest, officer],
        )
        return [row[0] for row in rows]

    def opened_rows(self, digest: bytes) -> frozenset[bytes]:
        return frozenset(
            self._blobs("SELECT mark FROM opened_rows WHERE query_digest = %s", digest)
        )

    def add_opening(
        self,
        digest: bytes,
        sealed: Mapping[str, bytes],
        *,
        marks: Collection[bytes],
        opened_ms: int,
    ) -> None:
        number = self._number(
            "INSERT INTO openings (query_digest, opened_ms) VALUES (%s, %s) RETURNING number",
            [digest, opened_ms],
        )
        self._run(
            "INSERT INTO opened_rows (query_digest, mark) SELECT %s, * FROM unnest(%s::bytea[])"
            " ON CONFLICT DO NOTHING",
            [digest, list(marks)],
        )
        self._run_many(
            "INSERT INTO opening_seals (opening, officer, sealed) VALUES (%s, %s, %s)",
            [(number, officer, one) for officer, one in sealed.items()],
        )

    # ------------------------------------------------------------------ the newest alone

    def watching(self, digest: bytes, officer: str) -> bytes | None:
        return self._newest("watching", digest, officer)

    def links(self, digest: bytes, officer: str) -> bytes | None:
        return self._newest("links", digest, officer)

    def put_watching(self, digest: bytes, sealed: Mapping[str, bytes]) -> None:
        self._put("watching", digest, sealed)

    def put_links(self, digest: bytes, sealed: Mapping[str, bytes]) -> None:
        self._put("links", digest, sealed)

    def _newest(self, table: str, digest: bytes, officer: str) -> bytes | None:
        row = self._one(
            f"SELECT sealed FROM {table} WHERE query_digest = %s AND officer = %s",  # noqa: S608 - our own words
            [digest, officer],
        )
        return None if row is None else bytes(row[0])

    def _put(self, table: str, digest: bytes, sealed: Mapping[str, bytes]) -> None:
        self._run_many(
            f"INSERT INTO {table} (query_digest, officer, sealed) VALUES (%s, %s, %s)"  # noqa: S608 - our own words
            " ON CONFLICT (query_digest, officer) DO UPDATE SET sealed = excluded.sealed",
            [(digest, officer, one) for officer, one in sealed.items()],
        )

    def _blobs(self, sql: str, digest: bytes) -> list[bytes]:
        return [row[0] for row in self._peek(sql, [digest])]
