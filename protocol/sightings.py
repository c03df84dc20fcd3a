"""Sightings, their templates and encounters, and the columns in which a batch of them is sealed.

A batch is columnar (docs/protocol.md, "Envelopes"): the **template block** of a modality is
``count`` rows of ``d`` int8 and one little-endian float32, so that opened blocks laid end to end
are one matrix; the **meta block** is everything else. A template is ``int8 row x scale`` and has
unit length; a sighting without a usable template of that modality has a zero row and scale 0 there,
which scores 0 against everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage

ID_BYTES = 8
SCALE_BYTES = 4
MAX_BATCH = 16_384
MAX_DIMENSION = 4096
META_PADDING = 512
UNKNOWN_DISTANCE = 0xFFFF
_INT8_MAX = 127


class MaskStatus(IntEnum):
    """Whether a person wore a mask, as voted over the sighting's crops."""

    UNKNOWN = 0
    UNMASKED = 1
    MASKED = 2


@dataclass(frozen=True, slots=True)
class Encounter:
    """Another sighting of the same camera that was near: how near, how long, masked or not.

    ``distance_m`` is the shortest ground distance, None if unknown; ``seconds`` within reach.
    """

    other_id: bytes
    distance_m: float | None
    seconds: float
    other_mask: MaskStatus
    other_mask_confidence: float


class Quantised(NamedTuple):
    """A template as it is sealed: ``row`` (d,) int8 and ``scale``; row x scale has unit length."""

    row: npt.NDArray[np.int8]
    scale: float


@dataclass(frozen=True, slots=True)
class Sighting:
    """One person seen by one camera for a while.

    ``templates`` by modality: any may be missing, all of them too, if nothing good enough was seen;
    confidences and quality are 0 to 1; times are integer milliseconds UTC.
    """

    sighting_id: bytes
    first_seen_ms: int
    last_seen_ms: int
    mask: MaskStatus
    mask_confidence: float
    quality: float
    templates: Mapping[str, Quantised]
    encounters: tuple[Encounter, ...] = field(default_factory=tuple)


def quantise_template(vector: npt.NDArray[np.floating]) -> Quantised:
    """Quantise an L2-normalised template to int8.

    Args:
        vector: (d,) floating point, not all zero.

    Returns:
        (d,) int8 and the scale that makes it unit length again.

    Raises:
        MalformedMessage: not a finite, non-zero vector.
    """
    values = np.asarray(vector, dtype=np.float64)
    if values.ndim != 1 or not 0 < values.size <= MAX_DIMENSION or not np.isfinite(values).all():
        raise MalformedMessage("a template is a finite vector")
    peak = float(np.abs(values).max())
    if peak == 0.0:
        raise MalformedMessage("a template is not the zero vector")
    row = np.rint(values / peak * _INT8_MAX).astype(np.int8)
    norm = float(np.linalg.norm(row.astype(np.float64)))
    return Quantised(row, float(np.float32(1.0 / norm)))


def dequantise_template(row: npt.NDArray[np.int8], scale: float) -> npt.NDArray[np.float32]:
    """Return the (d,) float32 template of an int8 row."""
    return row.astype(np.float32) * np.float32(scale)


def template_bytes(row: npt.NDArray[np.int8], scale: float) -> bytes:
    """Return one row of a template block: d int8, then the scale as little-endian float32."""
    return row.astype(np.int8).tobytes() + np.array([scale], "<f4").tobytes()


def row_bytes(dimension: int) -> int:
    """Return the bytes of one row of a template block."""
    return dimension + SCALE_BYTES


def split_rows(
    block: npt.NDArray[np.uint8], dimension: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """View an opened template block as (n, d) int8 rows and copy out the (n,) float32 scales.

    Args:
        block: flat uint8 of n x (d + 4) bytes.

    Raises:
        MalformedMessage: the length is not a multiple of a row.
    """
    width = row_bytes(dimension)
    if block.ndim != 1 or block.size % width:
        raise MalformedMessage(f"a template block's length is not a multiple of {width}")
    table = block.reshape(-1, width)
    scales = np.ascontiguousarray(table[:, dimension:]).view("<f4").reshape(-1)
    return table[:, :dimension].view(np.int8), scales


def encode_template_block(
    sightings: Sequence[Sighting], modality: str, dimension: int
) -> bytearray:
    """Lay the sightings' templates of one modality out as rows; the caller wipes the result.

    Raises:
        MalformedMessage: a template has another dimension.
    """
    block = bytearray(len(sightings) * row_bytes(dimension))
    table = np.frombuffer(block, np.uint8).reshape(len(sightings), row_bytes(dimension))
    for number, sighting in enumerate(sightings):
        template = sighting.templates.get(modality)
        if template is None:
            continue
        if template.row.shape != (dimension,):
            raise MalformedMessage(f"a template has not {dimension} dimensions")
        table[number, :dimension] = template.row.view(np.uint8)
        table[number, dimension:] = np.array([template.scale], "<f4").view(np.uint8)
    return block


@dataclass(frozen=True, slots=True)
class Encounters:
    """The encounters of a batch as columns of length e (see :class:`Encounter`)."""

    row: npt.NDArray[np.uint32]
    other_id: npt.NDArray[np.uint8]
    distance_cm: npt.NDArray[np.uint16]
    deciseconds: npt.NDArray[np.uint16]
    other_mask: npt.NDArray[np.uint8]
    other_confidence: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class BatchMeta:
    """The meta block of a batch of n sightings, opened: columns of length n and the encounters.

    ``ids`` is (n, 8) uint8; times int64 ms; ``mask`` holds :class:`MaskStatus` values;
    ``mask_confidence`` and ``quality`` are 0 to 255 for 0 to 1.
    """

    ids: npt.NDArray[np.uint8]
    first_seen_ms: npt.NDArray[np.int64]
    last_seen_ms: npt.NDArray[np.int64]
    mask: npt.NDArray[np.uint8]
    mask_confidence: npt.NDArray[np.uint8]
    quality: npt.NDArray[np.uint8]
    encounters: Encounters

    def __len__(self) -> int:
        return len(self.mask)

    def sighting(self, row: int) -> Sighting:
        """Return row ``row`` as a sighting without its templates."""
        mine = np.flatnonzero(self.encounters.row == row)
        return Sighting(
            sighting_id=self.ids[row].tobytes(),
            first_seen_ms=int(self.first_seen_ms[row]),
            last_seen_ms=int(self.last_seen_ms[row]),
            mask=MaskStatus(int(self.mask[row])),
            mask_confidence=int(self.mask_confidence[row]) / 255,
            quality=int(self.quality[row]) / 255,
            templates={},
            encounters=tuple(self._encounter(int(number)) for number in mine),
        )

    def _encounter(self, number: int) -> Encounter:
        columns = self.encounters
        distance_cm = int(columns.distance_cm[number])
        return Encounter(
            other_id=columns.other_id[number].tobytes(),
            distance_m=None if distance_cm == UNKNOWN_DISTANCE else distance_cm / 100,
            seconds=int(columns.deciseconds[number]) / 10,
            other_mask=MaskStatus(int(columns.other_mask[number])),
            other_mask_confidence=int(columns.other_confidence[number]) / 255,
        )


def encode_meta(sightings: Sequence[Sighting]) -> bytes:
    """Encode everything but the templates, padded to a multiple of 512 bytes.

    The padding keeps the number of encounters from showing in the length of the seal.

    Raises:
        MalformedMessage: a value does not fit its column.
    """
    met = [(row, e) for row, s in enumerate(sightings) for e in s.encounters]
    try:
        columns = {
            "ids": b"".join(s.sighting_id for s in sightings),
            "first_ms": np.array([s.first_seen_ms for s in sightings], "<i8").tobytes(),
            "last_ms": np.array([s.last_seen_ms for s in sightings], "<i8").tobytes(),
            "mask": bytes(int(s.mask) for s in sightings),
            "mask_conf": bytes(_byte(s.mask_confidence) for s in sightings),
            "quality": bytes(_byte(s.quality) for s in sightings),
            "enc_row": np.array([row for row, _ in met], "<u4").tobytes(),
            "enc_other": b"".join(e.other_id for _, e in met),
            "enc_cm": np.array([_centimetres(e.distance_m) for _, e in met], "<u2").tobytes(),
            "enc_ds": np.array(
                [min(0xFFFF, round(e.seconds * 10)) for _, e in met], "<u2"
            ).tobytes(),
            "enc_mask": bytes(int(e.other_mask) for _, e in met),
            "enc_conf": bytes(_byte(e.other_mask_confidence) for _, e in met),
        }
    except (ValueError, OverflowError) as error:
        raise MalformedMessage(f"a sighting has a value out of range: {error}") from error
    body = encode(columns) + b"\x80"
    return body + bytes(-len(body) % META_PADDING)


def decode_meta(data: bytes, *, count: int) -> BatchMeta:
    """Decode an opened meta block of ``count`` sightings.

    Raises:
        MalformedMessage: padding, columns or their lengths are wrong.
    """
    body = data.rstrip(b"\x00")
    if not body.endswith(b"\x80"):
        raise MalformedMessage("a meta block has no padding mark")
    fields = Fields(decode(body[:-1], what="meta block"), what="meta block")

    def column(name: str, dtype: str, items: int, width: int = 1) -> npt.NDArray[np.generic]:
        size = items * width * np.dtype(dtype).itemsize
        array = np.frombuffer(fields.raw(name, size=size), dtype)
        return array.reshape(items, width) if width > 1 else array

    ids = column("ids", "u1", count, ID_BYTES)
    first, last = column("first_ms", "<i8", count), column("last_ms", "<i8", count)
    mask, confidence = column("mask", "u1", count), column("mask_conf", "u1", count)
    quality = column("quality", "u1", count)
    rows = np.frombuffer(fields.raw("enc_row", max_size=4 * 64 * MAX_BATCH), "u1")
    if rows.size % 4:
        raise MalformedMessage("a meta block's encounter rows are cut short")
    met = rows.view("<u4")
    encounters = Encounters(
        row=met,
        other_id=column("enc_other", "u1", len(met), ID_BYTES),  # type: ignore[arg-type]
        distance_cm=column("enc_cm", "<u2", len(met)),  # type: ignore[arg-type]
        deciseconds=column("enc_ds", "<u2", len(met)),  # type: ignore[arg-type]
        other_mask=column("enc_mask", "u1", len(met)),  # type: ignore[arg-type]
        other_confidence=column("enc_conf", "u1", len(met)),  # type: ignore[arg-type]
    )
    fields.done()
    known = max(MaskStatus)
    meta = BatchMeta(ids, first, last, mask, confidence, quality, encounters)  # type: ignore[arg-type]
    if (
        (meta.mask > known).any()
        or (encounters.other_mask > known).any()
        or (met >= count).any()
        or (meta.first_seen_ms > meta.last_seen_ms).any()
    ):
        raise MalformedMessage("a meta block holds a value out of range")
    return meta


def _byte(fraction: float) -> int:
    return round(min(1.0, max(0.0, fraction)) * 255)


def _centimetres(distance_m: float | None) -> int:
    if distance_m is None:
        return UNKNOWN_DISTANCE
    return min(UNKNOWN_DISTANCE - 1, max(0, round(distance_m * 100)))
