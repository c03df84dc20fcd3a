"""Whether an opened sighting can be true: the time at which its slot says it was sealed.

Boxes draw a key for each quarter hour and forget it, so a sighting that lies elsewhere in time than
the slot under whose key it opened was made up, or stamped by software that does not do as it says.
"""

from __future__ import annotations

from protocol.names import SLOT_MS, slot_start_ms
from protocol.sightings import Sighting
from protocol.v2.sightings import Row

LATE_MS = 600_000
"""So late a box still puts what ended before into the running slot (`sealing.late_s`, at most)."""
AHEAD_MS = 5_000
LONGEST_MS = 120_000
"""Twice the longest that a box may be set to follow somebody as one sighting."""


def why_impossible(sighting: Sighting, *, epoch: int, slot: int) -> str:
    """Return why a sighting that opened under this slot's key cannot be true; empty if it can."""
    met_ms = (met.seconds * 1000 for met in sighting.encounters)
    longest_ms = max(met_ms, default=0.0)
    return _why(sighting.first_seen_ms, sighting.last_seen_ms, longest_ms, epoch=epoch, slot=slot)


def why_row_impossible(row: Row, *, epoch: int, slot: int) -> str:
    """Return why a row whose key is of this slot cannot be true; empty if it can."""
    longest_ms = max((met.within_s * 1000 for met in row.encounters), default=0.0)
    why = _why(row.first_ms, row.last_ms, longest_ms, epoch=epoch, slot=slot)
    if not why and any(
        met.first_ms < row.first_ms - LONGEST_MS or met.last_ms > row.last_ms + AHEAD_MS
        for met in row.encounters
    ):
        return "it met somebody long before it began, or after it ended"
    return why


def _why(first_ms: int, last_ms: int, longest_met_ms: float, *, epoch: int, slot: int) -> str:
    begin_ms = slot_start_ms(epoch, slot)
    if not begin_ms - LATE_MS <= last_ms < begin_ms + SLOT_MS + AHEAD_MS:
        return "it ends outside of its slot"
    if not 0 <= last_ms - first_ms <= LONGEST_MS:
        return "it lasts longer than a box follows anybody"
    if longest_met_ms > LONGEST_MS:
        return "it met somebody for longer than a box follows anybody"
    return ""
