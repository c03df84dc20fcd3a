"""Sealed segments in SQLite, one row an envelope (`aggregator.store.interface.Segments`).

An envelope is laid out in columns so that matching reads one block, and put together again byte
for byte. Of those that are packed (`aggregator.store.packed`) only numbers are counted here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from aggregator.store.envelopes import AnyEnvelope, SealedEnvelope, put_together
from aggregator.store.interface import ReaderSource
from aggregator.store.rows import SealedRow, ToldRow
from aggregator.store.runs import MAX_MODEL, Gathered, SegmentRun
from aggregator.store.sqlite.connections import open_for_reading
from aggregator.store.sqlite.packs import PackTables
from aggregator.store.sqlite.tables import Tables
from protocol.grant import Scope
from protocol.keytree import COUNTS, COVER, META, MODALITIES
from protocol.sealing import SALT_BYTES, SEAL_OVERHEAD

LIVE_COLUMN = MODALITIES[0]
"""Where a live envelope's whole ciphertext stands; a segment has a column for each block."""
_REST = (COVER, COUNTS, META)
"""The blocks of version 2 that stand in a table of their own."""
_BLOCKS = ", ".join(MODALITIES)
_COLUMNS = (
    "stream, epoch, generation, slot, segment, version_2, sequence, count, received_ms, salt,"
    f" header, signature, {', '.join(f'{modality}_model' for modality in MODALITIES)},"
    f" {_BLOCKS}, meta"
)
_INSERT = (
    f"INSERT INTO envelopes ({_COLUMNS})"  # noqa: S608 - our own words
    f" VALUES ({', '.join('?' for _ in _COLUMNS.split(','))})"
)
_OF_CAMERA = "SELECT id FROM streams WHERE site = ? AND box = ? AND camera = ?"
_SLOT = "stream = ? AND epoch = ? AND generation = ? AND slot = ?"
_ROWS_AT_ONCE = 32
_RANGES_FOR_ONE = 8
"""So many rows of ranges are dropped with each segment of a past day."""
_SCOPE = f"stream = ({_OF_CAMERA}) AND epoch = ? AND generation = ? AND slot BETWEEN ? AND ?"
_IN_SCOPE = f"FROM envelopes WHERE {_SCOPE} AND id > ?"
NEWEST = (
    "SELECT max(coalesce((SELECT max(id) FROM envelopes), 0),"
    " coalesce((SELECT max(number) FROM packed), 0))"
)
"""The highest number of an envelope, packed ones too."""


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """Where the segments are: the store's file."""

    path: Path

    def open(self) -> SegmentTables:
        """Open the file for reading.

        Raises:
            StorageError: it is missing or unreadable.
        """
        return self.open_with_packs()[0]

    def open_with_packs(self) -> tuple[SegmentTables, PackTables]:
        """Open the file for reading: rows, and what is known of objects.

        Raises:
            StorageError: it is missing or unreadable.
        """
        database = open_for_reading(self.path)
        return SegmentTables(lambda: database, self.path), PackTables(lambda: database)


class SegmentTables(Tables):
    """Reads and writes rows of envelopes."""

    def __init__(self, connection: Callable[[], Database], path: Path) -> None:
        super().__init__(connection)
        self._path = path
        self._numbers: dict[str, int] = {}
        self._replaced = 0

    # ------------------------------------------------------------------ reading

    @property
    def source(self) -> ReaderSource:
        """What opens these segments in another process."""
        return SegmentFile(self._path)

    def newest(self) -> int:
        return self._number(NEWEST)

    def models(self) -> dict[int, str]:
        return dict(self._run("SELECT id, model FROM models").fetchall())

    def count(self, scope: Scope, *, after: int = 0) -> int:
        values = _values(scope, after)
        packed = f"SELECT count(*) FROM packed WHERE {_SCOPE} AND number > ?"  # noqa: S608 - our own words
        return self._number(f"SELECT count(*) {_IN_SCOPE}", values) + self._number(packed, values)

    def scan(
        self, scope: Scope, *, modalities: Sequence[str], after: int = 0
    ) -> Iterator[SealedRow]:
        # The casts cost nothing, and keep a file tampered with from raising while it is read.
        numbers = ["id", "version_2 + 1", "slot", "segment", "sequence", "count"]
        blobs = ["salt", "header", f"CASE segment WHEN 0 THEN {LIVE_COLUMN} END"]
        models = [f"CAST({modality}_model AS INTEGER)" for modality in modalities]
        # Of a segment no template block is read but those that are asked for.
        blocks = [
            f"CAST(CASE segment WHEN 1 THEN {modality} END AS BLOB)" for modality in modalities
        ]
        columns = [f"CAST({name} AS INTEGER)" for name in numbers]
        columns += [f"CAST({name} AS BLOB)" for name in blobs]
        select = f"SELECT {', '.join([*columns, *models, *blocks])} {_IN_SCOPE}"
        fixed, asked = len(columns), len(models)
        for row in self._run(select, _values(scope, after)):
            yield SealedRow._make((*row[:fixed], row[fixed : fixed + asked], row[fixed + asked :]))

    def runs(
        self, scope: Scope, *, modalities: Sequence[str], after: int = 0
    ) -> Iterator[SegmentRun | SealedRow]:
        asked = len(modalities)
        fits = 4 + 2 * asked
        found = self._run(f"{_packed(tuple(modalities))} {_IN_SCOPE}", _values(scope, after))
        gathered = Gathered(asked)
        while rows := found.fetchmany(_ROWS_AT_ONCE):
            if not all(row[fits] for row in rows):
                for row in rows:
                    if not row[fits]:
                        yield self._unpacked(row, asked)
                rows = [row for row in rows if row[fits]]
            if run := gathered.add(rows):
                yield run
        if run := gathered.rest():
            yield run

    def _unpacked(self, row: tuple[Any, ...], asked: int) -> SealedRow:
        """Return what `_packed` selected and does not fit into a run."""
        number, slot, sequence, salt, *rest = row
        models, blocks = rest[:asked], rest[asked : 2 * asked]
        version, segment, count, header, live = rest[2 * asked + 1 :]
        if version is None:  # a segment of version 2
            version, segment, count, header = 2, 1, 0, self.header(number)
        return SealedRow(
            number,
            version,
            slot,
            segment,
            sequence,
            count,
            salt,
            header,
            live,
            tuple(models),
            tuple(blocks),
        )

    def told(self, scope: Scope, *, after: int = 0, through: int) -> Iterator[ToldRow]:
        select = (
            "SELECT CAST(id AS INTEGER), CAST(slot AS INTEGER), CAST(sequence AS INTEGER),"  # noqa: S608 - our own words
            " CAST(salt AS BLOB), CAST(cover AS BLOB), CAST(counts AS BLOB) FROM ("
            f"SELECT id, slot, sequence, salt {_IN_SCOPE}"
            " AND id <= ? AND segment = 1 AND version_2 = 1) JOIN sealed_rows USING (id)"
        )
        for row in self._run(select, (*_values(scope, after), through)):
            yield ToldRow._make(row)

    def header(self, number: int) -> bytes:
        return self._block(number, "header")

    def meta(self, number: int) -> bytes:
        return self._block(number, f"coalesce(envelopes.{META}, rest.{META})")

    def cover(self, number: int) -> bytes:
        return self._block(number, COVER)

    def vouch(self, number: int) -> None:
        """Do nothing: the database checks its own pages."""

    def envelope(self, number: int) -> AnyEnvelope:
        row = self._run(
            f"SELECT header, signature, segment, version_2, {_BLOCKS}, meta"  # noqa: S608 - our own words
            " FROM envelopes WHERE id = ?",
            (number,),
        ).fetchone()
        if row is None:
            raise KeyError(number)
        header, signature, segment, version_2, *columns = row
        named: list[tuple[str, bytes | None]] = [*zip((*MODALITIES, META), columns, strict=True)]
        if version_2 and segment:
            rest = self._run(
                f"SELECT {', '.join(_REST)} FROM sealed_rows WHERE id = ?",  # noqa: S608 - our own words
                (number,),
            ).fetchone()
            named += [] if rest is None else zip(_REST, rest, strict=True)
        stored = {label: block for label, block in named if block is not None}
        live = None if segment else stored[LIVE_COLUMN]
        return put_together(header, signature, stored, live, version=version_2 + 1)

    # ------------------------------------------------------------------ writing

    def append(self, stream: int, envelope: SealedEnvelope, *, received_ms: int) -> None:
        slot = (stream, envelope.epoch, envelope.generation, envelope.slot)
        listed = envelope.version > 1  # what replaces what
        if listed and envelope.live is not None and self._is_replaced(slot, envelope.sequence):
            self._replaced += 1
            return
        blocks = envelope.blocks
        # A row has something in this column always.
        first = blocks.get(LIVE_COLUMN, b"") if envelope.live is None else envelope.live
        number = self._run(
            _INSERT,
            (
                *slot,
                int(envelope.live is None),
                envelope.version - 1,
                envelope.sequence,
                envelope.sightings,
                received_ms,
                envelope.salt,
                envelope.header,
                envelope.signature,
                *(self._model(envelope.models.get(modality)) for modality in MODALITIES),
                first,
                *(blocks.get(modality) for modality in MODALITIES[1:]),
                None if listed else blocks.get(META),
            ),
        ).lastrowid
        if not listed:
            return
        if envelope.live is None:
            self._run(
                f"INSERT INTO sealed_rows (id, {', '.join(_REST)}) VALUES (?, ?, ?, ?)",  # noqa: S608 - our own words
                (number, *(blocks.get(label) for label in _REST)),
            )
            self._replaced += sum(self._replace(slot, *numbers) for numbers in envelope.replaces)
            return
        self._run(
            "INSERT INTO live_numbers VALUES (?, ?, ?, ?, ?, ?)", (number, *slot, envelope.sequence)
        )

    def replaced(self) -> int:
        told, self._replaced = self._replaced, 0
        return told

    def _replace(self, slot: tuple[int, int, int, int], first: int, last: int) -> int:
        """Drop the live envelopes of a slot that are numbered ``first`` to ``last``."""
        self._run(
            "INSERT INTO replaced_numbers (stream, epoch, generation, slot, first, last)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (*slot, first, last),
        )
        where = f"{_SLOT} AND sequence BETWEEN ? AND ?"
        dropped = self._run(
            f"DELETE FROM envelopes WHERE id IN (SELECT id FROM live_numbers WHERE {where})",  # noqa: S608 - our own words
            (*slot, first, last),
        ).rowcount
        self._run(f"DELETE FROM live_numbers WHERE {where}", (*slot, first, last))  # noqa: S608 - our own words
        return dropped

    def _is_replaced(self, slot: tuple[int, int, int, int], sequence: int) -> bool:
        row = self._run(
            f"SELECT last FROM replaced_numbers WHERE {_SLOT} AND first <= ?"  # noqa: S608 - our own words
            " ORDER BY first DESC LIMIT 1",
            (*slot, sequence),
        ).fetchone()
        return row is not None and bool(row[0] >= sequence)

    def drop_replaced_live(self, stream: int, epoch: int, generation: int, slot: int) -> int:
        where = f"WHERE {_SLOT}"
        scope = (stream, epoch, generation, slot)
        counts = dict(
            self._run(
                f"SELECT segment, sum(count) FROM envelopes {where} GROUP BY segment",  # noqa: S608 - our own words
                scope,
            ).fetchall()
        )
        if 0 not in counts:
            return 0
        packed = self._number(f"SELECT sum(count) FROM packed {where}", scope)  # noqa: S608 - our own words
        if counts.get(1, 0) + packed < counts[0]:
            return 0
        return self._run(f"DELETE FROM envelopes {where} AND segment = 0", scope).rowcount  # noqa: S608 - our own words

    def drop_days(self, *, before_epoch: int, most: int) -> int:
        self._drop("live_numbers", "epoch < ?", before_epoch, most)
        self._drop("replaced_numbers", "epoch < ?", before_epoch, _RANGES_FOR_ONE * most)
        oldest = "SELECT id FROM envelopes WHERE epoch < ? ORDER BY id LIMIT ?"
        self._run(f"DELETE FROM sealed_rows WHERE id IN ({oldest})", (before_epoch, most))  # noqa: S608 - our own words
        gone = self._run(f"DELETE FROM envelopes WHERE id IN ({oldest})", (before_epoch, most))  # noqa: S608 - our own words
        return gone.rowcount

    def _block(self, number: int, column: str) -> bytes:
        row = self._run(
            f"SELECT coalesce(CAST({column} AS BLOB), x'')"  # noqa: S608 - our own words
            " FROM envelopes LEFT JOIN sealed_rows AS rest ON rest.id = envelopes.id"
            " WHERE envelopes.id = ?",
            (number,),
        ).fetchone()
        if row is None:
            raise KeyError(number)
        return bytes(row[0])

    def forget_models(self) -> None:
        """Ask for the models' numbers again: a transaction was undone."""
        self._numbers.clear()
        self._replaced = 0

    def _model(self, model: str | None) -> int | None:
        """Return the number of a model id, giving it one when it is new; None for None."""
        if model is None:
            return None
        if model not in self._numbers:
            self._run("INSERT OR IGNORE INTO models (model) VALUES (?)", (model,))
            self._numbers[model] = self._number("SELECT id FROM models WHERE model = ?", (model,))
        return self._numbers[model]


@lru_cache(maxsize=8)
def _packed(modalities: tuple[str, ...]) -> str:
    """Return what selects the columns of a run, whether a row fits into it, and else the rest."""
    segment = "(segment = 1 AND version_2 = 1)"
    fits = [segment, f"length(CAST(salt AS BLOB)) = {SALT_BYTES}", "CAST(sequence AS INTEGER) >= 0"]
    fits += [
        f"({name}_model IS NULL OR (CAST({name}_model AS INTEGER) BETWEEN 0 AND {MAX_MODEL}"
        f" AND coalesce(length(CAST({name} AS BLOB)), 0) >= {SEAL_OVERHEAD}))"
        for name in modalities
    ]
    columns = [f"CAST({name} AS INTEGER)" for name in ("id", "slot", "sequence")]
    columns += ["CAST(salt AS BLOB)"]
    columns += [f"CAST({name}_model AS INTEGER)" for name in modalities]
    columns += [f"CAST(CASE segment WHEN 1 THEN {name} END AS BLOB)" for name in modalities]
    columns += [" AND ".join(fits)]
    numbers = ["version_2 + 1", "segment", "count"]
    blobs = ["header", f"CASE segment WHEN 0 THEN {LIVE_COLUMN} END"]
    columns += [f"CASE WHEN NOT {segment} THEN CAST({name} AS INTEGER) END" for name in numbers]
    columns += [f"CASE WHEN NOT {segment} THEN CAST({name} AS BLOB) END" for name in blobs]
    return f"SELECT {', '.join(columns)}"


def _values(scope: Scope, after: int) -> tuple[object, ...]:
    address = scope.address
    return (
        address.site,
        address.box,
        address.camera,
        scope.epoch,
        scope.generation,
        scope.first_slot,
        scope.last_slot,
        after,
    )
