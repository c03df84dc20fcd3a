"""Who was lost in the middle of the picture and is found there again: one person, not two.

A tracker loses people whom a detector misses for a moment, or before whom somebody walks. Whoever
then begins close to where one was lost, within seconds and in clothes of the same colours, is that
person; unless somebody else fits nearly as well, or they were lost where people leave the picture.
Where that is not certain they stay two: nobody is joined to a stranger. Places and colours are kept
for as long as somebody may come back, then overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.vision.arrays import Doubles, Ints
from edge_agent.vision.people import NO_BODY, Bodies

_ALIKE = 0.93  # likeness (Bhattacharyya) of the colours: nine in ten of one person reach it
_MOTION_KEPT = 0.6  # of how somebody moves, when they are seen again
_LOOKS_KEPT = 0.7  # of somebody's looks, when new ones come in
_NEAR, _GOES_ON = 0.25, 0.2  # in body heights: how far from the way at once, and each second
_SIZE_CHANGE = 1.4
_KNOWN_BY, _TOLD_BY = 8, 2  # so many looks at who is lost, and at who begins
_CLEARLY = 2.0  # so many times farther is whom it might be as well
_EDGE = 0.3  # in widths of a body: so near to the side of a picture people leave it
_FEET_CUT = 0.985  # of the picture's height
_FEET_CUT_MS = 2000  # who stands at its lower edge is believed to come back for so long
_YOUNG_MS = 3500
"""So long after somebody begins it may come out whom they go on as: while those may be hidden."""


@dataclass(slots=True)
class _Known:
    """Where somebody was seen, first and last, and in which colours."""

    first_ms: int
    last_ms: int
    box: Doubles
    looks: Doubles
    first_box: Doubles
    velocity: Doubles  # of the middle of the top, px a second
    seen: int = 1

    def wipe(self) -> None:
        """Overwrite it."""
        for kept in (self.box, self.looks, self.first_box, self.velocity):
            kept.fill(0)


class Absences:
    """The people of one camera who were lost a moment ago, by number."""

    def __init__(self, longest_s: float) -> None:
        """Begin with nobody.

        Args:
            longest_s: who is away for longer has gone; 0 for never taking anybody for another.
        """
        self._longest_ms = round(1000 * longest_s)
        self._here: dict[int, _Known] = {}
        self._away: dict[int, _Known] = {}

    @property
    def away(self) -> frozenset[int]:
        """The numbers of those who may come back."""
        return frozenset(self._away)

    def note(
        self, at_ms: int, persons: Ints, rows: Ints, bodies: Bodies, looks: Doubles | None
    ) -> None:
        """Note where people are.

        Args:
            at_ms: when the frame was captured.
            persons: numbers (k,) of who is seen in it.
            rows: (k,) whose row of `bodies` is each one's, or `NO_BODY`.
            bodies: all that were found in it.
            looks: of each of these a histogram (n, d).
        """
        if looks is None or not self._longest_ms:
            return
        for number, row in zip(persons.tolist(), rows.tolist(), strict=True):
            if row == NO_BODY:
                continue
            known = self._here.get(number)
            box = bodies.boxes[row].astype(np.float64)
            if known is None:
                self._here[number] = _Known(
                    at_ms, at_ms, box, looks[row].copy(), box.copy(), np.zeros(2)
                )
                continue
            if at_ms > known.last_ms:
                moved = 1000 * (_top(box) - _top(known.box)) / (at_ms - known.last_ms)
                known.velocity = _MOTION_KEPT * known.velocity + (1 - _MOTION_KEPT) * moved
            known.last_ms, known.box, known.seen = at_ms, box, known.seen + 1
            known.looks = _LOOKS_KEPT * known.looks + (1 - _LOOKS_KEPT) * looks[row]

    def merge(self, gone: int, into: int) -> None:
        """Let two numbers be one person's."""
        one, other = self._here.pop(gone, None), self._here.get(into)
        if one is not None and other is not None:
            other.first_ms = min(one.first_ms, other.first_ms)
            one.wipe()
        elif one is not None:
            self._here[into] = one

    def go_on(self, earlier: int, later: int) -> None:
        """Let somebody have another number from now on."""
        known = self._here.pop(earlier, None)
        if known is not None:
            self._here[later] = known

    def lose(self, number: int, frame_size: tuple[int, int]) -> None:
        """Note that somebody is no longer followed; whom the picture's edge hides has gone.

        Args:
            number: theirs.
            frame_size: height and width, px.
        """
        known = self._here.pop(number, None)
        if known is None:
            return
        left, _, width, _ = known.box.tolist()
        if left < _EDGE * width or left + width > frame_size[1] - _EDGE * width:
            known.wipe()
        else:
            self._away[number] = known

    def forget(self, number: int) -> None:
        """Overwrite what is known of somebody who is no person, or will not come back."""
        for kept in (self._here, self._away):
            known = kept.pop(number, None)
            if known is not None:
                known.wipe()

    def flush(self) -> None:
        """Forget everybody: the next frame may be of any time, or of another scene."""
        for number in (*self._here, *self._away):
            self.forget(number)

    def expire(self, at_ms: int) -> bool:
        """Forget who has been away for too long by ``at_ms``; tell whether anybody was.

        Whoever began in time may yet turn out to be one of them, once it is sure that those are
        lost.
        """
        until_ms = at_ms - self._longest_ms - _YOUNG_MS
        late = [number for number, known in self._away.items() if known.last_ms < until_ms]
        for number in late:
            self.forget(number)
        return bool(late)

    def returned(
        self, at_ms: int, persons: Iterable[int], frame_size: tuple[int, int]
    ) -> list[tuple[int, int]]:
        """Return who of those seen now is somebody who was lost: (number now, number before).

        Args:
            at_ms: now.
            persons: who is seen.
            frame_size: height and width, px.
        """
        young = [
            number
            for number in persons
            if number in self._here and at_ms - self._here[number].first_ms <= _YOUNG_MS
        ]
        if not young or not self._away:
            return []
        lost = sorted(self._away)
        far = np.array(
            [[self._apart(self._here[n], self._away[o], frame_size) for o in lost] for n in young]
        )
        found = []
        for row, number in enumerate(young):
            column = int(np.argmin(far[row]))
            if (
                np.isfinite(far[row, column])
                and _clear(far[row], column)
                and _clear(far[:, column], row)
            ):
                found.append((number, lost[column]))
        for number, before in found:
            known = self._away.pop(before)
            again = self._here[number]
            again.first_ms, again.seen = known.first_ms, again.seen + known.seen
            known.wipe()
        return found

    def _apart(self, now: _Known, before: _Known, frame_size: tuple[int, int]) -> float:
        """How far from the way of somebody lost another begins, in body heights; inf: not they."""
        gap_ms = now.first_ms - before.last_ms
        cut = before.box[1] + before.box[3] >= _FEET_CUT * frame_size[0]
        if not 0 < gap_ms <= (min(self._longest_ms, _FEET_CUT_MS) if cut else self._longest_ms):
            return float("inf")
        if before.seen < _KNOWN_BY or now.seen < _TOLD_BY:
            return float("inf")
        sizes = now.first_box[2:], before.box[2:]
        ratio = float(np.sqrt(sizes[0].prod() / max(sizes[1].prod(), 1e-6)))
        height = float(max(sizes[0][1], sizes[1][1], 1.0))
        expected = _top(before.box) + before.velocity * gap_ms / 1000
        apart = float(np.hypot(*(_top(now.first_box) - expected))) / height
        alike = float(np.sqrt(now.looks) @ np.sqrt(before.looks))
        near = apart <= _NEAR + _GOES_ON * gap_ms / 1000
        if not near or alike < _ALIKE or not 1 / _SIZE_CHANGE <= ratio <= _SIZE_CHANGE:
            return float("inf")
        return apart


def _clear(far: Sequence[float] | Doubles, at: int) -> bool:
    """Whether all others are clearly farther than the one at ``at``."""
    others = np.delete(np.asarray(far, np.float64), at)
    return bool((others > _CLEARLY * far[at] + _NEAR / 2).all())


def _top(box: Doubles) -> Doubles:
    """The middle of a box's upper edge, where a body is seen though its feet are hidden."""
    return np.asarray(box[:2] + np.array([box[2] / 2, 0.0]), np.float64)
