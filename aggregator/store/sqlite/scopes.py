"""What is in store for cameras and hours, by the index of envelopes and announcements, in SQLite.

Clear counters and headers alone (part of `aggregator.store.ledger.IntakeReading`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from aggregator.store.envelopes import room_for
from aggregator.store.rows import EpochName, LateFilm, ScopeCount, Seen, ToldSlot
from aggregator.store.sqlite.segments import NEWEST
from aggregator.store.sqlite.tables import Tables
from protocol.keytree import MODALITIES
from protocol.names import EPOCH_MS, CameraAddress, slots_in_window

_MAX_CAMERAS_A_STATEMENT = 500
_MODELS = ", ".join(f"{modality}_model" for modality in MODALITIES)
_SIZES = ", ".join(f"sum(length({modality}))" for modality in MODALITIES)
_PACKED_SIZES = ", ".join(f"sum({modality}_bytes)" for modality in MODALITIES)
_OF_SLOTS = "WHERE stream = ?1 AND epoch = ?2 AND slot BETWEEN ?3 AND ?4"
_COUNTED = (
    f"SELECT segment, version_2, count(*), sum(count), {_MODELS}, {_SIZES} FROM envelopes"  # noqa: S608 - our own words
    f" {_OF_SLOTS} AND (segment OR NOT version_2) GROUP BY segment, version_2, {_MODELS}"
    f" UNION ALL SELECT 1, version_2, count(*), sum(count), {_MODELS}, {_PACKED_SIZES} FROM packed"
    f" {_OF_SLOTS} GROUP BY version_2, {_MODELS}"
)
"""Envelopes of a stream's quarter hours by kind, version and models; sizes last."""
_TOLD = (
    "(SELECT id, stream, epoch, generation, slot FROM envelopes WHERE segment = 1 AND {0}"
    " UNION ALL SELECT number, stream, epoch, generation, slot FROM packed WHERE {1}) e"
)
"""Segments, in rows and packed, by two conditions of the same meaning."""
_ANNOUNCED = (
    "JOIN announcements a ON a.stream = e.stream AND a.epoch = e.epoch"
    " AND a.generation = e.generation"
)
_CAME = (
    "SELECT DISTINCT e.slot FROM announcements a"
    " CROSS JOIN {0} e ON e.stream = a.stream AND e.epoch = a.epoch"
    " AND e.generation = a.generation"
    " WHERE a.stream = ?1 AND a.epoch = ?2 AND a.origin = 'recorded'"
    " AND e.slot BETWEEN ?3 AND ?4 AND e.{1} > CASE WHEN a.id <= ?5 THEN ?6 ELSE 0 END"
)


class ScopeTables(Tables):
    """Reads the index of envelopes."""

    def _streams(self, cameras: Sequence[str]) -> dict[int, CameraAddress]:
        """Return the streams (one a box that ever spoke for it) of ``cameras``: id to address."""
        found: dict[int, CameraAddress] = {}
        for start in range(0, len(cameras), _MAX_CAMERAS_A_STATEMENT):
            names = cameras[start : start + _MAX_CAMERAS_A_STATEMENT]
            marks = ",".join("?" * len(names))
            rows = self._run(
                f"SELECT id, site, box, camera FROM streams WHERE camera IN ({marks})",  # noqa: S608 - marks only
                names,
            )
            found.update({row[0]: CameraAddress(*row[1:]) for row in rows})
        return found

    def newest_envelope(self) -> int:
        return self._number(NEWEST)

    def arrived_since(self, cursor: int) -> frozenset[EpochName]:
        rows = self._run(
            "SELECT s.box, s.camera, e.epoch, e.generation FROM ("
            "SELECT DISTINCT stream, epoch, generation FROM envelopes WHERE id > ?1"
            " UNION SELECT DISTINCT stream, epoch, generation FROM packed WHERE number > ?1) e"
            " JOIN streams s ON s.id = e.stream",
            [cursor],
        )
        return frozenset((row[0], row[1], row[2], row[3]) for row in rows)

    def count_scope(self, cameras: Sequence[str], *, from_ms: int, to_ms: int) -> ScopeCount:
        segments = live = sightings = exact = 0
        at_most = False
        by_model: Counter[str] = Counter()
        exact_by_model: Counter[str] = Counter()
        names = dict(self._run("SELECT id, model FROM models").fetchall())
        for stream in self._streams(cameras):
            for epoch in range(from_ms // EPOCH_MS, (to_ms - 1) // EPOCH_MS + 1):
                slots = slots_in_window(epoch, from_ms, to_ms)
                if not slots:
                    continue
                for segment, padded, envelopes, count, *of_modalities in self._run(
                    _COUNTED, (stream, epoch, slots.start, slots.stop - 1)
                ):
                    segments += envelopes if segment else 0
                    live += 0 if segment else envelopes
                    sightings += count
                    exact += 0 if padded else count
                    at_most = at_most or bool(padded)
                    half = len(MODALITIES)
                    models, sizes = of_modalities[:half], of_modalities[half:]
                    for model, size in zip(models, sizes, strict=True):
                        if model is None:
                            continue
                        name = names[model]
                        by_model[name] += room_for(name, envelopes, size) if padded else count
                        exact_by_model[name] += 0 if padded else count
        twice = self._told_twice(cameras, from_ms, to_ms)
        return ScopeCount(
            segments, live, sightings, by_model, at_most, twice, exact, exact_by_model
        )

    def _told_twice(self, cameras: Sequence[str], from_ms: int, to_ms: int) -> int:
        """Count the quarter hours of cameras of which a film and something else tell."""
        first, last = from_ms // EPOCH_MS, (to_ms - 1) // EPOCH_MS
        filmed = self._run(
            "SELECT DISTINCT s.camera FROM announcements a JOIN streams s ON s.id = a.stream"
            " WHERE a.origin = 'recorded' AND a.epoch BETWEEN ? AND ?",
            (first, last),
        )
        chosen = {row[0] for row in filmed}.intersection(cameras)
        tellers = Counter(
            (one.camera, one.epoch, one.slot)
            for one in self.told_slots(chosen, first_epoch=first)
            if one.epoch <= last and one.slot in slots_in_window(one.epoch, from_ms, to_ms)
        )
        return sum(count > 1 for count in tellers.values())

    def count_generations(
        self, cameras: Sequence[str], *, from_ms: int, to_ms: int, version: int
    ) -> int:
        epochs = (from_ms // EPOCH_MS, (to_ms - 1) // EPOCH_MS)
        return sum(
            self._number(
                "SELECT count(*) FROM announcements"
                " WHERE stream = ? AND epoch BETWEEN ? AND ? AND version = ?",
                (stream, *epochs, version),
            )
            for stream in self._streams(cameras)
        )

    def told_slots(
        self, cameras: Collection[str], *, first_epoch: int, after: int = 0
    ) -> list[ToldSlot]:
        if after:
            wanted = frozenset(cameras)
            rows = self._run(
                "SELECT DISTINCT s.box, s.camera, e.epoch, e.slot, a.origin FROM "  # noqa: S608 - our own words
                + _TOLD.format("id > ?1 AND epoch >= ?2", "number > ?1 AND epoch >= ?2")
                + f" {_ANNOUNCED} JOIN streams s ON s.id = e.stream",
                (after, first_epoch),
            )
            return [ToldSlot(*row) for row in rows if row[1] in wanted]
        of_stream = _TOLD.format(*("stream = ?1 AND epoch >= ?2" for _ in range(2)))
        return [
            ToldSlot(address.box, address.camera, *row)
            for stream, address in sorted(self._streams(sorted(cameras)).items())
            for row in self._run(
                f"SELECT DISTINCT e.epoch, e.slot, a.origin FROM {of_stream} {_ANNOUNCED}",  # noqa: S608 - our own words
                (stream, first_epoch),
            )
        ]

    def films_since(
        self, cameras: Collection[str], *, from_ms: int, to_ms: int, seen: Seen
    ) -> list[LateFilm]:
        filmed = self._run(
            "SELECT DISTINCT stream, epoch FROM announcements"
            " WHERE origin = 'recorded' AND epoch BETWEEN ? AND ?",
            (from_ms // EPOCH_MS, (to_ms - 1) // EPOCH_MS),
        )
        streams = self._streams(sorted(cameras))
        found: list[LateFilm] = []
        for stream, epoch in filmed.fetchall():
            slots = slots_in_window(epoch, from_ms, to_ms)
            if (address := streams.get(stream)) is None or not slots:
                continue
            # By the day's films, which are few, and not by all that came since.
            came = self._run(
                f"{_CAME.format('envelopes', 'id')} AND e.segment = 1"
                f" UNION {_CAME.format('packed', 'number')}",
                (stream, epoch, slots.start, slots.stop - 1, seen.announcement, seen.envelope),
            )
            if numbers := frozenset(row[0] for row in came):
                found.append(LateFilm(address.box, address.camera, epoch, numbers))
        return found
