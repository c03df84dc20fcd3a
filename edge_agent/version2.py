"""Seal sightings as version 2 of the protocol writes them: by modality, row by row, padded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_agent.epochs import EpochKeys
from protocol.sealing import SEGMENT
from protocol.signing import SigningKey
from protocol.v2.blocks import Space
from protocol.v2.counts import Counts
from protocol.v2.envelopes import Batch, seal
from protocol.v2.header import MAX_RANGES, Header
from protocol.v2.rows import Coverage
from protocol.v2.sightings import Sighting


def ranges_of(numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return ascending numbers as ranges, first and last; the newest if there are too many."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] + 1 == number:
            ranges[-1] = ranges[-1][0], number
        else:
            ranges.append((number, number))
    return tuple(ranges[-MAX_RANGES:])


def sealed(
    header: Header,
    sightings: Sequence[Sighting],
    keys: EpochKeys,
    board: SigningKey,
    *,
    models: Mapping[str, str],
    coverage: Coverage | None,
    counts: Counts | None = None,
) -> bytes:
    """Return the envelope of ``sightings``.

    A block of every modality that this box makes templates of is there, also when nobody has one,
    so that its absence tells nothing.

    Args:
        header: without its blocks.
        models: modality to the model, which is the space of its templates.
        coverage: for a segment: what was watched of the slot and is told in no other segment.
        counts: for a segment, as `coverage`; None where the policy permits none.
    """
    slot_keys = keys.slot_keys(header.name.slot)
    batch = Batch(
        sightings,
        {modality: Space(model) for modality, model in models.items()},
        coverage if header.kind == SEGMENT else None,
        padded=True,
        always=frozenset(models),
        counts=counts if header.kind == SEGMENT else None,
    )
    return seal(
        header,
        batch,
        key=slot_keys.__getitem__,
        row_key=keys.row_keys(header.name.slot),
        board=board,
    ).to_bytes()
