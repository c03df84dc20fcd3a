"""Batches of sightings: what can be sealed, how large it becomes, moving it in time, wiping it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge_agent.version1 import as_version_1
from protocol.errors import MalformedMessage
from protocol.names import SIGHTING_ID_BYTES
from protocol.sealing import SALT_BYTES, SEAL_OVERHEAD, SEGMENT
from protocol.sightings import encode_meta, row_bytes
from protocol.v2.padding import SMALLEST_BYTES, SMALLEST_METADATA, SMALLEST_ROWS, size_class
from protocol.v2.sightings import EPISODE_BYTES, Encounter, MaskSpan, Row, Sighting

_ROWS_BYTES = 256  # of a block of rows about nobody: coverage, and the names of its columns
_HEADER_BYTES = 1024 + 256  # and the block of counts


def why_unusable(sighting: Sighting, dimensions: Mapping[str, int]) -> str | None:
    """Return why a sighting cannot be sealed, in either version, None if it can.

    One that cannot would hold up its whole batch for ever. ``dimensions`` are those of the
    templates that are sealed here, by modality.
    """
    row = sighting.row
    ids = [sighting.sighting_id, *(encounter.other_id for encounter in row.encounters)]
    if any(len(one) != SIGHTING_ID_BYTES for one in ids):
        return f"an id has not {SIGHTING_ID_BYTES} bytes"
    if len(sighting.episode) != EPISODE_BYTES:
        return f"its episode has not {EPISODE_BYTES} bytes"
    if not 0 <= row.first_ms <= row.last_ms:
        return "it ends before it begins"
    try:
        row.to_bytes()
        encode_meta([as_version_1(sighting)])
    except (MalformedMessage, ValueError, OverflowError) as error:
        return str(error)
    return _why_templates_unusable(sighting, dimensions)


def _why_templates_unusable(sighting: Sighting, dimensions: Mapping[str, int]) -> str | None:
    for modality, template in sighting.templates.items():
        dimension = dimensions.get(modality)
        if dimension is None:
            return f"it has a {modality} template, and no network here makes those"
        if template.row.shape != (dimension,):
            return f"its {modality} template has not {dimension} dimensions"
    return None


@dataclass(frozen=True, slots=True)
class Load:
    """What some sightings come to: how many, and the bytes of their sealed metadata."""

    count: int = 0
    metadata: int = 0

    @classmethod
    def of(cls, sighting: Sighting) -> Load:
        """Return what one comes to."""
        return cls(1, SEAL_OVERHEAD + len(sighting.row.to_bytes()))

    def __add__(self, other: Load) -> Load:
        return Load(self.count + other.count, self.metadata + other.metadata)

    def __sub__(self, other: Load) -> Load:
        return Load(self.count - other.count, self.metadata - other.metadata)

    def sealed_bytes(self, dimensions: Mapping[str, int]) -> int:
        """Return how long a padded segment of them is, at most; one of version 1 is shorter."""
        table = size_class(self.count, SMALLEST_ROWS)
        templates = sum(table * row_bytes(dimension) + 64 for dimension in dimensions.values())
        columns = SIGHTING_ID_BYTES + EPISODE_BYTES + 4 * len(dimensions) + 4
        rows = size_class(_ROWS_BYTES + columns * self.count, SMALLEST_BYTES)
        metadata = size_class(self.metadata, SMALLEST_METADATA)
        return templates + rows + metadata + _HEADER_BYTES


def draw_salt(kind: str) -> bytes:
    """Draw a salt whose first bit tells the kind.

    A segment takes the numbers of live envelopes that nobody was handed, under the same keys. What
    was deleted may still be found on a stolen disk, so the two must not share a nonce by chance
    either.
    """
    drawn = bytearray(os.urandom(SALT_BYTES))
    drawn[0] = drawn[0] & 0x7F | (0x80 if kind == SEGMENT else 0)
    return bytes(drawn)


def moved(sighting: Sighting, by_ms: int) -> Sighting:
    """Return a sighting as a clock that is ``by_ms`` ahead would have stamped it.

    It keeps its ids and shares its templates' memory, so that wiping either wipes both.
    """
    if not by_ms:
        return sighting
    return replace(sighting, row=_moved_row(sighting.row, by_ms))


def _moved_row(row: Row, by_ms: int) -> Row:
    first = max(0, row.first_ms + by_ms)
    return replace(
        row,
        first_ms=first,
        last_ms=max(first, row.last_ms + by_ms),
        masks=_moved_spans(row.masks, by_ms),
        encounters=tuple(_moved_encounter(one, by_ms) for one in row.encounters),
    )


def _moved_encounter(encounter: Encounter, by_ms: int) -> Encounter:
    first = max(0, encounter.first_ms + by_ms)
    return replace(
        encounter,
        first_ms=first,
        last_ms=max(first, encounter.last_ms + by_ms),
        masks=_moved_spans(encounter.masks, by_ms),
        other_masks=_moved_spans(encounter.other_masks, by_ms),
    )


def _moved_spans(spans: Sequence[MaskSpan], by_ms: int) -> tuple[MaskSpan, ...]:
    found = []
    for span in spans:
        first = max(0, span.from_ms + by_ms)
        found.append(replace(span, from_ms=first, until_ms=max(first, span.until_ms + by_ms)))
    return tuple(found)


def wipe(sightings: Sequence[Sighting]) -> None:
    """Overwrite the templates with zeros."""
    for sighting in sightings:
        for template in sighting.templates.values():
            if template.row.flags.writeable:
                template.row.fill(0)
