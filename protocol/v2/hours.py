"""Which quarter hours of a camera headquarters has segments of, told to a box that imports films.

Who imports a film of an hour that was watched already would have everybody in it counted twice. A
box knows what it has watched itself; of other boxes of the same camera the aggregator tells it, to
whom headers are clear anyway. That a quarter hour is told of says that a box was there, not what it
saw: that is sealed. The aggregator is believed in nothing more: who asks a person is the box.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from protocol.directory import AGGREGATOR, Directory
from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage
from protocol.names import (
    EPOCH_MS,
    SLOTS_PER_EPOCH,
    CameraAddress,
    epoch_of,
    slot_start_ms,
    slots_in_window,
)
from protocol.signing import Signed, SigningKey, sign
from protocol.v2 import VERSION

HOURS_KIND = "camera-hours"
MAX_DAYS = 128
MAX_HOURS_BYTES = 64 << 10
_BITS_BYTES = SLOTS_PER_EPOCH // 8
_MAX_EPOCH = 2**31


@dataclass(frozen=True, slots=True)
class DayHours:
    """The slots of a day of which segments are in store.

    Args:
        live: of any box that watched, the one that is told too.
        elsewhere: of films that other boxes imported.
        own: of films that the box that is told has imported.
    """

    live: frozenset[int] = frozenset()
    elsewhere: frozenset[int] = frozenset()
    own: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        """Whether anything is told of the day."""
        return bool(self.live or self.elsewhere or self.own)


@dataclass(frozen=True, slots=True)
class CameraHours:
    """What a box is told of one camera.

    Args:
        address: the box that is told, and the camera.
        days: by epoch; days without any segment are left out.
    """

    address: CameraAddress
    issued_at_ms: int
    days: Mapping[int, DayHours] = field(default_factory=dict)

    def live_between(self, from_ms: int, to_ms: int) -> tuple[int, ...]:
        """Return when those quarter hours begin that a box watched and ``[from_ms, to_ms)`` meets.

        In ms UTC, in order.
        """
        return self._between(from_ms, to_ms, lambda day: day.live)

    def elsewhere_between(self, from_ms: int, to_ms: int) -> tuple[int, ...]:
        """Return the same of quarter hours that other boxes have imported."""
        return self._between(from_ms, to_ms, lambda day: day.elsewhere)

    def _between(
        self, from_ms: int, to_ms: int, which: Callable[[DayHours], frozenset[int]]
    ) -> tuple[int, ...]:
        return tuple(
            slot_start_ms(epoch, slot)
            for epoch in sorted(self.days)
            if epoch_of(from_ms) <= epoch <= (to_ms - 1) // EPOCH_MS
            for slot in slots_in_window(epoch, from_ms, to_ms)
            if slot in which(self.days[epoch])
        )

    def sign(self, aggregator: SigningKey) -> Signed:
        """Sign as the aggregator."""
        payload = {
            "v": VERSION,
            "site": self.address.site,
            "box": self.address.box,
            "camera": self.address.camera,
            "issued_at_ms": self.issued_at_ms,
            "days": [
                [epoch, *(_bits(slots) for slots in (day.live, day.elsewhere, day.own))]
                for epoch, day in sorted(self.days.items())
            ],
        }
        return sign(HOURS_KIND, encode(payload), aggregator)

    @classmethod
    def parse(cls, payload: bytes) -> CameraHours:
        """Read a verified payload.

        Raises:
            MalformedMessage: it tells no hours of a camera.
        """
        fields = Fields(decode(payload, what="camera hours"), what="camera hours")
        fields.version(VERSION)
        address = CameraAddress(fields.text("site"), fields.text("box"), fields.text("camera"))
        issued_at_ms = fields.integer("issued_at_ms")
        days: dict[int, DayHours] = {}
        before = -1
        for item in fields.array("days", max_items=MAX_DAYS):
            epoch, day = _read_day(item)
            if epoch <= before:
                raise MalformedMessage("camera hours: the days are not in order, each once")
            before = epoch
            days[epoch] = day
        fields.done()
        return cls(address, issued_at_ms, days)


def open_hours(data: bytes, directory: Directory, *, address: CameraAddress) -> CameraHours:
    """Verify what came on the topic of ``address``.

    Raises:
        SignatureInvalid: not signed by the site's aggregator.
        MalformedMessage: not hours of a camera, or told to another box or of another camera.
    """
    signed = Signed.parse(data, kind=HOURS_KIND, max_bytes=MAX_HOURS_BYTES)
    hours = CameraHours.parse(signed.verify(directory.resolver(AGGREGATOR)))
    if hours.address != address:
        raise MalformedMessage(
            f"the hours are of camera '{hours.address.camera}', told to '{hours.address.box}'"
        )
    return hours


def _bits(slots: frozenset[int]) -> bytes:
    """Return a bit a slot, the first slot lowest in the first byte."""
    return sum(1 << slot for slot in slots).to_bytes(_BITS_BYTES, "little")


def _slots(bits: bytes) -> frozenset[int]:
    number = int.from_bytes(bits, "little")
    return frozenset(slot for slot in range(SLOTS_PER_EPOCH) if number >> slot & 1)


def _read_day(item: object) -> tuple[int, DayHours]:
    if (
        not isinstance(item, list)
        or [type(part) for part in item] != [int, bytes, bytes, bytes]
        or not 0 <= item[0] <= _MAX_EPOCH
        or any(len(bits) != _BITS_BYTES for bits in item[1:])
    ):
        raise MalformedMessage("camera hours: a day is not [epoch, live, elsewhere, own]")
    day = DayHours(*map(_slots, item[1:]))
    if not day:
        raise MalformedMessage("camera hours: a day without any quarter hour")
    return item[0], day
