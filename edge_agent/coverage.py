"""For which seconds of a slot a camera watched, and for which not and why, until it is sealed.

Each second counts once, as the best that was told of it. What nobody told anything of is in no
count: whoever reads coverage takes it for not watched.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

from protocol.names import SLOT_MS, SLOTS_PER_EPOCH, CameraAddress
from protocol.v2.rows import SLOT_S, Coverage

SPREAD_S = 55
"""Segments of a city's cameras are sealed over so many seconds after the grace of a slot."""
_SECOND_MS = 1000
_MOST_SLOTS = 2 * SLOTS_PER_EPOCH


class View(IntEnum):
    """What a camera saw in a second; of two that were told of one second the higher counts."""

    OFFLINE = 1
    FROZEN = 2
    BLIND = 3
    DARK = 4
    STANDING_IN = 5
    WATCHED = 6


def spread_ms(address: CameraAddress) -> int:
    """Return how long after the others a camera's segments are sealed, 0 to ``SPREAD_S``.

    Always the same for a camera, and as good as random among them.
    """
    name = f"{address.site}/{address.box}/{address.camera}".encode()
    drawn = int.from_bytes(hashlib.sha256(name).digest()[:4], "big")
    return drawn % (SPREAD_S * _SECOND_MS)


class CoverageBook:
    """One camera's coverage by slot number since 1970; a byte a second, at most two days of them.

    For one thread, or under its owner's lock.
    """

    def __init__(self) -> None:
        self._slots: dict[int, bytearray] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def first_before(self, number: int) -> int | None:
        """Return the earliest slot before ``number`` of which anything was told."""
        return min((slot for slot in self._slots if slot < number), default=None)

    def tell(self, view: View, from_ms: int, until_ms: int, *, floor: int, end: int) -> None:
        """Note what was seen from one moment until before another, ms UTC.

        Args:
            view: what.
            from_ms: from when.
            until_ms: until when; the second that ``from_ms`` is in is noted in any case.
            floor: slots before this one have been sealed: nothing is noted of them.
            end: nor of slots from this one on: they have not begun.
        """
        first = max(from_ms, floor * SLOT_MS) // _SECOND_MS
        last = min(max(from_ms, until_ms - 1), end * SLOT_MS - 1) // _SECOND_MS
        while first <= last:
            number, at = divmod(first, SLOT_S)
            stop = min(SLOT_S, at + last - first + 1)
            seconds = self._slots.setdefault(number, bytearray(SLOT_S))
            seconds[at:stop] = bytes(max(one, int(view)) for one in seconds[at:stop])
            first += stop - at
        while len(self._slots) > _MOST_SLOTS:
            del self._slots[min(self._slots)]

    def has(self, number: int) -> bool:
        """Tell whether anything was told of a slot."""
        return number in self._slots

    def of(self, number: int) -> Coverage:
        """Return what was told of a slot."""
        seconds = self._slots.get(number, bytearray())
        return Coverage(
            watched_s=seconds.count(View.WATCHED),
            blind_s=seconds.count(View.BLIND),
            dark_s=seconds.count(View.DARK),
            frozen_s=seconds.count(View.FROZEN),
            offline_s=seconds.count(View.OFFLINE),
            standing_in_s=seconds.count(View.STANDING_IN),
        )

    def seen(self, number: int) -> int:
        """Return the seconds of a slot in which pictures were looked at, as bits."""
        seconds = self._slots.get(number, bytearray())
        looked = (View.BLIND, View.DARK, View.WATCHED)
        return sum(1 << at for at, view in enumerate(seconds) if view in looked)

    def drop(self, number: int) -> None:
        """Let go of a slot; what is told of it from now on is for another segment."""
        self._slots.pop(number, None)

    def move(self, by_ms: int, *, end: int) -> None:
        """Correct the times of all that is noted after the clock was set."""
        slots, self._slots = self._slots, {}
        for number, seconds in sorted(slots.items()):
            for view in View:
                for at in (place for place, one in enumerate(seconds) if one == view):
                    from_ms = (number * SLOT_S + at) * _SECOND_MS + by_ms
                    self.tell(view, from_ms, from_ms, floor=0, end=end)

    def forget_before(self, number: int) -> None:
        """Drop slots that can be sealed no more."""
        for slot in [one for one in self._slots if one < number]:
            del self._slots[slot]

    def clear(self) -> None:
        """Drop everything."""
        self._slots.clear()
