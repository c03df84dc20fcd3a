"""When live envelopes of a camera may leave the box: what the site's policy calls the cover.

Live envelopes tell whoever watches the network at which second somebody passed. Under "slots" they
leave while a live query in force asks for the camera, and else nothing leaves but segments; under
"steady" one leaves every so many seconds, with somebody in it or without, whoever asks. The box
takes each decision itself (`edge_agent.notices`), and without any notice holds back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from protocol.directory_forms import SECOND
from protocol.policy import COVER_OFF, COVER_STEADY
from protocol.sightings import MAX_BATCH
from protocol.v2.notices import Standing
from runtime.trust import Trust

STEADY_BATCH = 4
"""Without encounters so many are of the size of none (`protocol.v2.padding`)."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """How live envelopes of one camera leave now.

    Args:
        publish: whether any leave.
        every_s: one every so many seconds, empty or not; 0: as sightings come.
    """

    publish: bool
    every_s: int = 0

    @property
    def most(self) -> int:
        """How many sightings one may hold: so few, where it must not tell how many there are."""
        return STEADY_BATCH if self.every_s else MAX_BATCH

    def due(
        self, *, waiting: int, batch: int, waited_s: float, live_after_s: float, since_s: float
    ) -> bool:
        """Tell whether a live envelope is to be sealed now.

        Args:
            waiting: sightings that are in no live envelope.
            batch: when so many wait, one is due, whatever the time.
            waited_s: for how long the oldest of them has waited.
            live_after_s: for how long it may.
            since_s: since this camera's last live envelope.
        """
        if not self.publish:
            return False
        if self.every_s:
            return since_s >= self.every_s
        return waiting >= batch or (waiting > 0 and waited_s >= live_after_s)


HELD_BACK = Cadence(False)
AS_THEY_COME = Cadence(True)
LivePolicy = Callable[[int], Cadence]
"""Gives the cadence of one camera by its time (ms UTC)."""


def as_they_come(_now_ms: int) -> Cadence:
    """Live envelopes as sightings come: what a camera does that no policy speaks of."""
    return AS_THEY_COME


class Cover:
    """Decides for all cameras of a box.

    Args:
        trust: whose directory is in force; one of the first form is of a site that gives no
            notices, and live envelopes leave as they always have there.
        standing: gives what stands by the newest notice, None while none has come.
    """

    def __init__(self, trust: Trust, standing: Callable[[], Standing | None]) -> None:
        self._trust = trust
        self._standing = standing

    def of(self, camera: str) -> LivePolicy:
        """Return the decision for one camera."""
        return lambda now_ms: self._decide(camera, now_ms)

    def _decide(self, camera: str, now_ms: int) -> Cadence:
        if self._trust.directory.form < SECOND:
            return AS_THEY_COME
        stands = self._standing()
        if stands is None:
            return HELD_BACK
        policy = stands.policy
        if policy.cover == COVER_OFF:
            return AS_THEY_COME
        if policy.cover == COVER_STEADY:
            return Cadence(True, policy.cover_interval_s)
        until_ms = stands.live_until_ms(camera, now_ms)
        return HELD_BACK if until_ms is None or now_ms >= until_ms else AS_THEY_COME
