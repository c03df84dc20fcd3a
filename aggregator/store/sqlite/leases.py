"""Leases in SQLite (`aggregator.store.leases.LeasesWriting`): for processes of one machine.

One writer at a time holds for the whole file, so a lease that was checked stays until the end of
the transaction. The clock is this machine's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from operator import attrgetter

from aggregator.store.leases import Lease, LeaseLost
from aggregator.store.sqlite.tables import Tables
from runtime.clock import system_ms

SCHEMA = """
-- Who works on what. A row stays when it is given back, so that fences rise for ever.
CREATE TABLE leases (
    kind TEXT NOT NULL,
    number INTEGER NOT NULL,
    holder TEXT NOT NULL,                     -- empty: nobody
    fence INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, number)
) STRICT, WITHOUT ROWID;

-- How many entries the audit log has at least: one row.
CREATE TABLE log_head (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    size INTEGER NOT NULL
) STRICT;

-- What the site's authority signed, brought to one process for all of them.
CREATE TABLE site_papers (
    name TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    signed BLOB NOT NULL
) STRICT;
"""
_OURS = "kind = ? AND number = ? AND holder = ? AND fence = ?"
_MOST_MS = 60_000
"""A lease that seems to run longer was taken while the clock was ahead: it counts as run out."""


class LeaseTables(Tables):
    """Leases, and the size of the audit log."""

    def held(self, kind: str) -> list[Lease]:
        now_ms = system_ms()
        rows = self._run(
            "SELECT kind, number, holder, fence FROM leases WHERE kind = ? AND holder <> ''"
            " AND until_ms > ? AND until_ms <= ? ORDER BY number",
            (kind, now_ms, now_ms + _MOST_MS),
        )
        return [Lease(*row) for row in rows]

    def site_papers(self) -> dict[str, bytes]:
        return dict(self._run("SELECT name, digest FROM site_papers").fetchall())

    def site_paper(self, name: str) -> bytes | None:
        row = self._run("SELECT signed FROM site_papers WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def log_size(self) -> int:
        return self._number("SELECT max(size) FROM log_head")

    def take_lease(self, kind: str, number: int, holder: str, *, for_ms: int) -> Lease | None:
        now_ms = system_ms()
        row = self._run(
            "INSERT INTO leases (kind, number, holder, fence, until_ms) VALUES (?, ?, ?, 1, ?)"
            " ON CONFLICT (kind, number) DO UPDATE SET holder = excluded.holder,"
            " fence = fence + 1, until_ms = excluded.until_ms"
            " WHERE holder IN ('', excluded.holder) OR until_ms <= ? OR until_ms > ?"
            " RETURNING fence",
            (kind, number, holder, now_ms + for_ms, now_ms, now_ms + _MOST_MS),
        ).fetchone()
        return None if row is None else Lease(kind, number, holder, row[0])

    def renew_leases(self, leases: Iterable[Lease], *, for_ms: int) -> list[Lease]:
        until_ms = system_ms() + for_ms
        statement = f"UPDATE leases SET until_ms = ? WHERE {_OURS}"  # noqa: S608 - our own words
        return [one for one in leases if self._run(statement, (until_ms, *_key(one))).rowcount]

    def release_leases(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            self._run(
                f"UPDATE leases SET holder = '', until_ms = 0 WHERE {_OURS}",  # noqa: S608 - our own words
                _key(lease),
            )

    def check_leases(self, leases: Iterable[Lease]) -> None:
        for lease in sorted(leases, key=attrgetter("kind", "number")):
            statement = f"SELECT 1 FROM leases WHERE {_OURS}"  # noqa: S608 - our own words
            if self._run(statement, _key(lease)).fetchone() is None:
                raise LeaseLost(lease)

    def put_site_paper(self, name: str, signed: bytes) -> None:
        self._run(
            "INSERT OR REPLACE INTO site_papers (name, digest, signed) VALUES (?, ?, ?)",
            (name, hashlib.sha256(signed).digest(), signed),
        )

    def note_log_size(self, size: int) -> None:
        self._run(
            "INSERT INTO log_head (id, size) VALUES (0, ?)"
            " ON CONFLICT (id) DO UPDATE SET size = max(size, excluded.size)",
            (size,),
        )


def _key(lease: Lease) -> tuple[str, int, str, int]:
    return lease.kind, lease.number, lease.holder, lease.fence
