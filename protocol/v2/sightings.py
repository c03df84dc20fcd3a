"""A sighting of version 2: one person seen by one camera for a while, and what a row says of it.

Templates are by modality, and any may be missing: whoever turns away is a person all the same. A
row is metadata alone and is sealed under a key of its own (`protocol.v2.keys`), so it is small and
complete: continuity and encounters are told here, by the board that saw them, and nobody else's
row need be opened to follow one person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protocol.encoding import FREE_ITEMS, decode, encode, most_items
from protocol.errors import MalformedMessage
from protocol.keytree import MODALITIES
from protocol.names import SIGHTING_ID_BYTES
from protocol.sightings import MaskStatus, Quantised

EPISODE_BYTES = 8
MAX_SPANS = 64
MAX_ENCOUNTERS = 4096
MAX_ROW_BYTES = 1 << 20
_CENTIMETRES = 100
_MOST_CM = 65_535
_MOST_MS = 1 << 62
_BYTE = 255
_HEAD = [int] * 5
_TAILS = ([list, dict, bytes, list], [list, dict, type(None), list])
_FOUR = [int] * 4
_THREE = [int] * 3
_MASKS = frozenset(int(status) for status in MaskStatus)


@dataclass(frozen=True, slots=True)
class MaskSpan:
    """From when to when (ms UTC) a person's mask status was one; ``confidence`` 0 to 1."""

    from_ms: int
    until_ms: int
    status: MaskStatus
    confidence: float


@dataclass(frozen=True, slots=True)
class Encounter:
    """Somebody else of the same camera who was near for a while.

    Args:
        other_id: of the other's sighting, 8 bytes.
        other_episode: what the board calls that person on that camera for as long as it follows
            them: random, 8 bytes. Encounters with one episode are one contact, however often it
            was cut into sightings.
        first_ms, last_ms: within reach, ms UTC.
        within_s: seconds within reach.
        nearest_m, median_m: ground distance while within reach, None if it is not known.
        masks: this person's spans meanwhile.
        other_masks: the other's.
    """

    other_id: bytes
    other_episode: bytes
    first_ms: int
    last_ms: int
    within_s: float
    nearest_m: float | None
    median_m: float | None
    masks: tuple[MaskSpan, ...] = ()
    other_masks: tuple[MaskSpan, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """What the metadata of one sighting says.

    Args:
        first_ms, last_ms: seen, ms UTC.
        mask, mask_confidence: as voted over the whole; confidence 0 to 1.
        quality: of the best crop, 0 to 1.
        masks: the same as it went on.
        networks: modality to the model ids of the networks that made its template, joined with `&`.
        continues: id of the earlier sighting of the same person that this one goes on from.
    """

    first_ms: int
    last_ms: int
    mask: MaskStatus
    mask_confidence: float
    quality: float
    masks: tuple[MaskSpan, ...] = ()
    networks: Mapping[str, str] = field(default_factory=dict)
    continues: bytes | None = None
    encounters: tuple[Encounter, ...] = ()

    def to_bytes(self) -> bytes:
        """Encode; times are written as they lie after ``first_ms``, which keeps rows short.

        Raises:
            MalformedMessage: a value does not fit its field; what was refused is not sealed.
        """
        begins = self.first_ms
        value = [
            begins,
            self.last_ms - begins,
            int(self.mask),
            _byte(self.mask_confidence),
            _byte(self.quality),
            _spans(self.masks, begins),
            dict(self.networks),
            self.continues,
            [
                [
                    e.other_id,
                    e.other_episode,
                    e.first_ms - begins,
                    e.last_ms - begins,
                    _tenths(e.within_s),
                    _centimetres(e.nearest_m),
                    _centimetres(e.median_m),
                    _spans(e.masks, begins),
                    _spans(e.other_masks, begins),
                ]
                for e in self.encounters
            ],
        ]
        _check(value)
        data = encode(value)
        size = len(data)  # an item has a byte at least: few rows are worth counting
        if size > MAX_ROW_BYTES or (size > FREE_ITEMS and self._items > most_items(size)):
            raise MalformedMessage("a metadata row says more than a reader takes")
        return data

    @property
    def _items(self) -> int:
        """How many items the encoding has, as its reader counts them."""
        spans = len(self.masks) + sum(len(e.masks) + len(e.other_masks) for e in self.encounters)
        return 10 + 5 * spans + 2 * len(self.networks) + 10 * len(self.encounters)

    @classmethod
    def parse(cls, data: bytes) -> Row:
        """Read an opened row.

        Raises:
            MalformedMessage: it is not one.
        """
        value = decode(data, what="metadata row", max_bytes=MAX_ROW_BYTES)
        _check(value)
        begins, lasted, mask, confidence, quality, masks, networks, continues, met = value
        return cls(
            first_ms=begins,
            last_ms=begins + lasted,
            mask=MaskStatus(mask),
            mask_confidence=confidence / _BYTE,
            quality=quality / _BYTE,
            masks=_read_spans(masks, begins),
            networks=networks,
            continues=continues,
            encounters=tuple(_read_encounter(item, begins) for item in met),
        )


@dataclass(frozen=True, slots=True)
class Sighting:
    """One person seen by one camera for a while.

    Args:
        sighting_id: random, 8 bytes, unique in its slot.
        episode: random, 8 bytes: the same for as long as the board follows this person.
        row: everything but the templates.
        templates: modality to template; any may be missing.
    """

    sighting_id: bytes
    episode: bytes
    row: Row
    templates: Mapping[str, Quantised] = field(default_factory=dict)


def _check(value: object) -> None:
    """Check all that a row's encoding says: what a reader refuses is refused before it is sealed.

    Raises:
        MalformedMessage: it is not a row.
    """
    if (
        not isinstance(value, list)
        or [type(part) for part in value[:5]] != _HEAD
        or [type(part) for part in value[5:]] not in _TAILS
    ):
        raise MalformedMessage("not a metadata row")
    begins, lasted, mask, confidence, quality, masks, networks, continues, met = value
    if (
        not 0 <= begins < _MOST_MS
        or not 0 <= lasted < _MOST_MS
        or mask not in _MASKS
        or not 0 <= confidence <= _BYTE
        or not 0 <= quality <= _BYTE
        or (continues is not None and len(continues) != SIGHTING_ID_BYTES)
        or len(met) > MAX_ENCOUNTERS
    ):
        raise MalformedMessage("a metadata row holds a value out of range")
    _check_spans(masks, begins)
    _check_networks(networks)
    for item in met:
        _check_encounter(item, begins)


def _byte(value: float) -> int:
    if not 0 <= value <= 1:
        raise MalformedMessage("a confidence or quality is not from 0 to 1")
    return round(value * _BYTE)


def _centimetres(distance_m: float | None) -> int | None:
    if distance_m is None:
        return None
    if not distance_m >= 0:
        raise MalformedMessage("a distance is negative, or none")
    return min(_MOST_CM, round(min(distance_m, float(_MOST_CM)) * _CENTIMETRES))


def _tenths(seconds: float) -> int:
    if not 0 <= seconds < _MOST_MS / 10:
        raise MalformedMessage("a time within reach is negative, or none")
    return round(seconds * 10)


def _spans(spans: tuple[MaskSpan, ...], begins: int) -> list[list[int]]:
    return [
        [s.from_ms - begins, s.until_ms - s.from_ms, int(s.status), _byte(s.confidence)]
        for s in spans
    ]


def _check_spans(items: object, begins: int) -> None:
    if not isinstance(items, list) or len(items) > MAX_SPANS:
        raise MalformedMessage("mask spans are not a short array")
    for item in items:
        if not isinstance(item, list) or [type(part) for part in item] != _FOUR:
            raise MalformedMessage("a mask span is not [after, for, status, confidence]")
        after, lasted, status, confidence = item
        if (
            not 0 <= begins + after < _MOST_MS
            or not 0 <= lasted < _MOST_MS
            or status not in _MASKS
            or not 0 <= confidence <= _BYTE
        ):
            raise MalformedMessage("a mask span holds a value out of range")


def _read_spans(items: list[list[int]], begins: int) -> tuple[MaskSpan, ...]:
    """Return checked spans."""
    return tuple(
        MaskSpan(begins + after, begins + after + lasted, MaskStatus(status), confidence / _BYTE)
        for after, lasted, status, confidence in items
    )


def _check_networks(values: Mapping[str, object]) -> None:
    for modality, network in values.items():
        if modality not in MODALITIES:
            raise MalformedMessage("a network is named for an unknown modality")
        if not isinstance(network, str) or not network.isprintable() or not 0 < len(network) <= 256:
            raise MalformedMessage("a network's name is not a printable text")


def _check_encounter(item: object, begins: int) -> None:
    if (
        not isinstance(item, list)
        or len(item) != 9
        or not all(isinstance(part, bytes) for part in item[:2])
        or len(item[0]) != SIGHTING_ID_BYTES
        or len(item[1]) != EPISODE_BYTES
        or [type(part) for part in item[2:5]] != _THREE
    ):
        raise MalformedMessage("not an encounter")
    _, _, first_ms, last_ms, tenths, nearest, median, masks, others = item
    for distance in (nearest, median):
        if distance is not None and type(distance) is not int:
            raise MalformedMessage("not an encounter")
        if distance is not None and not 0 <= distance <= _MOST_CM:
            raise MalformedMessage("an encounter holds a value out of range")
    if not 0 <= begins + first_ms <= begins + last_ms < _MOST_MS or not 0 <= tenths < _MOST_MS:
        raise MalformedMessage("an encounter holds a value out of range")
    _check_spans(masks, begins)
    _check_spans(others, begins)


def _read_encounter(item: list[Any], begins: int) -> Encounter:
    """Return a checked encounter."""
    other_id, episode, first_ms, last_ms, tenths, nearest, median, masks, others = item
    return Encounter(
        other_id,
        episode,
        begins + first_ms,
        begins + last_ms,
        tenths / 10,
        None if nearest is None else nearest / _CENTIMETRES,
        None if median is None else median / _CENTIMETRES,
        _read_spans(masks, begins),
        _read_spans(others, begins),
    )
