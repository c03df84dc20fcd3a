"""What is in store for cameras and hours, by the index of envelopes and announcements.

Clear counters and headers alone (part of `aggregator.store.ledger.IntakeReading`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from aggregator.store.envelopes import room_for
from aggregator.store.postgresql.cursors import ANNOUNCEMENTS, ENVELOPES
from aggregator.store.postgresql.tables import Tables
from aggregator.store.rows import EpochName, LateFilm, ScopeCount, Seen, ToldSlot
from protocol.keytree import MODALITIES
from protocol.names import EPOCH_MS, CameraAddress, slots_in_window

_MODELS = ", ".join(f"{modality}_model" for modality in MODALITIES)
_SIZES = ", ".join(f"sum({modality}_bytes)::bigint" for modality in MODALITIES)
_ANNOUNCED = (
    "JOIN announcements a ON a.stream = e.stream AND a.epoch = e.epoch"
    " AND a.generation = e.generation"
)


class ScopeTables(Tables):
    """Reads the index of envelopes."""

    def _streams(self, cameras: Iterable[str]) -> dict[int, CameraAddress]:
        """Return the streams (one a box that ever spoke for it) of ``cameras``: id to address."""
        rows = self._peek(
            "SELECT id, site, box, camera FROM streams WHERE camera = ANY (%s)", [list(cameras)]
        )
        return {row[0]: CameraAddress(*row[1:]) for row in rows}

    def newest_envelope(self) -> int:
        self._session.settle()
        return ENVELOPES.newest(self._session)

    def newest_announcement(self) -> int:
        return ANNOUNCEMENTS.newest(self._session)

    def arrived_since(self, cursor: int) -> frozenset[EpochName]:
        rows = self._rows(
            "SELECT DISTINCT s.box, s.camera, e.epoch, e.generation FROM known_envelopes e"
            " JOIN streams s ON s.id = e.stream WHERE e.id > %s",
            [cursor],
        )
        return frozenset((row[0], row[1], row[2], row[3]) for row in rows)

    def count_scope(self, cameras: Sequence[str], *, from_ms: int, to_ms: int) -> ScopeCount:
        segments = live = sightings = exact = 0
        at_most = False
        by_model: Counter[str] = Counter()
        exact_by_model: Counter[str] = Counter()
        names: dict[int, str] = dict(self._peek("SELECT id, model FROM models"))
        days = [
            (epoch, slots.start, slots.stop - 1)
            for epoch in range(from_ms // EPOCH_MS, (to_ms - 1) // EPOCH_MS + 1)
            if (slots := slots_in_window(epoch, from_ms, to_ms))
        ]
        half = len(MODALITIES)
        for segment, version, envelopes, count, *of_modalities in self._rows(
            "SELECT segment, version, count(*), sum(count)::bigint,"  # noqa: S608 - our own words
            f" {_MODELS}, {_SIZES} FROM unnest(%s::int4[], %s::int4[], %s::int4[])"
            " AS w (day, first, last) JOIN known_envelopes e ON e.epoch = w.day"
            " AND e.slot BETWEEN w.first AND w.last"
            " WHERE e.epoch = ANY (%s) AND e.stream = ANY (%s) AND (segment = 1 OR version = 1)"
            f" GROUP BY segment, version, {_MODELS}",
            [
                *([day[at] for day in days] for at in range(3)),
                [day[0] for day in days],
                sorted(self._streams(cameras)),
            ],
        ):
            padded = version > 1
            segments += envelopes if segment else 0
            live += 0 if segment else envelopes
            sightings += count
            exact += 0 if padded else count
            at_most = at_most or padded
            for model, size in zip(of_modalities[:half], of_modalities[half:], strict=True):
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
        filmed = self._peek(
            "SELECT DISTINCT s.camera FROM announcements a JOIN streams s ON s.id = a.stream"
            " WHERE a.origin = 'recorded' AND a.epoch BETWEEN %s AND %s",
            (first, last),
        )
        chosen = {row[0] for row in filmed}.intersection(cameras)
        if not chosen:
            return 0
        tellers = Counter(
            (one.camera, one.epoch, one.slot)
            for one in self.told_slots(chosen, first_epoch=first)
            if one.epoch <= last and one.slot in slots_in_window(one.epoch, from_ms, to_ms)
        )
        return sum(count > 1 for count in tellers.values())

    def count_generations(
        self, cameras: Sequence[str], *, from_ms: int, to_ms: int, version: int
    ) -> int:
        return self._number(
            "SELECT count(*) FROM announcements"
            " WHERE stream = ANY (%s) AND epoch BETWEEN %s AND %s AND version = %s",
            (
                sorted(self._streams(cameras)),
                from_ms // EPOCH_MS,
                (to_ms - 1) // EPOCH_MS,
                version,
            ),
        )

    def told_slots(
        self, cameras: Collection[str], *, first_epoch: int, after: int = 0
    ) -> list[ToldSlot]:
        rows = self._rows(
            "SELECT DISTINCT s.box, s.camera, e.epoch, e.slot, a.origin FROM known_envelopes e"  # noqa: S608 - our own words
            f" {_ANNOUNCED} JOIN streams s ON s.id = e.stream"
            " WHERE e.id > %s AND e.segment = 1 AND e.epoch >= %s AND e.stream = ANY (%s)",
            (after, first_epoch, sorted(self._streams(cameras))),
        )
        return [ToldSlot(*row) for row in rows]

    def films_since(
        self, cameras: Collection[str], *, from_ms: int, to_ms: int, seen: Seen
    ) -> list[LateFilm]:
        filmed = self._peek(
            "SELECT DISTINCT stream, epoch FROM announcements"
            " WHERE origin = 'recorded' AND epoch BETWEEN %s AND %s",
            (from_ms // EPOCH_MS, (to_ms - 1) // EPOCH_MS),
        )
        streams = self._streams(cameras)
        found: list[LateFilm] = []
        for stream, epoch in filmed:
            slots = slots_in_window(epoch, from_ms, to_ms)
            if (address := streams.get(stream)) is None or not slots:
                continue
            # By the day's films, which are few, and not by all that came since.
            came = self._rows(
                "SELECT DISTINCT e.slot FROM announcements a"
                " JOIN known_envelopes e ON e.stream = a.stream AND e.epoch = a.epoch"
                " AND e.generation = a.generation"
                " WHERE a.stream = %s AND a.epoch = %s AND e.epoch = %s AND a.origin = 'recorded'"
                " AND e.slot BETWEEN %s AND %s AND e.segment = 1"
                " AND e.id > CASE WHEN a.id <= %s THEN %s ELSE 0 END",
                (stream, epoch, epoch, slots.start, slots.stop - 1, *_cursors(seen)),
            )
            if numbers := frozenset(row[0] for row in came):
                found.append(LateFilm(address.box, address.camera, epoch, numbers))
        return found


def _cursors(seen: Seen) -> tuple[int, int]:
    return seen.announcement, seen.envelope
