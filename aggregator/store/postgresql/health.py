"""How boxes are, and were over the last days (part of `IntakeWriting`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aggregator.store.postgresql.tables import Tables
from aggregator.store.rows import BoxRow, HealthRow

_BOX = (
    "box, last_seen_ms, state, version, reported_ms, reported_received_ms, clock_offset_ms, figures"
)
_HEALTH = "SELECT box, slot, reports, last_ms, silent_ms, version, worst FROM box_health"


class HealthTables(Tables):
    """Boxes' last reports, and of their history one row a box and quarter hour."""

    def boxes(self) -> dict[str, BoxRow]:
        return {row[0]: _box(row) for row in self._peek(f"SELECT {_BOX} FROM boxes")}  # noqa: S608 - our own words

    def box(self, name: str) -> BoxRow | None:
        row = self._one(f"SELECT {_BOX} FROM boxes WHERE box = %s", [name])  # noqa: S608 - our own words
        return None if row is None else _box(row)

    def newest_reports_ms(self, count: int) -> list[int]:
        rows = self._peek(
            "SELECT reported_ms FROM boxes WHERE reported_ms IS NOT NULL"
            " ORDER BY reported_ms DESC LIMIT %s",
            [count],
        )
        return [row[0] for row in rows]

    def note_heard(self, heard_ms: Mapping[str, int]) -> None:
        if not heard_ms:
            return
        names = sorted(heard_ms)  # in one order, whoever else writes some of them
        self._run(
            "INSERT INTO boxes (box, last_seen_ms) SELECT * FROM unnest(%s::text[], %s::int8[])"
            " ON CONFLICT (box) DO UPDATE SET last_seen_ms = excluded.last_seen_ms",
            [names, [heard_ms[name] for name in names]],
        )

    def put_box(self, row: BoxRow) -> None:
        self._run(
            "INSERT INTO boxes AS b (box, last_seen_ms, state, version, reported_ms,"
            " reported_received_ms, clock_offset_ms, figures)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (box) DO UPDATE SET"
            " last_seen_ms = greatest(b.last_seen_ms, excluded.last_seen_ms),"
            " state = excluded.state, version = excluded.version,"
            " reported_ms = excluded.reported_ms,"
            " reported_received_ms = excluded.reported_received_ms,"
            " clock_offset_ms = coalesce(excluded.clock_offset_ms, b.clock_offset_ms),"
            " figures = excluded.figures",
            (
                row.box,
                row.last_seen_ms,
                row.state,
                row.version,
                row.reported_ms,
                row.received_ms,
                row.clock_offset_ms,
                json.dumps(dict(row.figures or {})),
            ),
        )

    def put_health(self, row: HealthRow) -> None:
        self._run(
            "INSERT INTO box_health (box, slot, reports, last_ms, silent_ms, version, worst)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (box, slot) DO UPDATE SET"
            " reports = excluded.reports, last_ms = excluded.last_ms,"
            " silent_ms = excluded.silent_ms, version = excluded.version, worst = excluded.worst",
            (
                row.box,
                row.slot,
                row.reports,
                row.last_ms,
                row.silent_ms,
                row.version,
                json.dumps(dict(row.worst)),
            ),
        )

    def newest_health(self, box: str, *, through_slot: int) -> HealthRow | None:
        row = self._one(
            f"{_HEALTH} WHERE box = %s AND slot <= %s ORDER BY slot DESC LIMIT 1",
            (box, through_slot),
        )
        return None if row is None else _health(row)

    def health_history(self, box: str, *, from_slot: int, to_slot: int) -> list[HealthRow]:
        rows = self._peek(
            f"{_HEALTH} WHERE box = %s AND slot >= %s AND slot < %s ORDER BY slot",
            (box, from_slot, to_slot),
        )
        return [_health(row) for row in rows]

    def silences_ms(self, *, from_slot: int, to_slot: int) -> dict[str, int]:
        return dict(
            self._peek(
                "SELECT box, sum(silent_ms)::bigint FROM box_health"
                " WHERE slot >= %s AND slot < %s GROUP BY box",
                (from_slot, to_slot),
            )
        )

    def drop_health(self, *, before_slot: int, most: int) -> int:
        return self._run(
            "DELETE FROM box_health WHERE (box, slot) IN"
            " (SELECT box, slot FROM box_health WHERE slot < %s LIMIT %s)",
            (before_slot, most),
        )


def _box(row: Sequence[Any]) -> BoxRow:
    figures = json.loads(row[-1]) if row[-1] else {}
    return BoxRow(*(*row[:-1], figures))


def _health(row: Sequence[Any]) -> HealthRow:
    return HealthRow(*(*row[:-1], json.loads(row[-1])))
