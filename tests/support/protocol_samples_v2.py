"""Fixed messages of version 2, for the same made-up site as `protocol_samples`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import protocol_samples as s

from protocol.epoch import Announcement, announce
from protocol.keytree import DEPTH, META, ModalityKey, descend, tree_top
from protocol.links import Links
from protocol.names import CameraAddress, SlotName
from protocol.places import GLOBE, CameraPlace, Places
from protocol.sealing import LIVE_ENVELOPE, SEGMENT
from protocol.sightings import MaskStatus, Quantised, quantise_template
from protocol.v2 import VERSION
from protocol.v2.blocks import Space
from protocol.v2.counts import Counts
from protocol.v2.envelopes import Batch, Envelope, seal
from protocol.v2.header import CLOCK, Header
from protocol.v2.keys import row_key, row_value, slot_key
from protocol.v2.rows import Coverage
from protocol.v2.sightings import Encounter, MaskSpan, Row, Sighting

SPACE = Space(s.MODEL)
NAME = SlotName(s.ADDRESS, s.EPOCH, s.GENERATION, s.SLOT)
PLACES = Places(
    b"",
    GLOBE,
    {
        "cam-1": CameraPlace(
            "cam-1",
            "Lobby",
            (37.5, 126.75),
            {"ko": "로비", "zh-Hant": "大廳"},
            "12 Harbour Road",
            True,
            "Hall A",
            "the desk",
        ),
        "cam-2": CameraPlace("cam-2", "Car park", None, indoor=False),
    },
    {("cam-1", "cam-2"): 42.5},
)
COVERAGE = Coverage(watched_s=840, dark_s=60)
LINKS = Links(
    {
        (s.ADDRESS, s.fixed("episode one", 8)): 271_828,
        (CameraAddress(s.SITE, "box-2", "cam-7"), s.fixed("episode one again", 8)): 271_828,
        (s.ADDRESS, s.fixed("episode two", 8)): 314_159,
    },
    without=2,
    left_out=1,
)
COUNTS = Counts(5, masked=1, unmasked=1, changed=2, at_once=(0, 3, 1))


def announcement() -> Announcement:
    return announce(
        s.roots(),
        address=s.ADDRESS,
        epoch=s.EPOCH,
        generation=s.GENERATION,
        sequence=0,
        threshold=2,
        custodians=s.CUSTODIANS,
        day_keys={name: s.day_key(name).public for name in s.CUSTODIANS},
        models={"face": s.MODEL},
        announced_at_ms=s.NOW_MS,
        version=VERSION,
    )


def leaf(root: bytes, label: str, slot: int = s.SLOT) -> bytes:
    return descend(tree_top(root, label, VERSION), DEPTH, slot).key


def key(label: str) -> ModalityKey:
    return slot_key([leaf(root, label) for root in s.roots()], NAME, label)


def key_of_row(row_id: bytes) -> ModalityKey:
    return row_key([row_value(leaf(root, META), row_id) for root in s.roots()], NAME, row_id)


def template(name: str) -> Quantised:
    return quantise_template(s.unit_vector(name))


def sighting(name: str, *, face: bool = True) -> Sighting:
    spans = (
        MaskSpan(s.NOW_MS - 4000, s.NOW_MS - 1000, MaskStatus.MASKED, 0.8),
        MaskSpan(s.NOW_MS - 1000, s.NOW_MS, MaskStatus.UNMASKED, 0.6),
    )
    other = Encounter(
        other_id=s.fixed("id other", 8),
        other_episode=s.fixed("episode other", 8),
        first_ms=s.NOW_MS - 3500,
        last_ms=s.NOW_MS,
        within_s=3.5,
        nearest_m=1.25,
        median_m=None,
        masks=spans,
        other_masks=spans[:1],
    )
    return Sighting(
        sighting_id=s.fixed(f"id {name}", 8),
        episode=s.fixed(f"episode {name}", 8),
        row=Row(
            first_ms=s.NOW_MS - 4000,
            last_ms=s.NOW_MS,
            mask=MaskStatus.MASKED,
            mask_confidence=0.8,
            quality=0.6,
            masks=spans,
            networks={"face": s.MODEL} if face else {},
            continues=s.fixed(f"id before {name}", 8),
            encounters=(other,),
        ),
        templates={"face": template(name)} if face else {},
    )


def header(kind: str = SEGMENT, sequence: int = 7) -> Header:
    return Header(
        kind=kind,
        name=NAME,
        sequence=sequence,
        origin="live",
        time_source=CLOCK,
        sealed_at_ms=s.NOW_MS,
        salt=s.fixed(f"salt {kind}", 8),
        replaces=((3, 4), (6, 6)) if kind == SEGMENT else (),
        blocks=(),
    )


def envelope(
    kind: str = SEGMENT,
    *,
    seen: Sequence[Sighting] | None = None,
    padded: bool = True,
    keys: Callable[[str], ModalityKey] = key,
    spaces: Mapping[str, Space] | None = None,
    always: frozenset[str] = frozenset(),
    sequence: int = 7,
) -> Envelope:
    if seen is None:
        seen = [sighting("one"), sighting("turned away", face=False), sighting("two")]
    batch = Batch(
        seen,
        {"face": SPACE} if spaces is None else spaces,
        None if kind == LIVE_ENVELOPE else COVERAGE,
        padded,
        always,
        None if kind == LIVE_ENVELOPE else COUNTS,
    )
    return seal(
        header(kind, sequence),
        batch,
        key=keys,
        row_key=key_of_row,
        board=s.signing_key(s.ADDRESS.box),
    )


def scores(rows: np.ndarray, scales: np.ndarray, name: str) -> np.ndarray:
    probe = template(name)
    return np.asarray((rows.astype(np.float32) * scales[:, None]) @ (probe.row * probe.scale))
