"""The wall clock for work that must not mix two of them: noticed when set, before and during it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from runtime.clocksteps import Moment, StepWatch, read_moment, step_between

_T = TypeVar("_T")
_MOST_STEPS = 8


class ClockWasSet(Exception):
    """The clock has been set since the slots and keys at hand were chosen by it."""


class SteadyClock:
    """Watches for steps of the wall clock.

    Args:
        wall_ms: the wall clock.
        boot_ms: the clock that nobody sets, against which steps of the first are noticed.
        on_set: called with the step in milliseconds and the moment after it.
    """

    def __init__(
        self,
        wall_ms: Callable[[], int],
        boot_ms: Callable[[], int],
        on_set: Callable[[int, Moment], None],
    ) -> None:
        self._wall_ms = wall_ms
        self._boot_ms = boot_ms
        self._on_set = on_set
        self._steps = StepWatch()

    def look(self) -> Moment:
        """Return the moment that it is; a step since the last look has been dealt with by then."""
        now = read_moment(self._wall_ms, self._boot_ms)
        if step_ms := self._steps.step_ms(now):
            self._on_set(step_ms, now)
        return now

    def still_ms(self) -> int:
        """Return the wall clock, by which what is at hand has been put into slots.

        Raises:
            ClockWasSet: it is another clock by now.
        """
        now = read_moment(self._wall_ms, self._boot_ms)
        if step_between(self._steps.origin_ms, now):
            raise ClockWasSet
        return now.wall_ms

    def steadily(self, work: Callable[[], _T]) -> _T:
        """Do something by the clock as it is; when it is set meanwhile, begin again by the new one.

        Raises:
            ClockWasSet: again and again.
        """
        for _ in range(_MOST_STEPS):
            self.look()
            try:
                return work()
            except ClockWasSet:
                continue
        raise ClockWasSet("the clock is set all the time")
