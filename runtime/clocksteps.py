"""Notice when this machine's clock is set: the wall clock against the one that nobody can set.

A board without a battery starts in 1970 or where it was switched off, until NTP corrects it; a
wrong time server moves it and moves it back. Durations are counted by `since_boot_ms`; what was
stamped by the wall clock is corrected by the step, since the clock that was set last is believed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runtime.clock import since_boot_ms, system_ms

STEP_MS = 1_000
"""Smaller corrections are left to the tolerance of whoever compares times."""
_READ_WITHIN_MS = 50
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on both clocks: ms UTC, and ms since the machine was started."""

    wall_ms: int
    since_boot_ms: int

    @property
    def origin_ms(self) -> int:
        """When the machine was started, by the wall clock of this moment: moves with each step."""
        return self.wall_ms - self.since_boot_ms


def read_moment(
    wall_ms: Callable[[], int] = system_ms, boot_ms: Callable[[], int] = since_boot_ms
) -> Moment:
    """Read both clocks, again if the thread was held up between them: that looks like a step."""
    for _ in range(_TRIES):
        before = boot_ms()
        wall = wall_ms()
        if boot_ms() - before <= _READ_WITHIN_MS:
            break
    return Moment(wall, before)


class StepWatch:
    """Compares each moment with the one before; for one thread, or under its owner's lock."""

    def __init__(self) -> None:
        self._origin_ms: int | None = None
        self.steps = 0
        """How many steps there were."""
        self.last_step_ms = 0
        """The last one; negative when the clock was set back."""

    @property
    def origin_ms(self) -> int | None:
        """The origin of the last moment seen (`Moment.origin_ms`); None before the first."""
        return self._origin_ms

    def step_ms(self, now: Moment) -> int:
        """Return by how much the wall clock was set since the last moment: 0 when it was not."""
        step = step_between(self._origin_ms, now)
        self._origin_ms = now.origin_ms  # in any case: NTP steers, too, and that is no step
        if step:
            self.steps += 1
            self.last_step_ms = step
        return step


def step_between(origin_ms: int | None, now: Moment) -> int:
    """Return by how much the clock was set since stamps of ``origin_ms`` were made, 0 if not."""
    step = 0 if origin_ms is None else now.origin_ms - origin_ms
    return step if abs(step) >= STEP_MS else 0
