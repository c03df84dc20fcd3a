"""From when to when a draft asks, and how it is said of a field that it is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from officers.desk.drafts import SavedDraft
from officers.desk.moments import MomentInvalid, parse_moment, to_milliseconds, whole_slots
from officers.desk.officer import Officer
from officers.desk.phrases import Phrase, phrase
from protocol.names import SLOT_MS
from runtime.errors import OperationError
from runtime.zones import TimeInvalid, site_zone

Step = Literal["who", "where", "when", "why"]
STEPS: tuple[Step, ...] = ("who", "where", "when", "why")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a draft from being a query, and in which field."""

    step: Step
    field: str
    words: Phrase


class StepWrong(OperationError):
    """One trouble, raised."""

    def __init__(self, step: Step, field: str, words: Phrase) -> None:
        super().__init__(words)
        self.trouble = Trouble(step, field, words)


@dataclass(frozen=True, slots=True)
class DraftWindow:
    """From when to when, as it was meant and as it opens (ms UTC, whole quarter hours)."""

    starts: datetime
    ends: datetime
    window_from_ms: int
    window_to_ms: int
    live: bool = False

    @property
    def quarter_hours(self) -> int:
        """How many it takes."""
        return (self.window_to_ms - self.window_from_ms) // SLOT_MS

    @property
    def widened(self) -> bool:
        """Whether it opens more than was meant."""
        meant = (to_milliseconds(self.starts), to_milliseconds(self.ends))
        return meant != (self.window_from_ms, self.window_to_ms)


def window_of(officer: Officer, draft: SavedDraft, *, now: datetime) -> DraftWindow:
    """Return the window that a draft asks for; without an end, until the last quarter hour over.

    Raises:
        StepWrong: a field of it says no moment, or the window is none.
    """
    zone = site_zone(officer.config.time_zone)

    def moment_of(field: str, day: str, time: str) -> datetime:
        if not (day and time):
            words = phrase("Give the day and the time of day.")
            raise StepWrong("when", field if not day else field.replace("day", "time"), words)
        try:
            return parse_moment(f"{day} {time}", now=now, zone=zone)
        except MomentInvalid as error:
            words = phrase("This is no day and time. Write them as 2031-05-04 and 10:00.")
            raise StepWrong("when", field, words) from error
        except TimeInvalid as error:
            words = phrase(
                "The clocks change on that day, so that this time does not exist, or exists twice. "
                "Choose another."
            )
            raise StepWrong("when", field.replace("day", "time"), words) from error

    starts = moment_of("from_day", draft.from_day, draft.from_time)
    if draft.to_day or draft.to_time:
        ends = moment_of("to_day", draft.to_day, draft.to_time)
    elif draft.live:
        words = phrase("Say until when to watch.")
        raise StepWrong("when", "to_day", words)
    else:
        over_ms = to_milliseconds(now) // SLOT_MS * SLOT_MS
        ends = datetime.fromtimestamp(over_ms / 1000, UTC)
    try:
        from_ms, to_ms = whole_slots(starts, ends)
    except MomentInvalid as error:
        words = phrase("The window ends before it begins. Give a later end, or an earlier start.")
        raise StepWrong("when", "to_day", words) from error
    return DraftWindow(starts, ends, from_ms, to_ms, draft.live)
