"""Names of things and of times: identifiers, MQTT topics, epochs and slots.

Times are integer milliseconds since 1970-01-01 UTC. An **epoch** is the number of a UTC day since
that date; a **slot** is one of its 96 quarter hours (docs/architecture.md, "Words").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from protocol.errors import MalformedMessage

SLOT_MS = 15 * 60 * 1000
SLOTS_PER_EPOCH = 96
EPOCH_MS = SLOT_MS * SLOTS_PER_EPOCH
TOPIC_ROOT = "st/v1"
NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"
_NAME = re.compile(NAME_PATTERN)


def require_name(value: object, *, what: str) -> str:
    """Return ``value`` if it is a name: lower-case letters, digits and inner hyphens, 1 to 64.

    Raises:
        MalformedMessage: otherwise.
    """
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        hint = ""
        if isinstance(value, str) and not value.isascii():
            hint = (
                ". It stands in topics and certificates, so it is ASCII; the register of places "
                "gives display names in any script"
            )
        raise MalformedMessage(
            f"{what} is not a name (lower-case letters, digits and inner hyphens, at most 64){hint}"
        )
    return value


def epoch_of(time_ms: int) -> int:
    """Return the epoch (UTC day number) that holds ``time_ms``."""
    return time_ms // EPOCH_MS


def slot_of(time_ms: int) -> int:
    """Return the slot, 0 to 95, of its epoch that holds ``time_ms``."""
    return time_ms % EPOCH_MS // SLOT_MS


def slot_start_ms(epoch: int, slot: int) -> int:
    """Return when a slot begins, in milliseconds; ``slot`` 96 is the next epoch's beginning."""
    return epoch * EPOCH_MS + slot * SLOT_MS


def slots_in_window(epoch: int, from_ms: int, to_ms: int) -> range:
    """Return the slots of ``epoch`` that overlap ``[from_ms, to_ms)``; empty when none does."""
    base = epoch * EPOCH_MS
    first = max(0, (from_ms - base) // SLOT_MS)
    stop = min(SLOTS_PER_EPOCH, -((base - to_ms) // SLOT_MS))
    return range(first, max(first, stop))


@dataclass(frozen=True, slots=True)
class CameraAddress:
    """Where a camera's messages come from: its site, the box that it is wired to, its own name."""

    site: str
    box: str
    camera: str

    def __post_init__(self) -> None:
        require_name(self.site, what="site")
        require_name(self.box, what="box")
        require_name(self.camera, what="camera")

    def topic(self, leaf: str) -> str:
        """Return the MQTT topic of this camera that ends in ``leaf``."""
        return f"{TOPIC_ROOT}/{self.site}/{self.box}/{self.camera}/{leaf}"


SIGHTING_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class SlotName:
    """One slot of one generation of one camera on one box."""

    address: CameraAddress
    epoch: int
    generation: int
    slot: int

    def to_value(self) -> list[object]:
        """Return the array that is encoded."""
        a = self.address
        return [a.site, a.box, a.camera, self.epoch, self.generation, self.slot]


@dataclass(frozen=True, slots=True, order=True)
class SightingName:
    """One sighting of a site, by name: of the slot that it ended in, and its id there."""

    box: str
    camera: str
    epoch: int
    generation: int
    slot: int
    sighting_id: bytes

    @classmethod
    def of(cls, name: SlotName, sighting_id: bytes) -> SightingName:
        """Name a sighting of a slot."""
        a = name.address
        return cls(a.box, a.camera, name.epoch, name.generation, name.slot, sighting_id)

    def slot_name(self, site: str) -> SlotName:
        """Return the slot that it belongs to."""
        address = CameraAddress(site, self.box, self.camera)
        return SlotName(address, self.epoch, self.generation, self.slot)

    def to_value(self) -> list[object]:
        """Return the array that is encoded."""
        return [self.box, self.camera, self.epoch, self.generation, self.slot, self.sighting_id]

    @classmethod
    def from_value(cls, value: object) -> SightingName:
        """Read a decoded array.

        Raises:
            MalformedMessage: it is not a sighting's name.
        """
        if (
            not isinstance(value, list)
            or [type(part) for part in value] != [str, str, int, int, int, bytes]
            or min(value[2:5]) < 0
            or value[4] >= SLOTS_PER_EPOCH
            or len(value[5]) != SIGHTING_ID_BYTES
        ):
            raise MalformedMessage("not [box, camera, epoch, generation, slot, sighting id]")
        require_name(value[0], what="box")
        require_name(value[1], what="camera")
        return cls(*value)


ENVELOPE = "envelope"
EPOCH = "epoch"
HEALTH = "health"
RECEIPT = "receipt"
HOURS = "hours"
STILL_REQUESTS = "still-requests"
STILLS = "stills"


def parse_camera_topic(topic: str) -> tuple[CameraAddress, str]:
    """Split ``st/v1/{site}/{box}/{camera}/{leaf}``.

    Raises:
        MalformedMessage: the topic has another form.
    """
    parts = topic.split("/")
    if len(parts) != 6 or "/".join(parts[:2]) != TOPIC_ROOT:
        raise MalformedMessage("topic is not that of a camera")
    return CameraAddress(*parts[2:5]), parts[5]


def box_health_topic(site: str, box: str) -> str:
    """Return the topic of a box's own health: birth, will and reports (retained)."""
    return f"{TOPIC_ROOT}/{site}/{box}/{HEALTH}"


def still_requests_topic(site: str, box: str) -> str:
    """Return the topic on which a box is asked for stills; nothing is retained there."""
    return f"{TOPIC_ROOT}/{site}/{box}/{STILL_REQUESTS}"


def stills_topic(site: str, box: str) -> str:
    """Return the topic on which a box answers who asked it for stills; nothing is retained."""
    return f"{TOPIC_ROOT}/{site}/{box}/{STILLS}"


def hours_filter(site: str, box: str) -> str:
    """Return what a box subscribes to that is to hear which hours of its cameras are told."""
    return f"{TOPIC_ROOT}/{site}/{box}/+/{HOURS}"


def day_keys_topic(site: str, custodian: str, form: int = 1) -> str:
    """Return the topic (retained) on which a custodian's signed day keys are relayed."""
    return f"{TOPIC_ROOT}/{site}/custodians/{custodian}/day-keys{_of_form(form)}"


def _of_form(form: int) -> str:
    """End a topic's name: machines of the first version read those without a number alone."""
    return "" if form == 1 else f"-{form}"


def directory_topic(site: str, form: int = 1) -> str:
    """Return the topic (retained) of the site's signed directory in one of its forms."""
    return f"{TOPIC_ROOT}/{site}/directory{_of_form(form)}"


def notice_topic(site: str) -> str:
    """Return the topic (retained) of the aggregator's newest notice to boxes."""
    return f"{TOPIC_ROOT}/{site}/notice"


def admissions_topic(site: str) -> str:
    """Return the topic (retained) of the registrar's signed list of boxes."""
    return f"{TOPIC_ROOT}/{site}/admissions"
