"""What cameras of streets see and faces alone do not tell, and what must be told of it.

A second scenario beside the story's: the demo composes it, lets boxes watch it, and checks each
promise here against its truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from demo.checks import Checks
from demo.scenario import (
    FROM_BEHIND,
    ClipTruth,
    Scenario,
    Scene,
    Step,
    Walker,
    demo_scenario,
    mirrored,
    walk,
)
from protocol.v2.counts import Counts

MASKED: Final = "cam-4"
DARK: Final = "cam-5"
FACELESS: Final = "cam-6"
_TURNED: Final = (Step(0.0, 850, 112, 88), Step(6.0, 862, 112, 88), Step(12.0, 846, 112, 88))
_SUBJECT: Final = (
    Step(0.4, -90, 170, 100),
    Step(4.0, 520, 172, 104),
    Step(8.5, 545, 172, 104),
    Step(12.0, -90, 170, 100),
)
_FIFTH, _EIGHTH = 0.2, 0.12
"""So much light that a bare face is still known for one, and so little that nothing is."""
_NEAR_ENOUGH_M: Final = 0.4
"""How far a distance by body height may be from one by the height of faces."""
_LONG_ENOUGH_S: Final = 2.5
_NOT_TOLD: Final = Counts()
"""Of a camera whose box sealed no counts."""


def hard_scenario() -> Scenario:
    """Return what the cameras besides the story's see.

    cam-4: the subject comes masked, stands beside somebody who turns his back, and goes again.
    cam-5: two strangers in the dark, both bare, one in a fifth of the light, one in an eighth.
    cam-6: the subject in the clothes of cam-4 shows no face; then a stranger comes in others.
    """
    story = demo_scenario()
    masked = Scene(
        camera=MASKED,
        duration_s=12.5,
        walkers=(
            Walker(FROM_BEHIND, None, _TURNED),
            Walker("obama2.jpg", True, _SUBJECT),
        ),
    )
    dark = Scene(
        camera=DARK,
        duration_s=13.0,
        walkers=(
            Walker("astronaut.png", False, mirrored(walk(0.3, 6.3, 240, (120, 130)))),
            Walker("biden.jpg", False, walk(6.7, 12.7, 250, (130, 140))),
        ),
        light=(_FIFTH, _EIGHTH),
    )
    faceless = Scene(
        camera=FACELESS,
        duration_s=13.0,
        walkers=(
            Walker("obama2.jpg", None, walk(0.3, 7.3, 210, (130, 136))),
            Walker("astronaut.png", False, walk(6.7, 12.7, 240, (120, 130))),
        ),
    )
    scenes = (masked, dark, faceless)
    return Scenario(story.subject, story.enrolment_photo, scenes, seed=2021)


def check_masked(checks: Checks, hits: Sequence[Mapping[str, Any]]) -> None:
    """Check that the subject was found masked, by the hits of the trace."""
    here = _at(MASKED, hits)
    checks.note(
        f"the patient is found at {MASKED} though masked, and said to be",
        [hit["mask"] for hit in here] == ["masked"],
        "; ".join(f"{hit['mask']}, score {hit['score']:.2f}" for hit in here) or "not found",
    )


def check_turned_away(
    checks: Checks, hits: Sequence[Mapping[str, Any]], truth: Sequence[ClipTruth]
) -> None:
    """Check that who turned his back beside the subject is a contact, of unknown mask."""
    (clip,) = (clip for clip in truth if clip.camera == MASKED)
    (met,) = clip.contacts
    contacts = [contact for hit in _at(MASKED, hits) for contact in hit["contacts"]]
    lasted_s = met.to_s - met.from_s
    said = "; ".join(
        f"mask {contact['mask']}, {contact['distance_m']} m, {contact['seconds']} s"
        for contact in contacts
    )
    checks.note(
        "who stands beside the patient with his back to the camera is a contact",
        [contact["mask"] for contact in contacts] == ["unknown"]
        and abs(contacts[0]["distance_m"] - met.nearest_m) < _NEAR_ENOUGH_M
        and abs(contacts[0]["seconds"] - lasted_s) < _LONG_ENOUGH_S,
        f"{said or 'nobody was near'} (truly {met.nearest_m} m, {lasted_s:.1f} s)",
    )


def check_dark(
    checks: Checks,
    hits: Sequence[Mapping[str, Any]],
    counts: Mapping[str, Counts],
    truth: Sequence[ClipTruth],
) -> None:
    """Check that strangers in the dark were seen, are nobody, and wear what nobody could see.

    Args:
        counts: of each camera, as its box sealed them for queries that ask how many were there.
    """
    (clip,) = (clip for clip in truth if clip.camera == DARK)
    seen, found = counts.get(DARK, _NOT_TOLD), _at(DARK, hits)
    checks.note(
        f"strangers in the dark of {DARK} are seen and match nobody",
        not found and seen.people == len(clip.sightings),
        f"{seen.people} of {len(clip.sightings)} people seen, {len(found)} candidates",
    )
    checks.note(
        "darkness puts a mask on nobody, and of whom too little is seen it tells nothing",
        seen.masked == seen.changed == 0 and seen.unmasked <= 1 <= seen.unknown,
        f"{seen.masked + seen.changed} masked, {seen.unmasked} unmasked, {seen.unknown} unknown",
    )


def check_followed(checks: Checks, trace: Mapping[str, Any]) -> None:
    """Check that clothes led from the subject's hit to where no face showed, and to nobody else.

    Args:
        trace: of a query that follows by clothes, its hits confirmed.
    """
    (subject,) = trace["subjects"]
    led_to = [(stay["camera"], stay["mask"]) for stay in subject["continuations"]]
    checks.note(
        f"their clothes lead from {MASKED} to {FACELESS}, where the patient shows no face",
        led_to == [(FACELESS, "unknown")] and not _at(FACELESS, subject["hits"]),
        ", ".join(
            f"dressed alike at {stay['camera']} (score {stay['score']:.2f}), no hit"
            for stay in subject["continuations"]
        )
        or "led nowhere",
    )


def _at(camera: str, hits: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [hit for hit in hits if hit["camera"] == camera]
