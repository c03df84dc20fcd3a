"""The plain sightings of one camera, in memory and by slot, until they are sealed and wiped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.batch import Load, moved, wipe
from protocol.names import SLOT_MS
from protocol.sightings import MAX_BATCH
from protocol.v2.sightings import Sighting


@dataclass(slots=True)
class Bucket:
    """The plain sightings of one slot; the first ``live`` of them are in live envelopes."""

    sightings: list[Sighting] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)  # of each
    load: Load = field(default_factory=Load)  # of them all
    live: int = 0
    oldest_s: float = 0.0  # monotonic arrival of the first that is in no live envelope

    @property
    def waiting(self) -> int:
        """How many are in no live envelope."""
        return len(self.sightings) - self.live

    def add(self, sighting: Sighting) -> None:
        """Take one more."""
        if not self.waiting:
            self.oldest_s = time.monotonic()
        load = Load.of(sighting)
        self.sightings.append(sighting)
        self.loads.append(load)
        self.load += load

    def pop_first(self) -> Sighting:
        """Let go of the oldest."""
        self.load -= self.loads.pop(0)
        self.live = max(0, self.live - 1)
        return self.sightings.pop(0)

    def took_live(self, count: int) -> None:
        """Note that ``count`` more are in live envelopes."""
        self.live += count
        self.oldest_s = time.monotonic()

    def drop_first(self, count: int) -> None:
        """Wipe the first ones, which are in a segment; the rest is under other keys again."""
        wipe(self.sightings[:count])
        for gone in self.loads[:count]:
            self.load -= gone
        del self.sightings[:count], self.loads[:count]
        self.live = 0


class HeldSightings:
    """What one camera holds, by slot number since 1970; a slot without any is not in it.

    Args:
        dimensions: of the templates, by modality.
        most: so many may be held (`excess`).
        segment_bytes: what the sightings of one envelope may take.
    """

    def __init__(self, dimensions: Mapping[str, int], *, most: int, segment_bytes: int) -> None:
        self._dimensions = dimensions
        self._most = most
        self._segment_bytes = segment_bytes
        self._buckets: dict[int, Bucket] = {}

    def __len__(self) -> int:
        return sum(len(bucket.sightings) for bucket in self._buckets.values())

    def __iter__(self) -> Iterator[Bucket]:
        return iter(self._buckets.values())

    def __contains__(self, number: int) -> bool:
        return number in self._buckets

    def __getitem__(self, number: int) -> Bucket:
        return self._buckets.get(number, Bucket())

    @property
    def first(self) -> int | None:
        """The number of the earliest slot that has any."""
        return min(self._buckets, default=None)

    def has_room(self, number: int, sighting: Sighting) -> bool:
        """Tell whether one more can be held, and be sealed into the one segment of its slot."""
        bucket = self._buckets.get(number)
        load = Load.of(sighting) + (Load() if bucket is None else bucket.load)
        fits = bucket is None or load.sealed_bytes(self._dimensions) <= self._segment_bytes
        return fits and len(self) < self._most

    def put(self, number: int, sighting: Sighting) -> None:
        """Put a sighting into the bucket of its slot, which it must not outlast.

        Whoever opens it takes a sighting that ends after its slot for a lie.
        """
        last_ms = (number + 1) * SLOT_MS - 1
        sighting = moved(sighting, min(0, last_ms - sighting.row.last_ms))
        self._buckets.setdefault(number, Bucket()).add(sighting)

    def drop_excess(self) -> int:
        """Wipe the oldest when too many wait (no day keys, or broken storage); count them."""
        dropped = 0
        while len(self) > self._most:
            number = min(self._buckets)
            bucket = self._buckets[number]
            wipe([bucket.pop_first()])
            if not bucket.sightings:
                del self._buckets[number]
            dropped += 1
        return dropped

    def after(self, number: int) -> list[Bucket]:
        """Return the slots after this one."""
        return [bucket for slot, bucket in self._buckets.items() if slot > number]

    def fitting(self, number: int, first: int = 0, most: int = MAX_BATCH) -> Sequence[Sighting]:
        """Return sightings of a slot from the ``first`` on, as many as fit one envelope.

        One at least, if there is one; at most ``most``.
        """
        load, count = Load(), 0
        bucket = self[number]
        for one in bucket.loads[first : first + most]:
            load += one
            if load.sealed_bytes(self._dimensions) > self._segment_bytes and count:
                break
            count += 1
        return bucket.sightings[first : first + count]

    def pop(self, number: int) -> Bucket:
        """Let go of a slot."""
        return self._buckets.pop(number, Bucket())

    def take_all(self) -> list[Sighting]:
        """Let go of everything, to be put elsewhere."""
        taken = [sighting for bucket in self for sighting in bucket.sightings]
        self._buckets.clear()
        return taken

    def wipe(self) -> int:
        """Wipe everything; return how many of them were in no envelope at all."""
        lost = sum(bucket.waiting for bucket in self)
        wipe(self.take_all())
        return lost
