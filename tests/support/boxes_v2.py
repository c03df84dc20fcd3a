"""Boxes of the made-up site (`sealed_boxes`) that seal and announce version 2."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from sealed_boxes import DIMENSION, MODEL, NOON_SLOT, NOW_MS, TestBox

from protocol.epoch_keys import EpochKeys
from protocol.keytree import COVER, DEPTH, FACE, LIVE, META, ModalityKey, descend, tree_top
from protocol.names import ENVELOPE, SLOT_MS, SightingName, SlotName, slot_start_ms
from protocol.sealing import LIVE_ENVELOPE, SEGMENT
from protocol.sightings import MaskStatus, Quantised, quantise_template
from protocol.signing import SigningKey
from protocol.v2 import VERSION
from protocol.v2.blocks import Space
from protocol.v2.counts import Counts
from protocol.v2.envelopes import Batch, Envelope, seal
from protocol.v2.header import CLOCK, Header
from protocol.v2.keys import row_key, row_value, slot_key
from protocol.v2.rows import Coverage
from protocol.v2.sightings import Encounter, Row, Sighting

GRANTED = (FACE, COVER, LIVE)
"""What a grant of version 2 opens: templates, rows, the running slot; never metadata."""
WATCHED = Coverage(watched_s=SLOT_MS // 1000)
Ranges = tuple[tuple[int, int], ...]


def person(
    vector: npt.NDArray[np.float64] | None,
    *,
    at_ms: int = 0,
    episode: bytes = b"",
    mask: MaskStatus = MaskStatus.UNMASKED,
    encounters: Sequence[Encounter] = (),
    templates: Mapping[str, Quantised] | None = None,
) -> Sighting:
    """Return a sighting of four seconds with this template; without a time it gets its slot's."""
    if templates is None:
        templates = {} if vector is None else {FACE: quantise_template(vector)}
    row = Row(at_ms, at_ms + 4000, mask, 0.9, 0.8, encounters=tuple(encounters))
    return Sighting(os.urandom(8), episode or os.urandom(8), row, templates)


def moved(one: Sighting, epoch: int, slot: int) -> Sighting:
    """Return a sighting with the times that it would have in a slot, unless it has some."""
    if one.row.first_ms:
        return one
    begin_ms = slot_start_ms(epoch, slot) + 60_000
    return replace(one, row=replace(one.row, first_ms=begin_ms, last_ms=begin_ms + 4000))


@dataclass(slots=True)
class BoxOfVersion2(TestBox):
    """A box whose generations are of version 2."""

    __test__ = False

    version: int = VERSION

    def keys(
        self,
        first_slot: int = 0,
        last_slot: int = 95,
        *,
        epoch: int | None = None,
        labels: Sequence[str] = GRANTED,
    ) -> EpochKeys:
        """Return what enough custodians would grant of an epoch."""
        days = {} if epoch is None else {"epoch": epoch}
        return TestBox.keys(self, first_slot, last_slot, labels=labels, **days)

    def leaf(self, root: bytes, label: str, slot: int) -> bytes:
        """Return the leaf of a slot under a root."""
        return _leaf(root, label, slot)

    def row_key(self, name: SightingName) -> ModalityKey:
        """Return what opens one row, as m custodians would give it away."""
        whole = name.slot_name(self.address.site)
        values = [
            row_value(self.leaf(root, META, name.slot), name.sighting_id)
            for root in self._roots[name.epoch, name.generation]
        ]
        return row_key(values, whole, name.sighting_id)

    def sealed(
        self,
        sightings: Sequence[Sighting],
        *,
        kind: str = SEGMENT,
        slot: int = NOON_SLOT - 4,
        epoch: int | None = None,
        sequence: int | None = None,
        sealed_at_ms: int | None = None,
        replaces: Ranges = (),
        spaces: Mapping[str, Space] | None = None,
        always: frozenset[str] = frozenset(),
        coverage: Coverage | None = WATCHED,
        counts: Counts | None = None,
        padded: bool = True,
        origin: str | None = None,
    ) -> Envelope:
        """Seal and sign sightings in a slot."""
        epoch = NOW_MS // (96 * SLOT_MS) if epoch is None else epoch
        roots = self.roots(epoch)
        name = SlotName(self.address, epoch, self.generation, slot)
        header = Header(
            kind,
            name,
            self.next_sequence() if sequence is None else sequence,
            self.origin if origin is None else origin,
            CLOCK,
            min(NOW_MS, slot_start_ms(epoch, slot + 1)) if sealed_at_ms is None else sealed_at_ms,
            os.urandom(8),
            replaces,
            (),
        )
        batch = Batch(
            [moved(one, epoch, slot) for one in sightings],
            {FACE: Space(MODEL)} if spaces is None else spaces,
            coverage if kind == SEGMENT else None,
            padded,
            always,
            counts if kind == SEGMENT else None,
        )
        return seal(
            header,
            batch,
            key=lambda label: slot_key([self.leaf(r, label, slot) for r in roots], name, label),
            row_key=lambda row: self.row_key(SightingName.of(name, row)),
            board=self.key,
        )

    def segment(self, sightings: Sequence[Sighting], **options: object) -> tuple[str, bytes]:  # type: ignore[override]
        """Return a segment: topic and payload."""
        made = self.sealed(sightings, kind=SEGMENT, **options)  # type: ignore[arg-type]
        return self.address.topic(ENVELOPE), made.to_bytes()

    def live(self, sightings: Sequence[Sighting], **options: object) -> tuple[str, bytes]:  # type: ignore[override]
        """Return a live envelope: topic and payload."""
        made = self.sealed(sightings, kind=LIVE_ENVELOPE, **options)  # type: ignore[arg-type]
        return self.address.topic(ENVELOPE), made.to_bytes()


@lru_cache(maxsize=64)
def _leaf(root: bytes, label: str, slot: int) -> bytes:
    """Return what each row of a slot is derived from again."""
    return descend(tree_top(root, label, VERSION), DEPTH, slot).key


def make_box_v2(number: int) -> BoxOfVersion2:
    """Return box ``box-<number>`` with camera ``cam-<number>`` and a fresh key."""
    name = f"box-{number}"
    return BoxOfVersion2(name, f"cam-{number}", SigningKey.generate(name))


def strangers(count: int, rng: np.random.Generator) -> list[Sighting]:
    """Return sightings of people whom nobody looks for."""
    vectors = rng.standard_normal((count, DIMENSION))
    return [person(vector / np.linalg.norm(vector)) for vector in vectors]
