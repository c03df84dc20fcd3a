"""Takes the templates of companions out of where they lie sealed, by camera and episode.

Only of quarter hours that were granted, and of the spaces that the query compares in. Of each
companion and space the mean is kept for as long as linking compares, and nothing of any row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from aggregator.matching.kernel import is_unit
from aggregator.matching.lanes import ScopeKeys
from aggregator.matching.linking import Floats, Space
from aggregator.matching.refusals import OF_AN_ENVELOPE
from aggregator.matching.taking import OpenEnvelope, open_envelope, take_rows, wipe
from aggregator.store import SegmentReader
from aggregator.store.rows import EpochName
from protocol.epoch_keys import EpochKeys
from protocol.sightings import dequantise_template
from protocol.v2.rows import ABSENT

MOST_SIGHTINGS = 64
"""Of one companion so many templates count in a space; who stays gives about one a minute."""
Wanted = Mapping[tuple[EpochName, int], Collection[bytes]]
"""Generation and slot to the episodes that are wanted of it."""


@dataclass(slots=True)
class _Sum:
    """The templates of one companion in one space, added up; ids keep live copies from counting."""

    total: Floats
    ids: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class CompanionTemplates:
    """What was taken: of each generation's episode the mean template of each space."""

    _sums: dict[tuple[EpochName, bytes], dict[Space, _Sum]] = field(default_factory=dict)

    def means(self, generation: EpochName, episode: bytes) -> dict[Space, Floats]:
        """Return the mean templates of an episode; none where none was there."""
        sums = self._sums.get((generation, episode), {})
        return {space: one.total / np.float32(len(one.ids)) for space, one in sums.items()}

    def add(
        self, generation: EpochName, episode: bytes, space: Space, sighting: bytes, one: Floats
    ) -> None:
        """Add the template of a sighting, (d,) float32; one sighting counts once."""
        sums = self._sums.setdefault((generation, episode), {})
        mine = sums.setdefault(space, _Sum(np.zeros_like(one)))
        if sighting not in mine.ids and len(mine.ids) < MOST_SIGHTINGS:
            mine.ids.add(sighting)
            mine.total += one

    def wipe(self) -> None:
        """Overwrite the templates."""
        for sums in self._sums.values():
            for one in sums.values():
                one.total.fill(0)


def take_companions(
    reader: SegmentReader,
    held: Mapping[EpochName, EpochKeys],
    wanted: Wanted,
    spaces: Collection[Space],
) -> CompanionTemplates:
    """Open what companions are compared by, as far as it was granted; the caller wipes it.

    What does not open is passed over: matching has told of it.

    Args:
        reader: the sealed segments.
        held: what has been granted, by announcement.
        wanted: of whom, and where to look.
        spaces: that count.

    Raises:
        StorageError: the store cannot be read.
    """
    taking = _Taking(reader, spaces)
    scopes: dict[EpochName, ScopeKeys] = {}
    try:
        for (generation, slot), episodes in sorted(wanted.items()):
            keys = held.get(generation)
            if keys is None or keys.version == 1 or slot not in keys.slots():
                continue
            scope = scopes.setdefault(generation, ScopeKeys(keys))
            taking.look(scope, generation, slot, episodes)
    except BaseException:
        taking.taken.wipe()
        raise
    return taking.taken


class _Taking:
    """Takes from one slot after the other into ``taken``."""

    def __init__(self, reader: SegmentReader, spaces: Collection[Space]) -> None:
        self.taken = CompanionTemplates()
        self._reader = reader
        self._spaces = frozenset(spaces)
        self._modalities = sorted({modality for modality, _ in spaces})

    def look(
        self, held: ScopeKeys, generation: EpochName, slot: int, episodes: Collection[bytes]
    ) -> None:
        """Take the templates of some episodes from the envelopes of a slot."""
        scope = replace(held.keys.scope, first_slot=slot, last_slot=slot)
        wanted = np.frombuffer(b"".join(episodes), np.uint64)
        for row in self._reader.scan(scope, modalities=self._modalities):
            try:
                envelope = open_envelope(self._reader, held, row, self._modalities)
                if envelope is None:
                    continue
                numbered = np.ascontiguousarray(envelope.rows.episodes).view(np.uint64).reshape(-1)
                numbers = np.flatnonzero(np.isin(numbered, wanted)).tolist()
                self._take(held, envelope, generation, numbers)
            except (KeyError, *OF_AN_ENVELOPE):
                continue

    def _take(
        self,
        held: ScopeKeys,
        envelope: OpenEnvelope,
        generation: EpochName,
        numbers: Sequence[int],
    ) -> None:
        """Open the blocks in which these sightings have rows, and add up those alone."""
        rows = envelope.rows
        for block in envelope.blocks:
            space = (block.modality, block.model)
            places = rows.places.get(block.modality)
            if space not in self._spaces or places is None:
                continue
            mine = [number for number in numbers if places[number] != ABSENT]
            if not mine:
                continue
            templates = take_rows(held, envelope.row, block, [int(places[n]) for n in mine])
            try:
                for number, template in zip(mine, templates, strict=True):
                    if not is_unit(template.row, template.scale):
                        continue
                    vector = dequantise_template(template.row, template.scale)
                    vector /= np.linalg.norm(vector)
                    episode = rows.episodes[number].tobytes()
                    self.taken.add(generation, episode, space, rows.id_of(number), vector)
                    vector.fill(0)
            finally:
                wipe(templates)
