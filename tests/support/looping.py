"""A site whose one box sees two people walk past again and again; camera 2 is for tests."""

from __future__ import annotations

from pathlib import Path

from running_site import plan_with_dan

from demo.clips import compose
from demo.local_site import Broker
from demo.scenario import ClipTruth, Scenario, Scene, Step, Walker
from provisioning.formats.plan import SitePlan


def compose_short_clip(photos: Path, folder: Path) -> ClipTruth:
    """Compose four seconds in which two people walk past, one after the other; for a loop."""

    def crossing(start_s: float, y: float) -> tuple[Step, ...]:
        return (Step(start_s, -110, y, 150), Step(start_s + 2.4, 1390, y + 8, 150))

    scene = Scene(
        camera="cam-1",
        duration_s=4.0,
        walkers=(
            Walker("biden.jpg", False, crossing(0.1, 470)),
            Walker("obama2.jpg", False, crossing(0.9, 190)),
        ),
    )
    scenario = Scenario(subject="obama", enrolment_photo="obama.jpg", scenes=(scene,))
    return compose(scenario, photos, folder)[0]


def looping_plan(clip: ClipTruth, bundle: Path, broker: Broker) -> SitePlan:
    """Return a plan in which every sighting is an envelope at once, and silence is noticed soon."""
    source = f"file:{clip.path.resolve()}"
    return plan_with_dan(
        {"cam-1": {"source": source, "loop": True}, "cam-2": {"source": "file:none.mp4"}},
        bundle=bundle,
        broker=broker,
        policy={"cover": "off"},  # live envelopes leave whether or not anybody asks
        box_settings={
            "sealing": {"batch": 1, "live_after_s": 0.5},
            "outbox": {"resend_after_s": 4},
            "mqtt": {"keepalive_s": 5},
            # Faces are large here: a smaller picture and fewer crops of each find the same people.
            "vision": {
                "detect_width": 480,
                "detect_height": 270,
                "person_width": 256,
                "person_height": 160,
                "crops_per_track": 3,
            },
        },
        aggregator_settings={"mqtt": {"keepalive_s": 5}},
    )
