"""Grade a contact: weighted minutes by distance, masks and place, within the infectious window.

In the manner of exposure notification: a minute within reach is multiplied by what the rules say
of how far apart the two were, of their masks and of the place; minutes outside of the infectious
window are worth nothing. Each exposure is a line of the account, and the last is what it comes to.
What is not known is taken as the worst that could be, and the line says so. The grade ranks whom to
ring first: it says nothing of whether somebody was infected, and changes nothing.

Pure: no clock, no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise

from officers.desk.grading_rules import Rules, Weighing, rules_of
from officers.desk.moments import duration_text, span_text, to_milliseconds
from officers.desk.persons import Exposure, Person
from officers.desk.within import Within, most_within, seconds_of
from protocol.sightings import MaskStatus
from protocol.v2.sightings import MaskSpan

HIGH, MEDIUM, LOW, NONE = "high", "medium", "low", "none"
LEVELS = (HIGH, MEDIUM, LOW, NONE)
"""From whom to ring first to whom not to."""
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS

__all__ = ["HIGH", "LEVELS", "LOW", "MEDIUM", "NONE", "Clinical", "Grade", "Line", "Rules", "grade"]


@dataclass(frozen=True, slots=True)
class Clinical:
    """What is known of a case's illness, as far as it says when it was infectious.

    Args:
        preset: whose rules, as `officers.desk.grading_rules.rules_of` takes it.
        onset_ms: the beginning of the day on which it began, ms UTC; of what, the preset says.
        tested_ms: the beginning of the day of the specimen, which counts without an onset.
        isolated_ms: the beginning of the day from which nobody met them; the window ends with it.
        zone: in which days are days; without, a day is 24 hours.
    """

    preset: str
    onset_ms: int | None = None
    tested_ms: int | None = None
    isolated_ms: int | None = None
    zone: tzinfo | None = None

    def infectious_window(self, rules: Rules | None = None) -> tuple[int, int] | None:
        """Return from when to when the case was infectious, ms UTC; None if it cannot be told.

        Args:
            rules: of the preset, where they have been read already.

        Raises:
            PresetInvalid: the preset cannot be used.
        """
        part = (rules or rules_of(self.preset)).preset.infectious
        if self.onset_ms is not None:
            day, before, after = self.onset_ms, part.before_onset_days, part.after_onset_days
        elif self.tested_ms is None or part.before_test_days is None:
            return None
        else:
            day, before = self.tested_ms, part.before_test_days
            after = part.after_test_days or 0
        window = self._later(day, -before), self._later(day, after + 1)
        if self.isolated_ms is not None:
            window = window[0], min(window[1], self._later(self.isolated_ms, 1))
        return window if window[0] < window[1] else None

    def _later(self, day_ms: int, days: int) -> int:
        """Return the same time of day so many days later, as the clocks of the zone show it."""
        if self.zone is None:
            return day_ms + days * _DAY_MS
        shown = datetime.fromtimestamp(day_ms / 1000, self.zone)
        return to_milliseconds(shown + timedelta(days=days))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the account: what it says, and the weighted minutes that it comes to."""

    words: str
    points: float


@dataclass(frozen=True, slots=True)
class Grade:
    """How a contact is graded.

    Args:
        level: high, medium, low or none.
        points: weighted minutes.
        lines: an exposure each, in order of time; the last is what they come to.
    """

    level: str
    points: float
    lines: tuple[Line, ...]


def grade(
    person: Person,
    rules: Rules,
    *,
    indoor: Callable[[str], bool | None],
    window: tuple[int, int] | None,
) -> Grade:
    """Grade whom a case met.

    Args:
        person: with every exposure that is known.
        rules: by which.
        indoor: camera to whether what it watches is indoors, None if that is not known.
        window: when the case was infectious; None if that is not known, so that all counts.
    """
    lines: list[Line] = []
    counted: list[Within] = []
    for one in person.exposures:
        place = rules.place(indoor(one.stay.address.camera))
        weighed = _Weighed(one, rules, place, window)
        counted += weighed.parts
        lines.append(weighed.line)
    hours = rules.preset.score.within_hours
    seconds = (
        seconds_of(counted) if hours is None else most_within(counted, window_ms=hours * _HOUR_MS)
    )
    points = seconds / 60
    level = rules.level(points)
    lines.append(Line(_sum_words(rules, points, level, window, counted=bool(counted)), points))
    return Grade(level, points, tuple(lines))


class _Weighed:
    """An exposure weighed: what counts of it, and its line."""

    def __init__(
        self, one: Exposure, rules: Rules, place: Weighing, window: tuple[int, int] | None
    ) -> None:
        met = one.contact
        metres = met.median_m if met.median_m is not None else met.nearest_m
        near = rules.distance(metres)
        begins, ends = met.from_ms, max(met.to_ms, met.from_ms + 1)
        head = (
            f"{one.stay.address.camera} {span_text(met.from_ms, met.to_ms)}, "
            f"{duration_text(met.seconds)} within reach"
        )
        inside = (begins, ends) if window is None else _overlap((begins, ends), window)
        self.parts: list[Within] = []
        if inside is None:
            side = "before" if window is not None and ends <= window[0] else "after"
            self.line = Line(f"{head}: {side} the infectious window, not counted", 0.0)
            return
        said = [_factor(near), _factor(place)]
        masks: dict[str, None] = {}
        for from_ms, until_ms, own, other in _moments(one, rules):
            part = _overlap((from_ms, until_ms), inside)
            if part is None:
                continue
            masks[f"{_factor(own)}, {_factor(other)}"] = None
            weight = near.weight * place.weight * own.weight * other.weight
            seconds = met.seconds * (part[1] - part[0]) / (ends - begins)
            if weight:
                self.parts.append(Within(*part, seconds * weight))
        said.append(" and then ".join(masks))
        if inside != (begins, ends):
            said.append("the part within the infectious window alone")
        points = sum(part.seconds for part in self.parts) / 60
        self.line = Line(f"{head}: {'; '.join(said)}", points)


def _moments(one: Exposure, rules: Rules) -> Iterator[tuple[int, int, Weighing, Weighing]]:
    """Yield from when to when both masks were as they were, and what they weigh.

    Where nothing was seen of a mask at a moment, it is what was seen over all.
    """
    met, stay = one.contact, one.stay
    begins, ends = met.from_ms, max(met.to_ms, met.from_ms + 1)
    own = [*met.masks, MaskSpan(begins, ends, stay.mask, stay.mask_confidence)]
    other = [*met.other_masks, MaskSpan(begins, ends, met.mask, met.mask_confidence)]
    edges = {begins, ends}
    for span in (*met.masks, *met.other_masks):
        edges |= {moment for moment in (span.from_ms, span.until_ms) if begins < moment < ends}
    for from_ms, until_ms in pairwise(sorted(edges)):
        yield (
            from_ms,
            until_ms,
            rules.mask("patient", *_seen(own, from_ms)),
            rules.mask("contact", *_seen(other, from_ms)),
        )


def _seen(spans: list[MaskSpan], at_ms: int) -> tuple[MaskStatus, float]:
    """Return the first span's status that was at a moment; the last of them is always."""
    span = next((s for s in spans if s.from_ms <= at_ms < s.until_ms), spans[-1])
    return span.status, span.confidence


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int] | None:
    both = max(one[0], other[0]), min(one[1], other[1])
    return both if both[0] < both[1] else None


def _factor(one: Weighing) -> str:
    return one.words if one.weight == 1 else f"{one.words} (x {one.weight:g})"


def _sum_words(
    rules: Rules,
    points: float,
    level: str,
    window: tuple[int, int] | None,
    *,
    counted: bool,
) -> str:
    """Return what the exposures come to, and why that is this level."""
    score = rules.preset.score
    if not counted and level == NONE and window is not None and not points:
        return f"{rules.title}: nothing that counts within the infectious window: none"
    over = "together" if score.within_hours is None else f"most within {score.within_hours} hours"
    least = {HIGH: score.high, MEDIUM: score.medium, LOW: score.low}.get(level)
    from_text = "" if not least else f" (from {least:g})"
    unknown = "" if window is not None else "; no infectious window is known, so all is counted"
    return f"{rules.title}, {over}: {points:.1f} weighted minutes: {level}{from_text}{unknown}"
