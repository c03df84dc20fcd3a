"""Whether an opened sighting can be true: the time at which its slot says it was sealed.

Boxes draw a key for each quarter hour and forget it, so a sighting that lies elsewhere in time than
the slot under whose key it opened was made up, or stamped by software that does not do as it says.
"""

from __future__ import annotations

from protocol.names import SLOT_MS, slot_start_ms
from protocol.sightings import Sighting

LATE_MS = 600_000
"""So late a box still puts what ended before into the running slot (`sealing.late_s`, at most)."""
AHEAD_MS = 5_000
LONGEST_MS = 120_000
"""Twice the longest that a box may be set to follow somebody as one sighting."""


def why_impossible(sighting: Sighting, *, epoch: int, slot: int) -> str:
    """Return why a sighting that opened under this slot's key cannot be true; empty if it can."""
    begin_ms = slot_start_ms(epoch, slot)
    if not begin_ms - LATE_MS <= sighting.last_seen_ms < begin_ms + SLOT_MS + AHEAD_MS:
        return "it ends outside of its slot"
    lasted_ms = sighting.last_seen_ms - sighting.first_seen_ms
    if not 0 <= lasted_ms <= LONGEST_MS:
        return "it lasts longer than a box follows anybody"
    if any(met.seconds * 1000 > LONGEST_MS for met in sighting.encounters):
        return "it met somebody for longer than a box follows anybody"
    return ""
