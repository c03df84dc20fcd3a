"""Streams, their gaps, and which messages have come (part of `IntakeWriting`)."""

from __future__ import annotations

from collections.abc import Iterable

from aggregator.store.postgresql.tables import Tables
from aggregator.store.rows import QUARANTINED, STORED, GapRow, StreamRow
from protocol.epoch import RECORDING
from protocol.names import CameraAddress

_GAP = "id, first, last, opened_ms, reported_ms, lost"


class StreamTables(Tables):
    """Where the cameras' streams stand."""

    def addresses(self, site: str | None = None) -> list[CameraAddress]:
        rows = self._peek(
            "SELECT site, box, camera FROM streams WHERE %s::text IS NULL OR site = %s ORDER BY id",
            [site, site],
        )
        return [CameraAddress(*row) for row in rows]

    def stream(self, address: CameraAddress) -> StreamRow | None:
        row = self._one(
            "SELECT id, run, highest, generation, live_generation, floor_generation FROM streams"
            " WHERE site = %s AND box = %s AND camera = %s",
            (address.site, address.box, address.camera),
        )
        if row is None:
            return None
        gaps = self._peek(
            f"SELECT {_GAP} FROM gaps"  # noqa: S608 - our own words
            " WHERE stream = %s AND run = %s AND closed_ms IS NULL ORDER BY first",
            row[:2],
        )
        number, run, highest, generation, live, floor = row
        open_gaps = tuple(GapRow(*gap) for gap in gaps)
        return StreamRow(number, run, highest, generation, open_gaps, live, floor)

    def recorded_generations(self, stream: int) -> dict[int, int]:
        rows = self._peek(
            "SELECT epoch, max(generation) FROM announcements"
            " WHERE stream = %s AND origin = %s GROUP BY epoch",
            (stream, RECORDING),
        )
        return dict(rows)

    def add_stream(self, address: CameraAddress) -> StreamRow:
        self._run(
            "INSERT INTO streams (site, box, camera) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (address.site, address.box, address.camera),
        )
        added = self.stream(address)
        assert added is not None  # noqa: S101 - it was added just now
        return added

    def move_streams(self, moved: Iterable[tuple[StreamRow, int]]) -> None:
        rows = sorted(
            (
                to.number,
                to.run,
                to.highest,
                to.generation,
                to.live_generation,
                to.floor_generation,
                heard,
            )
            for to, heard in moved
        )
        if not rows:
            return
        columns = [list(column) for column in zip(*rows, strict=True)]
        self._run(
            "INSERT INTO past_runs (stream, run, highest, ended_ms)"
            " SELECT s.id, s.run, s.highest, m.heard"
            " FROM unnest(%s::int4[], %s::int4[], %s::int8[]) AS m (id, run, heard)"
            " JOIN streams s ON s.id = m.id AND s.run <> m.run AND s.highest >= 0"
            " ON CONFLICT DO NOTHING",
            [columns[0], columns[1], columns[6]],
        )
        self._run(
            "UPDATE streams s SET run = m.run, highest = m.highest, generation = m.generation,"
            " live_generation = m.live, floor_generation = m.floor, last_received_ms = m.heard"
            " FROM unnest(%s::int4[], %s::int4[], %s::int8[], %s::int8[], %s::int8[], %s::int8[],"
            " %s::int8[]) AS m (id, run, highest, generation, live, floor, heard)"
            " WHERE s.id = m.id",
            columns,
        )

    # ------------------------------------------------------------------ gaps

    def open_gaps(self) -> list[tuple[CameraAddress, GapRow]]:
        rows = self._peek(
            "SELECT site, box, camera, gaps.id, first, last, opened_ms, reported_ms, lost FROM gaps"
            " JOIN streams ON streams.id = gaps.stream WHERE closed_ms IS NULL"
            " ORDER BY camera, first"
        )
        return [(CameraAddress(*row[:3]), GapRow(*row[3:])) for row in rows]

    def add_gap(self, stream: int, run: int, gap: GapRow) -> int:
        return self._number(
            "INSERT INTO gaps (stream, run, first, last, opened_ms, reported_ms, lost)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
            (stream, run, gap.first, gap.last, gap.opened_ms, gap.reported_ms, gap.lost),
        )

    def shrink_gap(self, number: int, first: int, last: int) -> None:
        self._run("UPDATE gaps SET first = %s, last = %s WHERE id = %s", (first, last, number))

    def close_gap(self, number: int, closed_ms: int) -> None:
        self._run("UPDATE gaps SET closed_ms = %s WHERE id = %s", (closed_ms, number))

    def drop_gap(self, number: int) -> None:
        self._run("DELETE FROM gaps WHERE id = %s", (number,))

    def report_gap(self, number: int, reported_ms: int) -> None:
        self._run("UPDATE gaps SET reported_ms = %s WHERE id = %s", (reported_ms, number))

    def lose_gap(self, number: int) -> None:
        self._run("UPDATE gaps SET lost = true WHERE id = %s", (number,))

    def lose_gaps(self, stream: int) -> None:
        self._run("UPDATE gaps SET lost = true WHERE stream = %s AND closed_ms IS NULL", (stream,))

    def drop_gaps(self, *, before_ms: int, most: int) -> int:
        return self._drop("gaps", "coalesce(closed_ms, opened_ms) < %s", before_ms, most)

    # ------------------------------------------------------------------ messages

    def digests(self, stream: int, sequence: int) -> list[bytes]:
        rows = self._rows(
            "SELECT digest FROM digests WHERE stream = %s AND sequence = %s", (stream, sequence)
        )
        return [row[0] for row in rows]

    def came(self, stream: int, sequence: int) -> bool:
        return bool(
            self._peek(
                "SELECT 1 FROM past_runs r WHERE stream = %s AND highest >= %s AND NOT EXISTS"
                " (SELECT 1 FROM gaps g WHERE g.stream = r.stream AND g.run = r.run"
                " AND %s BETWEEN g.first AND g.last AND g.closed_ms IS NULL)",
                (stream, sequence, sequence),
            )
        )

    def note_admitted(self, stream: int, digest: bytes) -> None:
        self._session.settle()
        self._run(
            "UPDATE digests SET outcome = %s WHERE stream = %s AND outcome = %s AND digest = %s",
            (STORED, stream, QUARANTINED, digest),
        )

    def drop_runs(self, *, before_ms: int) -> None:
        self._run("DELETE FROM past_runs WHERE ended_ms < %s", (before_ms,))
