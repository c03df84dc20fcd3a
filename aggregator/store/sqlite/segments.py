"""Sealed segments in SQLite, one row an envelope (`aggregator.store.interface.Segments`).

An envelope is laid out in columns so that matching reads one block, and put together again byte
for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from aggregator.store.interface import ReaderSource
from aggregator.store.rows import SealedRow
from aggregator.store.sqlite.connections import open_for_reading
from aggregator.store.sqlite.tables import Tables
from protocol.grant import Scope
from protocol.keytree import MODALITIES
from protocol.sealing import Blocks, Envelope, Header

LIVE_COLUMN = MODALITIES[0]
"""Where a live envelope's whole ciphertext stands; a segment has a column for each block."""
_BLOCKS = ", ".join(MODALITIES)
_COLUMNS = (
    "stream, epoch, generation, slot, segment, sequence, count, received_ms, salt, header,"
    f" signature, meta, {', '.join(f'{modality}_model' for modality in MODALITIES)}, {_BLOCKS}"
)
_INSERT = (
    f"INSERT INTO envelopes ({_COLUMNS})"  # noqa: S608 - our own words
    f" VALUES ({', '.join('?' for _ in _COLUMNS.split(','))})"
)
_OF_CAMERA = "SELECT id FROM streams WHERE site = ? AND box = ? AND camera = ?"
_IN_SCOPE = (
    f"FROM envelopes WHERE stream = ({_OF_CAMERA})"
    " AND epoch = ? AND generation = ? AND slot BETWEEN ? AND ? AND id > ?"
)


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """Where the segments are: the store's file."""

    path: Path

    def open(self) -> SegmentTables:
        """Open the file for reading.

        Raises:
            StorageError: it is missing or unreadable.
        """
        database = open_for_reading(self.path)
        return SegmentTables(lambda: database, self.path)


class SegmentTables(Tables):
    """Reads and writes rows of envelopes."""

    def __init__(self, connection: Callable[[], Database], path: Path) -> None:
        super().__init__(connection)
        self._path = path
        self._numbers: dict[str, int] = {}

    # ------------------------------------------------------------------ reading

    @property
    def source(self) -> ReaderSource:
        """What opens these segments in another process."""
        return SegmentFile(self._path)

    def newest(self) -> int:
        return self._number("SELECT max(id) FROM envelopes")

    def models(self) -> dict[int, str]:
        return dict(self._run("SELECT id, model FROM models").fetchall())

    def count(self, scope: Scope, *, after: int = 0) -> int:
        return self._number(f"SELECT count(*) {_IN_SCOPE}", _values(scope, after))

    def scan(
        self, scope: Scope, *, modalities: Sequence[str], after: int = 0
    ) -> Iterator[SealedRow]:
        # The casts cost nothing, and keep a file tampered with from raising while it is read.
        numbers = ["id", "slot", "segment", "sequence", "count"]
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

    def meta(self, number: int) -> bytes:
        row = self._run(
            "SELECT coalesce(CAST(meta AS BLOB), x'') FROM envelopes WHERE id = ?", (number,)
        ).fetchone()
        if row is None:
            raise KeyError(number)
        return bytes(row[0])

    def envelope(self, number: int) -> Envelope:
        row = self._run(
            f"SELECT header, signature, segment, meta, {_BLOCKS} FROM envelopes WHERE id = ?",  # noqa: S608 - our own words
            (number,),
        ).fetchone()
        if row is None:
            raise KeyError(number)
        header, signature, segment, meta, *columns = row
        named: dict[str, bytes | None] = dict(zip(MODALITIES, columns, strict=True))
        stored = {modality: block for modality, block in named.items() if block is not None}
        ciphertext = Blocks(stored, meta).to_bytes() if segment else stored[LIVE_COLUMN]
        return Envelope(Header.parse(header), header, ciphertext, signature)

    # ------------------------------------------------------------------ writing

    def append(
        self, stream: int, envelope: Envelope, blocks: Blocks | None, *, received_ms: int
    ) -> None:
        header = envelope.header
        stored = {LIVE_COLUMN: envelope.ciphertext} if blocks is None else blocks.templates
        self._run(
            _INSERT,
            (
                stream,
                header.epoch,
                header.generation,
                header.slot,
                int(blocks is not None),
                header.sequence,
                header.count,
                received_ms,
                header.salt,
                envelope.header_bytes,
                envelope.signature,
                None if blocks is None else blocks.meta,
                *(self._model(header.models.get(modality)) for modality in MODALITIES),
                *(stored.get(modality) for modality in MODALITIES),
            ),
        )

    def drop_replaced_live(self, stream: int, epoch: int, generation: int, slot: int) -> int:
        where = "WHERE stream = ? AND epoch = ? AND generation = ? AND slot = ?"
        scope = (stream, epoch, generation, slot)
        counts = dict(
            self._run(
                f"SELECT segment, sum(count) FROM envelopes {where} GROUP BY segment",  # noqa: S608 - our own words
                scope,
            ).fetchall()
        )
        if 0 not in counts or counts.get(1, 0) < counts[0]:
            return 0
        return self._run(f"DELETE FROM envelopes {where} AND segment = 0", scope).rowcount  # noqa: S608 - our own words

    def drop_days(self, *, before_epoch: int, most: int) -> int:
        return self._drop("envelopes", "epoch < ?", before_epoch, most)

    def forget_models(self) -> None:
        """Ask for the models' numbers again: a transaction was undone."""
        self._numbers.clear()

    def _model(self, model: str | None) -> int | None:
        """Return the number of a model id, giving it one when it is new; None for None."""
        if model is None:
            return None
        if model not in self._numbers:
            self._run("INSERT OR IGNORE INTO models (model) VALUES (?)", (model,))
            self._numbers[model] = self._number("SELECT id FROM models WHERE model = ?", (model,))
        return self._numbers[model]


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
