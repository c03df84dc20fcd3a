"""What cameras of streets see and faces alone do not tell, and what must be told of it.

A second scenario beside the story's: the demo composes it, lets boxes watch it, and checks each
promise here against its truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from demo.checks import Checks
from demo.scenario import (
    Scenario,
    Scene,
    Step,
    Walker,
    demo_scenario,
)

MASKED: Final = "cam-4"
_SUBJECT: Final = (
    Step(0.4, -90, 170, 100),
    Step(4.0, 520, 172, 104),
    Step(8.5, 545, 172, 104),
    Step(12.0, -90, 170, 100),
)


def hard_scenario() -> Scenario:
    """Return what the cameras besides the story's see.

    cam-4: the subject comes masked, stays for a while, and goes again.
    """
    story = demo_scenario()
    masked = Scene(
        camera=MASKED,
        duration_s=12.5,
        walkers=(Walker("obama2.jpg", True, _SUBJECT),),
    )
    return Scenario(story.subject, story.enrolment_photo, (masked,), seed=2021)


def check_masked(checks: Checks, hits: Sequence[Mapping[str, Any]]) -> None:
    """Check that the subject was found masked, by the hits of the trace."""
    here = _at(MASKED, hits)
    checks.note(
        f"the patient is found at {MASKED} though masked, and said to be",
        [hit["mask"] for hit in here] == ["masked"],
        "; ".join(f"{hit['mask']}, score {hit['score']:.2f}" for hit in here) or "not found",
    )


def _at(camera: str, hits: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [hit for hit in hits if hit["camera"] == camera]
