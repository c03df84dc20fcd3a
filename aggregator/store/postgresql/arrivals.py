"""What one transaction has taken in, held back until it is read or committed, then copied at once.

A batch of messages is so one ``COPY`` of envelopes and one of digests instead of a statement each.
"""

from __future__ import annotations

from collections.abc import Sequence

from aggregator.store.envelopes import SealedEnvelope
from aggregator.store.postgresql.cursors import ENVELOPES
from aggregator.store.postgresql.days import BY_EPOCH, DIGESTS
from aggregator.store.postgresql.known import Known
from aggregator.store.postgresql.sessions import Transaction
from protocol.keytree import COUNTS, COVER, META, MODALITIES
from protocol.names import EPOCH_MS

_NUMBERS = {
    "stream": "int4",
    "epoch": "int4",
    "generation": "int8",
    "slot": "int2",
    "sequence": "int8",
    "segment": "int2",
    "version": "int2",
    "count": "int4",
    "received_ms": "int8",
    **{f"{modality}_model": "int4" for modality in MODALITIES},
}
_BLOCKS = (*MODALITIES, COVER, COUNTS, META)
_ENVELOPE = _NUMBERS | dict.fromkeys(("salt", "header", "signature", "live", *_BLOCKS), "bytea")
_RANGE = {name: _NUMBERS[name] for name in ("stream", "epoch", "generation", "slot")} | {
    "first": "int8",
    "last": "int8",
}
_DIGEST = {
    "stream": "int4",
    "sequence": "int8",
    "run": "int4",
    "day": "int4",
    "epoch": "int4",
    "outcome": "int2",
    "digest": "bytea",
}
_EPOCH, _SLOT, _SEQUENCE, _SEGMENT, _VERSION = 1, slice(0, 4), 4, 5, 6
"""Where these stand in a row of an envelope,"""
_DAY = 3
"""and this in a row of a digest."""
_SAME_SLOT = " AND ".join(
    f"{{0}}.{name} = {{1}}.{name}" for name in ("stream", "epoch", "generation", "slot")
)


class Arrivals:
    """Rows of one transaction that wait to be written."""

    def __init__(self, transaction: Transaction, known: Known) -> None:
        self._transaction = transaction
        self._known = known
        self._published = False
        self._envelopes: list[tuple[object, ...]] = []
        self._ranges: list[tuple[int, ...]] = []
        self._digests: list[tuple[object, ...]] = []
        self.replaced = 0
        """Live envelopes that were dropped, or not kept."""
        transaction.waiting.append(self.write)

    def add_envelope(self, stream: int, envelope: SealedEnvelope, received_ms: int) -> None:
        """Hold back an envelope, and which numbers it replaces."""
        models = (envelope.models.get(modality) for modality in MODALITIES)
        slot = (stream, envelope.epoch, envelope.generation, envelope.slot)
        self._envelopes.append(
            (
                *slot,
                envelope.sequence,
                int(envelope.live is None),
                envelope.version,
                envelope.sightings,
                received_ms,
                *(None if model is None else self._known.model(model) for model in models),
                envelope.salt,
                envelope.header,
                envelope.signature,
                envelope.live,
                *(envelope.blocks.get(label) for label in _BLOCKS),
            )
        )
        if envelope.version > 1:
            self._ranges += [(*slot, first, last) for first, last in envelope.replaces]

    def add_digest(
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
        """Hold back that a message has come."""
        day = now_ms // EPOCH_MS
        self._digests.append((stream, sequence, run, day, epoch, outcome, digest))

    def write(self) -> None:
        """Write all that waits.

        Raises:
            StorageError: it cannot be written.
        """
        digests, self._digests = self._digests, []
        if digests:
            came = {int(str(row[_DAY])) for row in digests}
            self._known.days.ensure([DIGESTS], came, self._transaction)
            self._copy("digests", _DIGEST, digests)
        envelopes, self._envelopes = self._envelopes, []
        if not envelopes:
            return
        ranges, self._ranges = self._ranges, []
        days = {int(str(row[_EPOCH])) for row in envelopes}
        self._known.days.ensure(BY_EPOCH, days, self._transaction)
        self._copy("replaced_numbers", _RANGE, ranges)
        kept = self._not_replaced(envelopes)
        self._publish()
        self._copy("envelopes", _ENVELOPE, kept)
        if ranges:
            self._drop_replaced(ranges)

    # ------------------------------------------------------------------ inside

    def _publish(self) -> None:
        if not self._published:
            ENVELOPES.publish(self._transaction)
            self._published = True

    def _copy(
        self, table: str, columns: dict[str, str], rows: Sequence[tuple[object, ...]]
    ) -> None:
        if rows:
            self._transaction.copy(table, ", ".join(columns), list(columns.values()), rows)

    def _not_replaced(self, envelopes: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
        """Return those that no segment in store, nor of this transaction, has replaced already."""
        live = [
            at
            for at, row in enumerate(envelopes)
            if not row[_SEGMENT] and int(str(row[_VERSION])) > 1
        ]
        if not live:
            return envelopes
        asked = [(*envelopes[at][_SLOT], envelopes[at][_SEQUENCE]) for at in live]
        found = self._transaction.rows(
            "SELECT k.place - 1 FROM unnest(%s::int4[], %s::int4[], %s::int8[], %s::int2[],"  # noqa: S608 - our own words
            " %s::int8[]) WITH ORDINALITY AS k (stream, epoch, generation, slot, sequence, place)"
            f" WHERE EXISTS (SELECT 1 FROM replaced_numbers r WHERE {_SAME_SLOT.format('r', 'k')}"
            " AND r.epoch = ANY (%s) AND k.sequence BETWEEN r.first AND r.last)",
            [*_columns(asked), _days(asked)],
        )
        gone = {live[int(row[0])] for row in found}
        self.replaced += len(gone)
        return [row for at, row in enumerate(envelopes) if at not in gone]

    def _drop_replaced(self, ranges: list[tuple[int, ...]]) -> None:
        """Delete the live envelopes in store that segments of this transaction replace."""
        self.replaced += self._transaction.change(
            "DELETE FROM envelopes e USING unnest(%s::int4[], %s::int4[], %s::int8[], %s::int2[],"  # noqa: S608 - our own words
            " %s::int8[], %s::int8[]) AS r (stream, epoch, generation, slot, first, last)"
            f" WHERE {_SAME_SLOT.format('e', 'r')} AND e.epoch = ANY (%s) AND e.segment = 0"
            " AND e.version > 1 AND e.sequence BETWEEN r.first AND r.last",
            [*_columns(ranges), _days(ranges)],
        )


def _columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _days(rows: Sequence[tuple[object, ...]]) -> list[object]:
    return sorted({row[_EPOCH] for row in rows}, key=str)
