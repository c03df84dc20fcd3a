"""The rows of a batch: which sightings there are, where each one's parts lie, and what was watched.

The block ``rows`` is sealed under the label ``cover``. It is opened for coverage, or when something
has been found: comparing templates never needs it. Coverage tells silence from blindness: a slot
with no sighting in it was empty only if it was watched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from protocol.encoding import Fields, decode, encode, field_of
from protocol.errors import MalformedMessage
from protocol.keytree import MODALITIES
from protocol.names import SIGHTING_ID_BYTES, SLOT_MS
from protocol.sightings import MAX_BATCH
from protocol.v2.padding import pad, unpad
from protocol.v2.sightings import EPISODE_BYTES, Sighting

SLOT_S = SLOT_MS // 1000
ABSENT = 0xFFFFFFFF
MAX_ROWS_BYTES = 2 << 20
_MAX_ITEMS = 64


@dataclass(frozen=True, slots=True)
class Coverage:
    """For how many seconds of a slot a camera saw, and for how many it did not and why.

    Args:
        watched_s: pictures came and were looked at.
        blind_s: something was in front of it, or it was out of focus.
        dark_s: too dark to find anybody.
        frozen_s: the same picture came again and again.
        offline_s: no picture came.
        standing_in_s: a film or test picture stood in for the camera.
    """

    watched_s: int = 0
    blind_s: int = 0
    dark_s: int = 0
    frozen_s: int = 0
    offline_s: int = 0
    standing_in_s: int = 0

    def __post_init__(self) -> None:
        parts = self.seconds
        if min(parts) < 0 or sum(parts) > SLOT_S:
            raise MalformedMessage(f"a slot's coverage is not of 0 to {SLOT_S} seconds")

    @property
    def seconds(self) -> tuple[int, ...]:
        """What is counted, in the order of the fields."""
        return (
            self.watched_s,
            self.blind_s,
            self.dark_s,
            self.frozen_s,
            self.offline_s,
            self.standing_in_s,
        )

    def to_value(self) -> dict[str, int]:
        """Return the map that is encoded."""
        return dict(zip(COVERED, self.seconds, strict=True))

    @classmethod
    def from_value(cls, value: object) -> Coverage:
        """Read a decoded map.

        Raises:
            MalformedMessage: it is not coverage.
        """
        read = Fields(value, what="coverage")
        coverage = cls(*[read.integer(name, high=SLOT_S) for name in COVERED])
        read.done()
        return coverage


COVERED = tuple(one.name for one in fields(Coverage))
"""What a second of coverage can be, in the order of its fields."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The opened block ``rows`` of n sightings.

    Args:
        coverage: what this segment tells of its slot: a second is told in one segment, so those of
            one slot add up. None in a live envelope.
        ids, episodes: (n, 8) uint8.
        places: modality to (n,) uint32: the sighting's row in that modality's block, ``ABSENT``
            where it has no template of it.
        offsets: (n + 1,) uint32: where each sighting's sealed metadata begins in the string of
            them, and where the last one ends.
    """

    coverage: Coverage | None
    ids: npt.NDArray[np.uint8]
    episodes: npt.NDArray[np.uint8]
    places: Mapping[str, npt.NDArray[np.uint32]]
    offsets: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(
        cls,
        sightings: Sequence[Sighting],
        sealed_sizes: Sequence[int],
        *,
        modalities: Sequence[str],
        coverage: Coverage | None,
    ) -> Rows:
        """Number the rows of a batch.

        Args:
            sealed_sizes: bytes of each sighting's sealed metadata.
            modalities: whose blocks the batch has.

        Raises:
            MalformedMessage: an id is there twice, or there are too many.
        """
        places: dict[str, npt.NDArray[np.uint32]] = {}
        for modality in modalities:
            has = np.fromiter((modality in s.templates for s in sightings), bool, len(sightings))
            place = np.full(len(sightings), ABSENT, np.uint32)
            place[has] = np.arange(np.count_nonzero(has), dtype=np.uint32)
            places[modality] = place
        offsets = np.zeros(len(sightings) + 1, np.uint32)
        np.cumsum(sealed_sizes, out=offsets[1:])
        return cls(
            coverage,
            _columns(b"".join(s.sighting_id for s in sightings), SIGHTING_ID_BYTES, len(sightings)),
            _columns(b"".join(s.episode for s in sightings), EPISODE_BYTES, len(sightings)),
            places,
            offsets,
        )

    def to_bytes(self, *, padded: bool = True) -> bytearray:
        """Encode, padded to a size class; the caller wipes the result.

        Raises:
            MalformedMessage: it contradicts itself.
        """
        body = encode(
            {
                "coverage": None if self.coverage is None else self.coverage.to_value(),
                "ids": self.ids.tobytes(),
                "episodes": self.episodes.tobytes(),
                "places": {
                    modality: place.astype("<u4").tobytes()
                    for modality, place in self.places.items()
                },
                "offsets": self.offsets.astype("<u4").tobytes(),
            }
        )
        block = pad(body, padded=padded)
        self.parse(block)
        return block

    @classmethod
    def parse(cls, opened: bytes | bytearray) -> Rows:
        """Read an opened block.

        Raises:
            MalformedMessage: columns of different lengths, a row twice, an id twice.
        """
        value = decode(unpad(opened), what="rows", max_bytes=MAX_ROWS_BYTES, max_items=_MAX_ITEMS)
        read = Fields(value, what="rows")
        coverage = read.optional("coverage", lambda name: Coverage.from_value(read.value(name)))
        ids = read.raw("ids", max_size=MAX_BATCH * SIGHTING_ID_BYTES)
        count = len(ids) // SIGHTING_ID_BYTES
        if len(ids) % SIGHTING_ID_BYTES:
            raise MalformedMessage("rows: the ids are cut short")
        episodes = read.raw("episodes", size=count * EPISODE_BYTES)
        places: dict[str, npt.NDArray[np.uint32]] = {}
        for modality, raw in read.mapping("places", max_items=len(MODALITIES)).items():
            if modality not in MODALITIES or not isinstance(raw, bytes) or len(raw) != 4 * count:
                raise MalformedMessage("rows: the places of a modality are not one a sighting")
            places[modality] = np.frombuffer(raw, "<u4").astype(np.uint32)
        offsets = np.frombuffer(read.raw("offsets", size=4 * (count + 1)), "<u4").astype(np.uint32)
        read.done()
        rows = cls(
            coverage,
            _columns(ids, SIGHTING_ID_BYTES, count),
            _columns(episodes, EPISODE_BYTES, count),
            places,
            offsets,
        )
        rows._check()
        return rows

    def _check(self) -> None:
        if len(set(self.ids.view("V8").ravel().tolist())) != len(self):
            raise MalformedMessage("rows: a sighting is there twice")
        for place in self.places.values():
            there = place[place != ABSENT]
            if not np.array_equal(np.sort(there), np.arange(len(there), dtype=np.uint32)):
                raise MalformedMessage("rows: a modality's rows are not numbered one after another")
        if self.offsets[0] != 0 or (np.diff(self.offsets.astype(np.int64)) <= 0).any():
            raise MalformedMessage("rows: the metadata does not lie one behind the other")

    def sighting_at(self, modality: str, places: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Return the numbers of the sightings whose templates lie at ``places`` of a block.

        Raises:
            MalformedMessage: the block has rows that no sighting owns.
        """
        mine = self.places.get(modality)
        if mine is None:
            raise MalformedMessage(f"rows: no sighting has a template of '{modality}'")
        owner = np.full(len(self), -1, np.int64)
        there = np.flatnonzero(mine != ABSENT)
        owner[mine[there]] = there
        asked = np.asarray(places, np.int64)
        if asked.size and (asked.max() >= len(owner) or (owner[asked] < 0).any()):
            raise MalformedMessage("rows: a template belongs to no sighting")
        return owner[asked]

    def id_of(self, number: int) -> bytes:
        """Return the id of sighting ``number``, 8 bytes."""
        return bytes(self.ids[number].tobytes())

    def span_of(self, number: int) -> slice:
        """Return where the sealed metadata of sighting ``number`` lies."""
        return slice(int(self.offsets[number]), int(self.offsets[number + 1]))


def coverage_in(opened: bytes | bytearray | memoryview) -> Coverage | None:
    """Return the coverage in an opened block ``rows``, and look at nobody's row.

    Raises:
        MalformedMessage: it is no such block.
    """
    found = field_of(
        unpad(opened), "coverage", what="rows", max_items=_MAX_ITEMS, likely=_WHOLLY_WATCHED
    )
    return _coverage(found)


_WHOLLY_WATCHED = encode(Coverage(watched_s=SLOT_S).to_value())  # as most slots of a city were


@lru_cache(maxsize=4096)
def _coverage(encoded: bytes) -> Coverage | None:
    told = decode(encoded, what="coverage", max_items=_MAX_ITEMS)
    return None if told is None else Coverage.from_value(told)


def _columns(data: bytes, width: int, count: int) -> npt.NDArray[np.uint8]:
    if len(data) != width * count:
        raise MalformedMessage(f"an id has not {width} bytes")
    return np.frombuffer(data, np.uint8).reshape(count, width)
