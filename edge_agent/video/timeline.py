"""Makes one rising time of a recording's timestamps, which may be missing, jump or begin anew."""

from __future__ import annotations

MAX_LEAP_S = 3600.0
"""A timestamp further ahead of the one before, and beyond the length that the file states, is
damage: recorders that pause for longer begin a new file."""
_MAX_STAMP_S = 1e10
"""Beyond this, 300 years, it is no time; seconds since 1970 are one."""
_MAX_USUAL_S = 1.0
_SAME_S = 1e-6
_LEAST_S = 0.001
"""How much later than the one before a picture is whose timestamp is not believed, so that any good
one that comes next still follows it."""


class Timeline:
    """Times of pictures in seconds since the first, each later than the one before.

    Where timestamps begin anew, as in recordings that were joined, time goes on from there by the
    usual interval, and then as the timestamps say. One alone that does not fit is not believed.

    Args:
        fps: frames a second, for pictures without a timestamp.
        length_s: the length that the source states; None if it does not.
    """

    def __init__(self, fps: float, length_s: float | None = None) -> None:
        self._usual_s = 1.0 / fps
        self._length_s = length_s
        self._stamp_s: float | None = None  # the last that was believed
        self._offset_s = 0.0
        # The last that was not, and the time at which its picture would be if it were true.
        self._doubted: tuple[float, float] | None = None
        self.last_s: float | None = None
        """The time given last."""
        self.jumps = 0
        """How often timestamps were begun anew."""

    @property
    def next_s(self) -> float:
        """The time at which another picture would be expected."""
        return 0.0 if self.last_s is None else self.last_s + self._usual_s

    def place(self, stamp_s: float | None) -> float:
        """Return the time of the next picture.

        Args:
            stamp_s: its own timestamp in seconds, from any beginning; None if it has none.
        """
        at_s = self.next_s
        if stamp_s is not None and abs(stamp_s) < _MAX_STAMP_S:
            at_s = self._place(stamp_s)
        self.last_s = at_s
        return at_s

    def _place(self, stamp_s: float) -> float:
        if self._stamp_s is None:
            return self._believe(stamp_s, self.next_s - stamp_s)
        if self._follows(stamp_s, self._stamp_s, self._offset_s):
            return self._believe(stamp_s, self._offset_s)
        if self._doubted is not None:
            # Two in a row that agree with each other: time was begun anew.
            earlier_s, its_time_s = self._doubted
            if self._follows(stamp_s, earlier_s, its_time_s - earlier_s):
                self.jumps += 1
                return self._believe(stamp_s, its_time_s - earlier_s)
        self._doubted = stamp_s, self.next_s
        return (self.last_s or 0.0) + _LEAST_S

    def _believe(self, stamp_s: float, offset_s: float) -> float:
        if self._stamp_s is not None and _LEAST_S <= stamp_s - self._stamp_s <= _MAX_USUAL_S:
            self._usual_s = stamp_s - self._stamp_s
        self._stamp_s, self._offset_s, self._doubted = stamp_s, offset_s, None
        return stamp_s + offset_s

    def _follows(self, stamp_s: float, earlier_s: float, offset_s: float) -> bool:
        at_s = stamp_s + offset_s
        if self.last_s is not None and at_s < self.last_s + _SAME_S:
            return False
        if stamp_s - earlier_s <= MAX_LEAP_S:
            return True
        return self._length_s is not None and at_s <= self._length_s
