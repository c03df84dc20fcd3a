"""The ledger's share of packed segments, in SQLite (`aggregator.store.packs.PacksWriting`)."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from aggregator.store.packs import (
    DROPPING,
    GONE,
    PLACED,
    SHARD_STREAMS,
    SLOTS_AN_HOUR,
    WRITING,
    HotSegment,
    Pack,
    PackLost,
    PackName,
    WaitingHour,
)
from aggregator.store.sqlite.tables import Tables
from protocol.keytree import COUNTS, COVER, META, MODALITIES
from protocol.names import SLOTS_PER_EPOCH, CameraAddress
from protocol.sealing import SALT_BYTES, SEAL_OVERHEAD

SCHEMA = """
-- Objects of packed segments: being written (1), placed (2), being dropped (3), gone (4: so that no
-- name is taken twice before its day is dropped).
CREATE TABLE packs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    part INTEGER NOT NULL,
    state INTEGER NOT NULL,
    digest BLOB NOT NULL DEFAULT x'',         -- SHA-256 of the file .idx
    segments INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0,          -- bytes of all its files
    first INTEGER NOT NULL DEFAULT 0,         -- lowest and highest number of a segment in it
    last INTEGER NOT NULL DEFAULT 0,
    begun_ms INTEGER NOT NULL,
    UNIQUE (epoch, shard, hour, part)
) STRICT;
CREATE INDEX packs_unsettled ON packs (id) WHERE state IN (1, 3);

-- What counting needs of each packed segment: no byte of it.
CREATE TABLE packed (
    number INTEGER PRIMARY KEY,               -- that of the envelope
    pack INTEGER NOT NULL REFERENCES packs (id),
    stream INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    version_2 INTEGER NOT NULL,
    count INTEGER NOT NULL,
    face_model INTEGER,
    appearance_model INTEGER,
    face_bytes INTEGER NOT NULL,
    appearance_bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX packed_by_scope ON packed (stream, epoch, generation, slot);

-- What stands at the place of the objects too: nobody packs into that of another.
CREATE TABLE pack_place (
    number INTEGER PRIMARY KEY CHECK (number = 1),
    mark TEXT NOT NULL
) STRICT;
"""

_PACK = (
    "p.id, p.epoch, p.shard, p.hour, p.part, p.state, p.digest, p.segments, p.size, p.first, p.last"
)
_MODELS = ", ".join(f"{modality}_model" for modality in MODALITIES)
_SIZES = ", ".join(f"coalesce(length({modality}), 0)" for modality in MODALITIES)
_SIZE_COLUMNS = ", ".join(f"{modality}_bytes" for modality in MODALITIES)
_IN_LIST = "(SELECT value FROM json_each(?))"
_OF_SHARD = f"p.shard = (s.id - 1) / {SHARD_STREAMS}"


class PackTables(Tables):
    """Objects, and which segments are in each."""

    # ------------------------------------------------------------------ reading

    def packs_of(self, address: CameraAddress, epoch: int) -> list[Pack]:
        rows = self._run(
            f"SELECT {_PACK} FROM streams s JOIN packs p ON {_OF_SHARD}"  # noqa: S608 - our own words
            " WHERE s.site = ? AND s.box = ? AND s.camera = ? AND p.epoch = ? AND p.state = ?"
            " ORDER BY p.hour, p.part",
            (address.site, address.box, address.camera, epoch, PLACED),
        ).fetchall()
        return [_pack(row) for row in rows]

    def packs_on(self, epoch: int) -> list[Pack]:
        rows = self._run(
            f"SELECT {_PACK} FROM packs p WHERE p.epoch = ? AND p.state = ?"  # noqa: S608 - our own words
            " ORDER BY p.shard, p.hour, p.part",
            (epoch, PLACED),
        )
        return [_pack(row) for row in rows]

    def pack_of(self, segment: int) -> Pack | None:
        row = self._run(
            f"SELECT {_PACK} FROM packed d JOIN packs p ON p.id = d.pack"  # noqa: S608 - our own words
            " WHERE d.number = ? AND p.state = ?",
            (segment, PLACED),
        ).fetchone()
        return None if row is None else _pack(row)

    def is_placed(self, pack: int) -> bool:
        return bool(self._table("packs").count_where("id = ? AND state = ?", [pack, PLACED]))

    def unsettled_packs(self) -> list[Pack]:
        rows = self._run(
            f"SELECT {_PACK} FROM packs p WHERE p.state IN ({WRITING}, {DROPPING}) ORDER BY p.id"  # noqa: S608 - our own words
        )
        return [_pack(row) for row in rows]

    def pack_days(self) -> set[int]:
        days = self._run("SELECT DISTINCT epoch FROM packs WHERE state = ?", (PLACED,))
        return {row[0] for row in days}

    def waiting_hours(self, *, over_slot: int) -> list[WaitingHour]:
        rows = self._run(
            "SELECT w.*, EXISTS (SELECT 1 FROM packs p WHERE p.epoch = w.epoch"  # noqa: S608 - our own words
            f" AND p.shard = w.shard AND p.hour = w.hour AND p.state = {PLACED}) FROM ("
            f"SELECT epoch, (stream - 1) / {SHARD_STREAMS} AS shard,"
            f" slot / {SLOTS_AN_HOUR} AS hour, count(*) FROM envelopes"
            f" WHERE segment = 1 AND epoch * {SLOTS_PER_EPOCH}"
            f" + (slot / {SLOTS_AN_HOUR} + 1) * {SLOTS_AN_HOUR} <= ? GROUP BY 1, 2, 3) w"
            " ORDER BY epoch, hour, shard",
            [over_slot],
        )
        return [
            WaitingHour(epoch, shard, hour, segments, bool(late))
            for epoch, shard, hour, segments, late in rows
        ]

    def hot_segments(self, hour: WaitingHour) -> Generator[HotSegment]:
        names = dict(self._run("SELECT id, model FROM models").fetchall())
        first = hour.shard * SHARD_STREAMS + 1
        streams = self._run(
            "SELECT id, site, box, camera FROM streams WHERE id BETWEEN ? AND ? ORDER BY id",
            (first, first + SHARD_STREAMS - 1),
        ).fetchall()
        for stream, *address in streams:
            yield from self._hot_of(stream, CameraAddress(*address), hour, names)

    def _hot_of(
        self, stream: int, address: CameraAddress, hour: WaitingHour, names: dict[int, str]
    ) -> Iterator[HotSegment]:
        numbers = "id, generation, slot, version_2 + 1, sequence, count, received_ms"
        rest = ", ".join(f"rest.{label}" for label in (COVER, COUNTS))
        rows = self._run(
            f"SELECT {', '.join(f'e.{name}' for name in numbers.split(', '))},"  # noqa: S608 - our own words
            f" e.salt, e.header, e.signature, {_MODELS}, {', '.join(MODALITIES)}, {rest},"
            f" coalesce(e.{META}, rest.{META}) FROM envelopes e"
            " LEFT JOIN sealed_rows rest ON rest.id = e.id"
            " WHERE stream = ? AND epoch = ? AND slot BETWEEN ? AND ? AND segment = 1"
            " ORDER BY generation, slot, e.id",
            (
                stream,
                hour.epoch,
                hour.hour * SLOTS_AN_HOUR,
                (hour.hour + 1) * SLOTS_AN_HOUR - 1,
            ),
        )
        for row in rows:
            segment = _hot(row, address, names)
            if segment is not None:
                yield segment

    def pack_place(self) -> str | None:
        row = self._run("SELECT mark FROM pack_place").fetchone()
        return None if row is None else str(row[0])

    # ------------------------------------------------------------------ writing

    def begin_pack(self, hour: WaitingHour, *, now_ms: int) -> Pack:
        of = (hour.epoch, hour.shard, hour.hour)
        part = 1 + self._number(
            "SELECT max(part) FROM packs WHERE epoch = ? AND shard = ? AND hour = ?", of
        )
        number = self._number(
            "INSERT INTO packs (epoch, shard, hour, part, state, begun_ms)"
            " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
            (*of, part, WRITING, now_ms),
        )
        return Pack(number, PackName(*of, part))

    def place_pack(self, pack: Pack, segments: Sequence[int]) -> None:
        placed = self._run(
            "UPDATE packs SET state = ?, digest = ?, segments = ?, size = ?, first = ?, last = ?"
            " WHERE id = ? AND state = ?",
            (
                PLACED,
                pack.digest,
                len(segments),
                pack.size,
                min(segments),
                max(segments),
                pack.number,
                WRITING,
            ),
        )
        if placed.rowcount != 1:
            raise PackLost(f"the object {pack.name.path} was given up while it was written")
        listed = json.dumps([int(number) for number in segments])
        kept = self._run(
            f"INSERT INTO packed (number, pack, stream, epoch, generation, slot, version_2, count,"  # noqa: S608 - our own words
            f" {_MODELS}, {_SIZE_COLUMNS}) SELECT id, ?, stream, epoch, generation, slot,"
            f" version_2, count, {_MODELS}, {_SIZES} FROM envelopes"
            f" WHERE segment = 1 AND id IN {_IN_LIST} ORDER BY id",
            (pack.number, listed),
        )
        if kept.rowcount != len(segments):
            raise PackLost(
                f"{len(segments) - kept.rowcount} segments of the object {pack.name.path} are no"
                " rows any more"
            )
        self._run(f"DELETE FROM sealed_rows WHERE id IN {_IN_LIST}", [listed])  # noqa: S608 - our own words
        self._run(f"DELETE FROM envelopes WHERE id IN {_IN_LIST}", [listed])  # noqa: S608 - our own words

    def give_up_pack(self, pack: int) -> None:
        self._run(
            "UPDATE packs SET state = ? WHERE id = ? AND state = ?", (DROPPING, pack, WRITING)
        )

    def forget_pack(self, pack: int) -> None:
        self._run("UPDATE packs SET state = ? WHERE id = ? AND state = ?", (GONE, pack, DROPPING))

    def drop_packs(self, *, before_epoch: int, most: int) -> int:
        gone = 0
        self._run("DELETE FROM packs WHERE epoch < ? AND state = ?", (before_epoch, GONE))
        oldest = self._run(
            f"SELECT {_PACK} FROM packs p WHERE p.epoch < ? AND p.state = ?"  # noqa: S608 - our own words
            " ORDER BY p.epoch, p.id LIMIT ?",
            (before_epoch, PLACED, most),
        )
        for row in oldest.fetchall():
            pack = _pack(row)
            self._run(
                "DELETE FROM packed WHERE number BETWEEN ? AND ? AND pack = ?",
                (pack.first, pack.last, pack.number),
            )
            self._run("UPDATE packs SET state = ? WHERE id = ?", (DROPPING, pack.number))
            gone += pack.segments
            if gone >= most:
                break
        return gone

    def mark_pack_place(self, mark: str) -> None:
        self._run("INSERT OR REPLACE INTO pack_place (number, mark) VALUES (1, ?)", [mark])


@lru_cache(maxsize=8192)
def _pack(row: tuple[Any, ...]) -> Pack:
    """Return an object; those of a day are asked for again for each camera of their shard."""
    number, epoch, shard, hour, part, *rest = row
    return Pack(number, PackName(epoch, shard, hour, part), *rest)


def _hot(row: Sequence[Any], address: CameraAddress, names: dict[int, str]) -> HotSegment | None:
    """Return a row as a segment; None when it is not what a segment is written as."""
    fixed, rest = row[:10], row[10:]
    half = len(MODALITIES)
    models, blocks = rest[:half], rest[half:]
    if not _are(fixed[:7], int) or not _are(fixed[7:], bytes) or len(fixed[7]) != SALT_BYTES:
        return None
    if not _are([block for block in blocks if block is not None], bytes):
        return None
    for model, block in zip(models, blocks, strict=False):  # templates come first
        if model is not None and (model not in names or len(block or b"") < SEAL_OVERHEAD):
            return None
    labels = (*MODALITIES, COVER, COUNTS, META)
    models_of = {
        modality: names[model]
        for modality, model in zip(MODALITIES, models, strict=True)
        if model is not None
    }
    blocks_of = {label: block for label, block in zip(labels, blocks, strict=True) if block}
    return HotSegment._make((fixed[0], address, *fixed[1:], models_of, blocks_of))


def _are(values: Iterable[object], kind: type) -> bool:
    return all(type(value) is kind for value in values)
