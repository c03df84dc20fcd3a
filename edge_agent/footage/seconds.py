"""The seconds of a quarter hour as bits of a number: cheap to keep, to join and to take away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from protocol.names import SLOT_MS
from protocol.v2.rows import SLOT_S

Span = tuple[int, int]
"""From a moment until before another, ms since 1970."""

WHOLE = (1 << SLOT_S) - 1
_BYTES = -(-SLOT_S // 8)
_SECOND_MS = 1000


def between(number: int, from_ms: int, until_ms: int) -> int:
    """Return the seconds of slot ``number`` (since 1970) that a span touches."""
    begin_ms = number * SLOT_MS
    first = max(0, (from_ms - begin_ms) // _SECOND_MS)
    last = min(SLOT_S, -((begin_ms - until_ms) // _SECOND_MS))
    return 0 if last <= first else (1 << last) - (1 << first)


def told_in(views: bytes | bytearray) -> int:
    """Return the seconds of which anything was told; ``views`` has a byte a second, 0: nothing."""
    bits = "".join("1" if view else "0" for view in reversed(views))
    return int(bits, 2) if bits else 0


def spans_of(number: int, seconds: int) -> Iterator[Span]:
    """Yield the unbroken spans of a slot's seconds, rising."""
    begin_ms, at = number * SLOT_MS, 0
    while seconds:
        skipped = (seconds & -seconds).bit_length() - 1
        seconds >>= skipped
        length = (~seconds & (seconds + 1)).bit_length() - 1
        at += skipped
        yield begin_ms + at * _SECOND_MS, begin_ms + (at + length) * _SECOND_MS
        seconds >>= length
        at += length


def slots_of(span: Span) -> range:
    """Return the numbers of the slots that a span touches."""
    from_ms, until_ms = span
    return range(from_ms // SLOT_MS, -(-until_ms // SLOT_MS)) if until_ms > from_ms else range(0)


def without(spans: Iterable[Span], taken: Span) -> list[Span]:
    """Return spans less what lies in ``taken``."""
    left: list[Span] = []
    for begin, end in spans:
        if taken[1] <= begin or end <= taken[0]:
            left.append((begin, end))
            continue
        if begin < taken[0]:
            left.append((begin, taken[0]))
        if taken[1] < end:
            left.append((taken[1], end))
    return left


def length_ms(spans: Iterable[Span]) -> int:
    """Return how long spans are together."""
    return sum(end - begin for begin, end in spans)


def to_bytes(seconds: int) -> bytes:
    """Encode for the disk."""
    return seconds.to_bytes(_BYTES, "little")


def from_bytes(data: bytes) -> int:
    """Decode; what does not fit a slot is left out."""
    return int.from_bytes(data, "little") & WHOLE
