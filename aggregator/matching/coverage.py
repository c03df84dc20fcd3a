"""What the boxes say of their own watching, for the slots of a grant: silence is not blindness."""

from __future__ import annotations

from collections.abc import Mapping

from aggregator.matching.finder import Place, open_rows
from aggregator.matching.lanes import ScopeKeys
from aggregator.matching.refusals import OF_AN_ENVELOPE
from aggregator.store import SegmentReader
from protocol.epoch_keys import EpochKeys
from protocol.v2.rows import Coverage


def coverage_of(reader: SegmentReader, keys: EpochKeys) -> Mapping[int, Coverage | None]:
    """Return the coverage of each granted slot of a scope of version 2.

    Of several segments of a slot the last one counts. None: there is no segment that opens, so
    nobody can say that anything was watched.
    """
    held = ScopeKeys(keys)
    newest: dict[int, tuple[int, Coverage]] = {}
    for row in reader.scan(keys.scope, modalities=()):
        if not row.segment:
            continue
        try:
            rows = open_rows(reader, held, Place(row.number, row.slot, row.header, None))
        except (KeyError, *OF_AN_ENVELOPE):
            continue
        if rows.coverage is not None and row.sequence >= newest.get(row.slot, (-1,))[0]:
            newest[row.slot] = (row.sequence, rows.coverage)
    return {slot: newest[slot][1] if slot in newest else None for slot in keys.slots()}
