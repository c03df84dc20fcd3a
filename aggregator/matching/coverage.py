"""What the boxes say of their own watching, for the slots of a grant: silence is not blindness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from aggregator.matching.finder import Place, open_rows
from aggregator.matching.lanes import ScopeKeys
from aggregator.matching.refusals import OF_AN_ENVELOPE
from aggregator.store import SegmentReader
from protocol.epoch_keys import EpochKeys
from protocol.errors import MalformedMessage
from protocol.v2.rows import Coverage


def coverage_of(reader: SegmentReader, keys: EpochKeys) -> Mapping[int, Coverage | None]:
    """Return the coverage of each granted slot of a scope of version 2.

    Each second is told in one segment of its slot, so they are added up; those of other generations
    of the slot are still to be (:func:`total`). None: no segment opens, or they tell more seconds
    than a slot has; then nobody can say that anything was watched.
    """
    held = ScopeKeys(keys)
    parts: dict[int, list[Coverage]] = {}
    for row in reader.scan(keys.scope, modalities=()):
        if not row.segment:
            continue
        try:
            rows = open_rows(reader, held, Place(row.number, row.slot, row.header, None))
        except (KeyError, *OF_AN_ENVELOPE):
            continue
        if rows.coverage is not None:
            parts.setdefault(row.slot, []).append(rows.coverage)
    return {slot: total(parts.get(slot, ())) for slot in keys.slots()}


def total(parts: Iterable[Coverage]) -> Coverage | None:
    """Return what several segments tell of one slot; None of none, or of more than a slot has."""
    told = [part.to_value() for part in parts]
    if not told:
        return None
    seconds: Counter[str] = Counter()
    for part in told:
        seconds.update(part)
    try:
        return Coverage(**seconds)
    except MalformedMessage:
        return None
