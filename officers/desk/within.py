"""Add up time within reach: what overlaps counts once, and the most that falls in a day."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise


@dataclass(frozen=True, slots=True)
class Within:
    """So many seconds within reach between two moments, ms UTC; spread evenly, as far as known."""

    from_ms: int
    to_ms: int
    seconds: float


def seconds_of(parts: Sequence[Within]) -> float:
    """Return the seconds of all parts; at a moment of several the one that tells most counts."""
    ordered = sorted(parts, key=lambda one: (one.from_ms, one.to_ms))
    if all(one.to_ms <= after.from_ms for one, after in pairwise(ordered)):
        return sum(one.seconds for one in ordered)
    return sum(piece.seconds for piece in _pieces(ordered))


def most_within(parts: Sequence[Within], *, window_ms: int) -> float:
    """Return the most seconds that fall into any stretch of time as long as ``window_ms``."""
    pieces = _pieces(parts)
    if not pieces:
        return 0.0
    total = list(accumulate((piece.seconds for piece in pieces), initial=0.0))
    begins = [piece.from_ms for piece in pieces]

    def until(at_ms: int) -> float:
        row = bisect_right(begins, at_ms) - 1
        if row < 0:
            return 0.0
        piece = pieces[row]
        share = min(1.0, (at_ms - piece.from_ms) / (piece.to_ms - piece.from_ms))
        return total[row] + share * piece.seconds

    # It is most where the stretch begins with a piece, or ends with one.
    starts = {piece.from_ms for piece in pieces} | {piece.to_ms - window_ms for piece in pieces}
    return max(until(start + window_ms) - until(start) for start in starts)


def median_of(measured: Iterable[tuple[float | None, float]]) -> float | None:
    """Return the metres up to which half of the seconds went by; None if none are known.

    Args:
        measured: metres, and for how many seconds.
    """
    known = sorted((metres, seconds) for metres, seconds in measured if metres is not None)
    half, gone = sum(seconds for _, seconds in known) / 2, 0.0
    for metres, seconds in known:
        gone += seconds
        if gone >= half:
            return metres
    return None


def _pieces(parts: Iterable[Within]) -> list[Within]:
    """Return the parts cut up so that none overlaps another, in order of time."""
    spans = [
        (one.from_ms, max(one.to_ms, one.from_ms + 1), one.seconds)
        for one in parts
        if one.seconds > 0
    ]
    spans.sort()
    moments = sorted({moment for span in spans for moment in span[:2]})
    active: list[tuple[float, int]] = []  # the most a millisecond first, and until when
    pieces: list[Within] = []
    upcoming = 0
    for begins, ends in pairwise(moments):
        while upcoming < len(spans) and spans[upcoming][0] <= begins:
            from_ms, to_ms, seconds = spans[upcoming]
            heapq.heappush(active, (-seconds / (to_ms - from_ms), to_ms))
            upcoming += 1
        while active and active[0][1] <= begins:
            heapq.heappop(active)
        if active:
            pieces.append(Within(begins, ends, -active[0][0] * (ends - begins)))
    return pieces
