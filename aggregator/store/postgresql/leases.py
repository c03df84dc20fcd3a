"""Leases in PostgreSQL (`aggregator.store.leases.LeasesWriting`): for processes of any machine.

The clock is the server's. A transaction that checks a lease locks its row for sharing, and who
takes it has to change the row: so the taking waits for that transaction, or the check fails.
Whoever locks several rows does so in order of number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from aggregator.store.leases import Lease, LeaseLost
from aggregator.store.postgresql.tables import Tables

SCHEMA = """
-- Who works on what. A row stays when it is given back, so that fences rise for ever.
CREATE TABLE leases (
    kind text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    holder text NOT NULL,                      -- empty: nobody
    fence bigint NOT NULL,
    until_ms bigint NOT NULL,                  -- by the server's clock
    PRIMARY KEY (kind, number)
) WITH (fillfactor = 50);                      -- renewed every second, in their page

-- How many entries the audit log has at least: one row.
CREATE TABLE log_head (
    id integer PRIMARY KEY CHECK (id = 0),
    size bigint NOT NULL
);

-- What the site's authority signed, brought to one process for all of them.
CREATE TABLE site_papers (
    name text COLLATE "C" PRIMARY KEY,
    digest bytea NOT NULL,
    signed bytea NOT NULL
);
"""
_NOW_MS = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_GIVEN = "unnest(%s::text[], %s::integer[], %s::text[], %s::bigint[])"
_OURS = f"(l.kind, l.number, l.holder, l.fence) IN (SELECT * FROM {_GIVEN})"  # noqa: S608 - our own words


class LeaseTables(Tables):
    """Leases, what the authority signed, and the size of the audit log."""

    def held(self, kind: str) -> list[Lease]:
        rows = self._peek(
            f"SELECT kind, number, holder, fence FROM leases WHERE kind = %s AND holder <> ''"  # noqa: S608 - our own words
            f" AND until_ms > {_NOW_MS} ORDER BY number",
            (kind,),
        )
        return [Lease(*row) for row in rows]

    def site_papers(self) -> dict[str, bytes]:
        return {
            str(name): bytes(digest)
            for name, digest in self._peek("SELECT name, digest FROM site_papers")
        }

    def site_paper(self, name: str) -> bytes | None:
        row = self._one("SELECT signed FROM site_papers WHERE name = %s", (name,))
        return None if row is None else bytes(row[0])

    def log_size(self) -> int:
        return self._number("SELECT max(size) FROM log_head")

    def take_lease(self, kind: str, number: int, holder: str, *, for_ms: int) -> Lease | None:
        row = self._one(
            "INSERT INTO leases AS l (kind, number, holder, fence, until_ms)"  # noqa: S608 - our own words
            f" VALUES (%s, %s, %s, 1, {_NOW_MS} + %s)"
            " ON CONFLICT (kind, number) DO UPDATE SET holder = excluded.holder,"
            f" fence = l.fence + 1, until_ms = {_NOW_MS} + %s"
            f" WHERE l.holder IN ('', excluded.holder) OR l.until_ms <= {_NOW_MS}"
            " RETURNING fence",
            (kind, number, holder, for_ms, for_ms),
        )
        return None if row is None else Lease(kind, number, holder, int(row[0]))

    def renew_leases(self, leases: Iterable[Lease], *, for_ms: int) -> list[Lease]:
        ours = self._locked(leases, "NO KEY UPDATE")
        self._run(
            f"UPDATE leases AS l SET until_ms = {_NOW_MS} + %s WHERE {_OURS}",  # noqa: S608 - our own words
            (for_ms, *_columns(ours)),
        )
        return ours

    def release_leases(self, leases: Iterable[Lease]) -> None:
        ours = self._locked(leases, "NO KEY UPDATE")
        self._run(
            f"UPDATE leases AS l SET holder = '', until_ms = 0 WHERE {_OURS}",  # noqa: S608 - our own words
            _columns(ours),
        )

    def check_leases(self, leases: Iterable[Lease]) -> None:
        wanted = list(leases)
        if not wanted:
            return
        ours = self._locked(wanted, "SHARE")
        for lease in wanted:
            if lease not in ours:
                raise LeaseLost(lease)

    def put_site_paper(self, name: str, signed: bytes) -> None:
        self._run(
            "INSERT INTO site_papers (name, digest, signed) VALUES (%s, %s, %s)"
            " ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, signed = excluded.signed",
            (name, hashlib.sha256(signed).digest(), signed),
        )

    def note_log_size(self, size: int) -> None:
        self._run(
            "INSERT INTO log_head AS h (id, size) VALUES (0, %s)"
            " ON CONFLICT (id) DO UPDATE SET size = greatest(h.size, excluded.size)",
            (size,),
        )

    def _locked(self, leases: Iterable[Lease], how: str) -> list[Lease]:
        """Lock the rows of leases that are still ours, in order; return those leases."""
        wanted = list(leases)
        if not wanted:
            return []
        rows = self._peek(
            f"SELECT l.kind, l.number, l.holder, l.fence FROM leases AS l WHERE {_OURS}"  # noqa: S608 - our own words
            f" ORDER BY l.kind, l.number FOR {how}",
            _columns(wanted),
        )
        return [Lease(*row) for row in rows]


def _columns(leases: Sequence[Lease]) -> tuple[list[str], list[int], list[str], list[int]]:
    return (
        [lease.kind for lease in leases],
        [lease.number for lease in leases],
        [lease.holder for lease in leases],
        [lease.fence for lease in leases],
    )
