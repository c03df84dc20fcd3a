"""A recording of yesterday: the patient beside a companion for minutes, and what must come of it.

A third scenario: no box watches it. The demo names the film as a recorder would, has an import
station seal it, and checks each promise here against its truth.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from demo.checks import Checks
from demo.scenario import (
    WIDTH,
    ClipTruth,
    ContactTruth,
    Scenario,
    Scene,
    Step,
    Walker,
    demo_scenario,
)

STATION: Final = "station-1"
CAMERA: Final = "cam-7"
CHANNEL: Final = "ch1"
"""What the recorder calls the camera."""
_FPS: Final = 5
_BEGINS: Final = time(10, 13, 50, tzinfo=UTC)
"""When the film begins: so that a quarter hour ends while the two stand there."""
_LASTS_S: Final = 152.0
_LONG_S: Final = 120.0
_WITHIN: Final = 0.05
"""How far measured time may be from the true one, as a share of it."""
_OR_S: Final = 2.5
"""So far it may be in any case: who comes into view is known a moment later."""
_CLOSE_WEIGHT: Final = 1.5
"""What a minute within a metre weighs by the preset of COVID-19."""


def recorded_scenario() -> Scenario:
    """Return what the recorder kept of cam-7.

    The subject and a companion come in from the left, stand beside each other for more than two
    minutes and leave to the left. Meanwhile somebody else comes up to them from the right and soon
    goes again.
    """
    story = demo_scenario()
    subject = _stands(1.0, 8.0, 560, 146.0, _LASTS_S - 1, face_px=132)
    companion = _stands(3.0, 9.0, 290, 143.0, _LASTS_S - 4, face_px=128)
    passer = (
        Step(60.0, WIDTH + 110, 262, 126),
        Step(64.0, 880, 256, 128),
        Step(74.0, 900, 256, 128),
        Step(78.0, WIDTH + 110, 262, 126),
    )
    scene = Scene(
        camera=CAMERA,
        duration_s=_LASTS_S,
        walkers=(
            Walker("biden.jpg", False, companion),
            Walker("astronaut.png", True, passer),
            Walker("obama2.jpg", False, subject),
        ),
    )
    return Scenario(story.subject, story.enrolment_photo, (scene,), fps=_FPS, seed=2022)


def _stands(
    comes_s: float, there_s: float, x: float, leaves_s: float, gone_s: float, *, face_px: float
) -> tuple[Step, ...]:
    """In from the left to `x`, a step to and fro every ten seconds, and out to the left."""
    steps = [Step(comes_s, -0.8 * face_px, 250, face_px), Step(there_s, x, 250, face_px)]
    at_s, side = there_s + 10, 1
    while at_s < leaves_s:
        steps.append(Step(at_s, x + 12 * side, 250, face_px + 2 * side))
        at_s, side = at_s + 10, -side
    steps += [Step(leaves_s, x, 250, face_px), Step(gone_s, -0.8 * face_px, 250, face_px)]
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class Recording:
    """A film as a recorder exports it: in a folder, its name says which camera and when."""

    clip: ClipTruth
    folder: Path
    began: datetime

    @classmethod
    def of_yesterday(cls, clip: ClipTruth, folder: Path) -> Recording:
        """Put a copy of the composed film into ``folder``, which is made."""
        began = datetime.combine(datetime.now(UTC) - timedelta(days=1), _BEGINS)
        recording = cls(clip, folder, began)
        folder.mkdir()
        name = f"NVR_{CHANNEL}_main_{began:%Y%m%d%H%M%S}_{recording.ended:%Y%m%d%H%M%S}.mp4"
        shutil.copy(clip.path, folder / name)
        return recording

    @property
    def ended(self) -> datetime:
        """When it ended."""
        return self.began + timedelta(seconds=self.clip.duration_s)

    @property
    def began_ms(self) -> int:
        """When it began, in milliseconds of Unix time."""
        return int(self.began.timestamp() * 1000)


def check_imported(
    checks: Checks,
    recording: Recording,
    told: Mapping[str, Any],
    again: Mapping[str, Any],
    *,
    of_the_day: bool,
) -> None:
    """Check that the film was sealed under its own day, whole, and once.

    Args:
        checks: where it is noted.
        recording: what was imported.
        told: what the import told, as JSON.
        again: what a second import of the same folder told.
        of_the_day: whether all that was heard of the camera is of the film's day.
    """
    whole = abs(told["film_s"] - recording.clip.duration_s) < 1
    checks.note(
        "a recording of yesterday is sealed under the keys of its own day",
        of_the_day and whole and told["sightings"] > 0 and told["undelivered"] == 0,
        f"{told['film_s']:.0f} s of film in {told['took_s']:.0f} s: {told['sightings']} sightings"
        f" in {told['quarter_hours']} quarter hours of {recording.began:%Y-%m-%d}",
    )
    checks.note(
        "to import it a second time adds nothing",
        again["sightings"] == again["quarter_hours"] == 0
        and [file["fate"] for file in again["files"]] == ["nothing new"],
        "; ".join(file["why"] for file in again["files"]),
    )


def check_contacts(checks: Checks, trace: Mapping[str, Any], recording: Recording) -> None:
    """Check that each companion is one contact, for as long as it was, however it was cut.

    Args:
        checks: where it is noted.
        trace: of the query for the recording, its hits confirmed by two.
        recording: what was imported.
    """
    persons = _persons(trace)
    true = sorted((_true_s(met) for met in _met(recording.clip)), reverse=True)
    seconds = sorted((float(person["seconds"]) for person in persons), reverse=True)
    hits = [hit for subject in trace["subjects"] for hit in subject["hits"]]
    confirmed = all(len(hit["confirmed_by"]) >= hit["confirmations_needed"] for hit in hits)
    checks.note(
        "more than two minutes beside one companion are one contact, of so long",
        confirmed
        and len(hits) == 1
        and len(seconds) == len(true)
        and seconds[0] > _LONG_S
        and all(map(_near_enough, seconds, true)),
        f"{', '.join(f'{one:.0f} s' for one in seconds) or 'nobody was near'}"
        f" (truly {', '.join(f'{one:.0f} s' for one in true)})",
    )


def check_graded(checks: Checks, graded: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Check that the longest contact is graded by its minutes, and by the illness.

    Args:
        checks: where it is noted.
        graded: preset to what `trace contacts` told, as JSON.
    """
    longest = {
        preset: max(subject["persons"], key=lambda one: float(one["seconds"]), default=None)
        for preset, (subject,) in graded.items()
    }
    grades = {preset: one["grade"] for preset, one in longest.items() if one is not None}
    weighted = {
        preset: float(one["seconds"]) / 60 * (_CLOSE_WEIGHT if preset == "covid-19" else 1)
        for preset, one in longest.items()
        if one is not None
    }
    checks.note(
        "contacts are graded by minutes, distance and masks, as the illness has it",
        len(grades) == len(graded) > 0
        and grades["covid-19"]["level"] == "low"
        and grades["measles"]["level"] == "high"
        and all(abs(grades[one]["weighted_minutes"] - weighted[one]) < 0.1 for one in grades),
        "; ".join(
            f"{preset}: {grade['weighted_minutes']:.1f} weighted minutes, {grade['level']}"
            for preset, grade in grades.items()
        )
        or "nobody is graded",
    )


def _persons(trace: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [person for subject in trace["subjects"] for person in subject["persons"]]


def _met(clip: ClipTruth) -> list[ContactTruth]:
    """The subject's contacts."""
    return [met for met in clip.contacts if demo_scenario().subject in met.who]


def _true_s(met: ContactTruth) -> float:
    return met.to_s - met.from_s


def _near_enough(measured_s: float, true_s: float) -> bool:
    return abs(measured_s - true_s) <= max(_OR_S, _WITHIN * true_s)
