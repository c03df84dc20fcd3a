"""How boxes were over the last days, in SQLite (part of `IntakeWriting`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aggregator.store.rows import HealthRow
from aggregator.store.sqlite.tables import Tables


class HealthTables(Tables):
    """The history of boxes' health, one row a box and quarter hour."""

    def put_health(self, row: HealthRow) -> None:
        self._run(
            "INSERT OR REPLACE INTO box_health"
            " (box, slot, reports, last_ms, silent_ms, version, worst)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
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
        rows = self._run(
            "SELECT box, slot, reports, last_ms, silent_ms, version, worst FROM box_health"
            " WHERE box = ? AND slot <= ? ORDER BY slot DESC LIMIT 1",
            (box, through_slot),
        )
        return next(map(_read, rows), None)

    def health_history(self, box: str, *, from_slot: int, to_slot: int) -> list[HealthRow]:
        rows = self._run(
            "SELECT box, slot, reports, last_ms, silent_ms, version, worst FROM box_health"
            " WHERE box = ? AND slot >= ? AND slot < ? ORDER BY slot",
            (box, from_slot, to_slot),
        )
        return [_read(row) for row in rows]

    def silences_ms(self, *, from_slot: int, to_slot: int) -> dict[str, int]:
        rows = self._run(
            "SELECT box, sum(silent_ms) FROM box_health WHERE slot >= ? AND slot < ? GROUP BY box",
            (from_slot, to_slot),
        )
        return {row[0]: row[1] for row in rows}

    def drop_health(self, *, before_slot: int, most: int) -> int:
        return self._run(
            "DELETE FROM box_health WHERE (box, slot) IN"
            " (SELECT box, slot FROM box_health WHERE slot < ? LIMIT ?)",
            (before_slot, most),
        ).rowcount


def _read(row: Sequence[Any]) -> HealthRow:
    box, slot, reports, last_ms, silent_ms, version, worst = row
    return HealthRow(box, slot, reports, last_ms, silent_ms, version, json.loads(worst))
