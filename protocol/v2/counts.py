"""How many people a camera saw in a slot, and how many wore a mask: numbers, and nobody's rows.

The block ``counts`` is sealed under a label of its own, granted only to a query that asks for it
(`protocol.authorization`), and written only where the site's policy permits it. It answers how
crowded a place was; it holds no id, no template, no moment finer than five minutes, and is of one
size whoever came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage
from protocol.names import SLOT_MS
from protocol.sightings import MaskStatus
from protocol.v2.padding import pad, unpad
from protocol.v2.sightings import Sighting

COUNTS_BYTES = 128
"""Of every opened block."""
PARTS = 3
PART_MS = SLOT_MS // PARTS
"""Five minutes: how crowded a place was needs no finer, and a minute would tell who came alone."""
MOST = 1 << 20
_BOTH = frozenset({MaskStatus.MASKED, MaskStatus.UNMASKED})


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted on one camera in one slot.

    A person is an episode: who left and came back, and who was there when the board began again,
    is counted again. Who stays over several slots is counted in each.

    Args:
        sightings: who stays gives one a minute.
        masked, unmasked: people who wore a mask whenever it could be told, and who never did.
        changed: people seen with one and without.
        unknown: people of whom it could not be told.
        at_once: the most people seen at one moment in each third of the slot.
    """

    sightings: int = 0
    masked: int = 0
    unmasked: int = 0
    changed: int = 0
    unknown: int = 0
    at_once: tuple[int, ...] = (0,) * PARTS

    def __post_init__(self) -> None:
        if len(self.at_once) != PARTS or not all(
            0 <= most <= self.people <= self.sightings <= MOST for most in self.at_once
        ):
            raise MalformedMessage("the counts of a slot contradict themselves")
        if min(self.masked, self.unmasked, self.changed, self.unknown) < 0:
            raise MalformedMessage("nobody is counted below zero")

    @property
    def people(self) -> int:
        """How many people there were, whatever they wore."""
        return self.masked + self.unmasked + self.changed + self.unknown

    @classmethod
    def of(cls, sightings: Sequence[Sighting], *, from_ms: int) -> Counts:
        """Count the sightings of a slot.

        Args:
            sightings: that ended in it.
            from_ms: when the slot begins, ms UTC.
        """
        worn: dict[bytes, set[MaskStatus]] = {}
        spans: dict[bytes, list[tuple[int, int]]] = {}
        for one in sightings:
            row = one.row
            statuses = {row.mask, *(span.status for span in row.masks)}
            worn.setdefault(one.episode, set()).update(statuses)
            spans.setdefault(one.episode, []).append((row.first_ms, row.last_ms))
        told = [frozenset(statuses) & _BOTH for statuses in worn.values()]
        return cls(
            len(sightings),
            masked=told.count(frozenset({MaskStatus.MASKED})),
            unmasked=told.count(frozenset({MaskStatus.UNMASKED})),
            changed=told.count(_BOTH),
            unknown=told.count(frozenset()),
            at_once=_at_once(spans.values(), from_ms),
        )

    @classmethod
    def together(cls, parts: Iterable[Counts]) -> Counts:
        """Return what several segments of one slot count, none of whose people are in another.

        Raises:
            MalformedMessage: they are more than anybody counts.
        """
        told = list(parts)
        return cls(
            sum(one.sightings for one in told),
            sum(one.masked for one in told),
            sum(one.unmasked for one in told),
            sum(one.changed for one in told),
            sum(one.unknown for one in told),
            tuple(max((one.at_once[at] for one in told), default=0) for at in range(PARTS)),
        )

    def to_value(self) -> dict[str, object]:
        """Return the map that is encoded."""
        return {
            "sightings": self.sightings,
            "masked": self.masked,
            "unmasked": self.unmasked,
            "changed": self.changed,
            "unknown": self.unknown,
            "at_once": list(self.at_once),
        }

    @classmethod
    def from_value(cls, value: object) -> Counts:
        """Read a decoded map.

        Raises:
            MalformedMessage: it is not counts.
        """
        read = Fields(value, what="counts")
        at_once = read.array("at_once", max_items=PARTS, min_items=PARTS)
        if any(type(most) is not int for most in at_once):
            raise MalformedMessage("counts: the most at once are not numbers")
        counts = cls(
            read.integer("sightings", high=MOST),
            read.integer("masked", high=MOST),
            read.integer("unmasked", high=MOST),
            read.integer("changed", high=MOST),
            read.integer("unknown", high=MOST),
            tuple(at_once),
        )
        read.done()
        return counts

    def to_bytes(self) -> bytearray:
        """Encode, padded to `COUNTS_BYTES`."""
        return pad(encode(self.to_value()), smallest=COUNTS_BYTES)

    @classmethod
    def parse(cls, opened: bytes | bytearray | memoryview) -> Counts:
        """Read an opened block.

        Raises:
            MalformedMessage: it is not one, or of another size.
        """
        if len(opened) != COUNTS_BYTES:
            raise MalformedMessage(f"a block of counts has {COUNTS_BYTES} bytes")
        return cls.from_value(decode(unpad(opened), what="counts", max_items=32))


def _at_once(people: Iterable[Sequence[tuple[int, int]]], from_ms: int) -> tuple[int, ...]:
    """Return the most people at one moment of each third of a slot.

    Args:
        people: of each, first and last moment of every sighting, ms.
    """
    spans: list[tuple[int, int]] = []
    for seen in people:
        until_ms = -1
        for first_ms, last_ms in sorted(seen):  # a person is one, where two sightings overlap too
            if last_ms >= until_ms:
                spans.append((max(first_ms, until_ms), last_ms + 1))
                until_ms = last_ms + 1
    return tuple(
        _most_in(spans, from_ms + at * PART_MS, from_ms + (at + 1) * PART_MS) for at in range(PARTS)
    )


def _most_in(spans: Sequence[tuple[int, int]], from_ms: int, until_ms: int) -> int:
    """Return how many spans at most hold one moment from ``from_ms`` until before ``until_ms``."""
    steps: list[tuple[int, int]] = []
    for begin_ms, end_ms in spans:
        if begin_ms < until_ms and from_ms < end_ms:
            steps += ((max(begin_ms, from_ms), 1), (min(end_ms, until_ms), -1))
    return max(accumulate(step for _, step in sorted(steps)), default=0)
