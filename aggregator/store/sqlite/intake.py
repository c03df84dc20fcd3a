"""The ledger's half of what came in, in SQLite (`aggregator.store.ledger.IntakeWriting`)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence

from aggregator.store.rows import (
    QUARANTINED,
    STORED,
    AnnouncedVersions,
    BoxRow,
    GapRow,
    Generation,
    Quarantined,
    RejectRow,
    StoredAnnouncement,
    StreamRow,
)
from aggregator.store.sqlite.health import HealthTables
from aggregator.store.sqlite.scopes import ScopeTables
from aggregator.store.sqlite.tables import one
from protocol.epoch import RECORDING, Announcement
from protocol.names import EPOCH_MS, CameraAddress

_GAP = "id, first, last, opened_ms, reported_ms, lost"


class IntakeTables(ScopeTables, HealthTables):
    """Streams, gaps, announcements, the index of envelopes, boxes, quarantine, rejects."""

    # ------------------------------------------------------------------ streams and their gaps

    def addresses(self, site: str | None = None) -> list[CameraAddress]:
        rows = self._run(
            "SELECT site, box, camera FROM streams WHERE ?1 IS NULL OR site = ?1", [site]
        )
        return [CameraAddress(*row) for row in rows]

    def stream(self, address: CameraAddress) -> StreamRow | None:
        row = self._run(
            "SELECT id, run, highest, generation, live_generation, floor_generation FROM streams"
            " WHERE site = ? AND box = ? AND camera = ?",
            (address.site, address.box, address.camera),
        ).fetchone()
        if row is None:
            return None
        gaps = self._run(
            f"SELECT {_GAP} FROM gaps"  # noqa: S608 - our own words
            " WHERE stream = ? AND run = ? AND closed_ms IS NULL ORDER BY first",
            row[:2],
        )
        number, run, highest, generation, live, floor = row
        open_gaps = tuple(_gap(gap) for gap in gaps)
        return StreamRow(number, run, highest, generation, open_gaps, live, floor)

    def recorded_generations(self, stream: int) -> dict[int, int]:
        rows = self._run(
            "SELECT epoch, max(generation) FROM announcements"
            " WHERE stream = ? AND origin = ? GROUP BY epoch",
            (stream, RECORDING),
        )
        return dict(rows.fetchall())

    def add_stream(self, address: CameraAddress) -> StreamRow:
        self._run(
            "INSERT INTO streams (site, box, camera) VALUES (?, ?, ?)",
            (address.site, address.box, address.camera),
        )
        added = self.stream(address)
        assert added is not None  # noqa: S101 - it was added just now
        return added

    def move_streams(self, moved: Iterable[tuple[StreamRow, int]]) -> None:
        moved = list(moved)
        self._run_many(
            "INSERT OR IGNORE INTO past_runs (stream, run, highest, ended_ms)"
            " SELECT id, run, highest, ?3 FROM streams"
            " WHERE id = ?1 AND run <> ?2 AND highest >= 0",
            [(to.number, to.run, heard) for to, heard in moved],
        )
        self._run_many(
            "UPDATE streams SET run = ?, highest = ?, generation = ?, live_generation = ?,"
            " floor_generation = ?, last_received_ms = ? WHERE id = ?",
            [
                (
                    to.run,
                    to.highest,
                    to.generation,
                    to.live_generation,
                    to.floor_generation,
                    heard,
                    to.number,
                )
                for to, heard in moved
            ],
        )

    def open_gaps(self) -> list[tuple[CameraAddress, GapRow]]:
        rows = self._run(
            "SELECT site, box, camera, gaps.id, first, last, opened_ms, reported_ms, lost FROM gaps"
            " JOIN streams ON streams.id = gaps.stream WHERE closed_ms IS NULL"
            " ORDER BY camera, first"
        )
        return [(CameraAddress(*row[:3]), _gap(row[3:])) for row in rows]

    def add_gap(self, stream: int, run: int, gap: GapRow) -> int:
        return self._number(
            "INSERT INTO gaps (stream, run, first, last, opened_ms, reported_ms, lost)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (stream, run, gap.first, gap.last, gap.opened_ms, gap.reported_ms, gap.lost),
        )

    def shrink_gap(self, number: int, first: int, last: int) -> None:
        self._run("UPDATE gaps SET first = ?, last = ? WHERE id = ?", (first, last, number))

    def close_gap(self, number: int, closed_ms: int) -> None:
        self._run("UPDATE gaps SET closed_ms = ? WHERE id = ?", (closed_ms, number))

    def drop_gap(self, number: int) -> None:
        self._run("DELETE FROM gaps WHERE id = ?", (number,))

    def report_gap(self, number: int, reported_ms: int) -> None:
        self._run("UPDATE gaps SET reported_ms = ? WHERE id = ?", (reported_ms, number))

    def lose_gap(self, number: int) -> None:
        self._run("UPDATE gaps SET lost = 1 WHERE id = ?", (number,))

    def lose_gaps(self, stream: int) -> None:
        self._run("UPDATE gaps SET lost = 1 WHERE stream = ? AND closed_ms IS NULL", (stream,))

    def drop_gaps(self, *, before_ms: int, most: int) -> int:
        return self._drop("gaps", "coalesce(closed_ms, opened_ms) < ?", before_ms, most)

    # ------------------------------------------------------------------ messages

    def digests(self, stream: int, sequence: int) -> list[bytes]:
        rows = self._run(
            "SELECT digest FROM sequences WHERE stream = ? AND sequence = ?", (stream, sequence)
        )
        return [row[0] for row in rows]

    def remember(
        self,
        stream: int,
        run: int,
        *,
        sequence: int,
        epoch: int,
        outcome: int,
        digest: bytes,
        now_ms: int,
    ) -> None:
        self._run(
            "INSERT INTO sequences (stream, sequence, run, epoch, outcome, digest, day)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (stream, sequence, run, epoch, outcome, digest, now_ms // EPOCH_MS),
        )

    def note_admitted(self, stream: int, digest: bytes) -> None:
        self._run(
            "UPDATE sequences SET outcome = ? WHERE stream = ? AND outcome = ? AND digest = ?",
            (STORED, stream, QUARANTINED, digest),
        )

    def came(self, stream: int, sequence: int) -> bool:
        row = self._run(
            "SELECT 1 FROM past_runs r WHERE stream = ?1 AND highest >= ?2 AND NOT EXISTS"
            " (SELECT 1 FROM gaps g WHERE g.stream = r.stream AND g.run = r.run"
            " AND ?2 BETWEEN g.first AND g.last AND g.closed_ms IS NULL)",
            (stream, sequence),
        ).fetchone()
        return row is not None

    def forget_messages(self, *, before_day: int, after: int) -> int | None:
        stream = self._number("SELECT min(id) FROM streams WHERE id > ?", (after,))
        if not stream:
            return None
        self._run("DELETE FROM sequences WHERE stream = ? AND day < ?", (stream, before_day))
        return stream

    def drop_runs(self, *, before_ms: int) -> None:
        self._run("DELETE FROM past_runs WHERE ended_ms < ?", (before_ms,))

    # ------------------------------------------------------------------ announcements

    def add_announcement(self, stream: int, announcement: Announcement, signed: bytes) -> bool:
        done = self._run(
            "INSERT OR IGNORE INTO announcements"
            " (stream, epoch, generation, sequence, announced_ms, signed, version, origin)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                stream,
                announcement.epoch,
                announcement.generation,
                announcement.sequence,
                announcement.announced_at_ms,
                signed,
                announcement.version,
                announcement.origin,
            ),
        )
        return done.rowcount > 0

    def generation(self, stream: int, epoch: int, generation: int) -> Generation | None:
        row = self._run(
            "SELECT version, origin FROM announcements"
            " WHERE stream = ? AND epoch = ? AND generation = ?",
            (stream, epoch, generation),
        ).fetchone()
        return None if row is None else Generation(*row)

    def announced_versions(self) -> dict[tuple[str, str], AnnouncedVersions]:
        rows = self._run(
            "SELECT box, camera, (SELECT version FROM announcements WHERE stream = s.id"
            " ORDER BY epoch DESC, generation DESC LIMIT 1) AS newest,"
            " (SELECT max(announced_ms) FROM announcements WHERE stream = s.id AND version = 1)"
            " FROM streams s WHERE newest IS NOT NULL"
        )
        return {(box, camera): AnnouncedVersions(*told) for box, camera, *told in rows}

    def announcements(
        self, cameras: Collection[str], *, from_ms: int, to_ms: int, after: int = 0
    ) -> list[StoredAnnouncement]:
        first, last = from_ms // EPOCH_MS, (to_ms - 1) // EPOCH_MS
        if after:
            return self._newer_announcements(frozenset(cameras), first, last, after)
        return [
            StoredAnnouncement(address, *row)
            for stream, address in sorted(self._streams(list(cameras)).items())
            for row in self._run(
                "SELECT epoch, generation, signed FROM announcements"
                " WHERE stream = ? AND epoch BETWEEN ? AND ? ORDER BY epoch, generation",
                (stream, first, last),
            )
        ]

    def _newer_announcements(
        self, cameras: frozenset[str], first: int, last: int, after: int
    ) -> list[StoredAnnouncement]:
        """Read what came lately, by its number: few rows, however many cameras are asked for."""
        rows = self._run(
            "SELECT site, box, camera, epoch, a.generation, signed FROM announcements a"
            " JOIN streams s ON s.id = a.stream WHERE a.id > ? AND epoch BETWEEN ? AND ?"
            " ORDER BY stream, epoch, a.generation",
            (after, first, last),
        )
        return [
            StoredAnnouncement(CameraAddress(*row[:3]), *row[3:])
            for row in rows
            if row[2] in cameras
        ]

    def newest_announcement(self) -> int:
        return self._number("SELECT max(id) FROM announcements")

    def drop_announcements(self, *, before_epoch: int, most: int) -> int:
        return self._drop("announcements", "epoch < ?", before_epoch, most)

    # ------------------------------------------------------------------ boxes

    def boxes(self) -> dict[str, BoxRow]:
        return {row["box"]: _box(row) for row in self._table("boxes").rows}

    def box(self, name: str) -> BoxRow | None:
        row = one(self._table("boxes").rows_where("box = ?", [name]))
        return None if row is None else _box(row)

    def newest_reports_ms(self, count: int) -> list[int]:
        rows = self._run(
            "SELECT reported_ms FROM boxes WHERE reported_ms IS NOT NULL"
            " ORDER BY reported_ms DESC LIMIT ?",
            [count],
        )
        return [row[0] for row in rows]

    def note_heard(self, heard_ms: Mapping[str, int]) -> None:
        self._run_many(
            "INSERT INTO boxes (box, last_seen_ms) VALUES (?, ?) ON CONFLICT (box) DO UPDATE SET"
            " last_seen_ms = excluded.last_seen_ms",
            list(heard_ms.items()),
        )

    def put_box(self, row: BoxRow) -> None:
        self._run(
            "INSERT INTO boxes (box, last_seen_ms, state, version, reported_ms,"
            " reported_received_ms, clock_offset_ms, figures)"
            " VALUES (:box, :seen, :state, :version, :reported, :received, :offset, :figures)"
            " ON CONFLICT (box) DO UPDATE SET last_seen_ms = max(last_seen_ms, :seen),"
            " state = :state, version = :version,"
            " reported_ms = :reported,"
            " reported_received_ms = :received,"
            " clock_offset_ms = coalesce(:offset, clock_offset_ms), figures = :figures",
            {
                "box": row.box,
                "seen": row.last_seen_ms,
                "state": row.state,
                "version": row.version,
                "reported": row.reported_ms,
                "received": row.received_ms,
                "offset": row.clock_offset_ms,
                "figures": json.dumps(dict(row.figures or {})),
            },
        )

    # ------------------------------------------------------------------ quarantine and rejects

    def quarantine(
        self,
        *,
        stream: int | None,
        topic: str,
        payload: bytes,
        reason: str,
        detail: str,
        received_ms: int,
    ) -> None:
        self._table("quarantine").insert(
            {
                "stream": stream,
                "topic": topic,
                "payload": payload,
                "reason": reason,
                "detail": detail,
                "received_ms": received_ms,
            }
        )

    def take_quarantined(self, number: int) -> tuple[str, bytes]:
        row = self._run(
            "DELETE FROM quarantine WHERE id = ? RETURNING topic, payload", (number,)
        ).fetchone()
        if row is None:
            raise KeyError(number)
        return str(row[0]), bytes(row[1])

    def quarantined(self, *, limit: int = 100, after: int = 0) -> list[Quarantined]:
        rows = self._run(
            "SELECT id, topic, reason, detail, received_ms, length(payload) FROM quarantine"
            " WHERE id > ? ORDER BY id LIMIT ?",
            (after, limit),
        )
        return [Quarantined(*row) for row in rows]

    def quarantined_by_box(self) -> dict[str, Mapping[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for box, reason, count in self._run(
            "SELECT box, reason, count(*) FROM quarantine"
            " JOIN streams ON streams.id = quarantine.stream GROUP BY box, reason"
        ):
            found.setdefault(box, {})[reason] = count
        return dict(found)

    def quarantine_bytes(self) -> int:
        return self._number("SELECT sum(length(payload)) FROM quarantine")

    def drop_quarantined(self, *, before_ms: int, most: int) -> int:
        return self._drop("quarantine", "received_ms < ?", before_ms, most)

    def rejects(self) -> list[RejectRow]:
        rows = self._run("SELECT box, camera, reason, count, last_ms, detail FROM rejects")
        return [RejectRow(*row) for row in rows]

    def add_rejects(self, counted: Iterable[RejectRow]) -> None:
        self._run_many(
            "INSERT INTO rejects (box, camera, reason, count, first_ms, last_ms, detail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (box, camera, reason) DO UPDATE SET"
            " count = count + excluded.count, last_ms = excluded.last_ms,"
            " detail = excluded.detail",
            [
                (row.box, row.camera, row.reason, row.count, row.last_ms, row.last_ms, row.detail)
                for row in counted
            ],
        )

    def drop_rejects(self, *, before_ms: int) -> None:
        self._table("rejects").delete_where("last_ms < ?", [before_ms])


def _gap(row: Sequence[int]) -> GapRow:
    number, first, last, opened_ms, reported_ms, lost = row
    return GapRow(number, first, last, opened_ms, reported_ms, bool(lost))


def _box(row: Mapping[str, object]) -> BoxRow:
    values = dict(row)
    figures = values.pop("figures")
    return BoxRow(
        received_ms=values.pop("reported_received_ms"),  # type: ignore[arg-type]
        figures=json.loads(str(figures)) if figures else {},
        **values,  # type: ignore[arg-type]
    )
