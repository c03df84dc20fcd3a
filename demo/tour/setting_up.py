"""First chapter: films are composed, a site is made, and its processes start."""

from __future__ import annotations

import shutil

from demo.building import place_cameras
from demo.clips import compose
from demo.hard_cases import hard_scenario
from demo.local_site import CUSTODIANS, OFFICERS, LocalSite, plan_of
from demo.recorded import CAMERA, STATION, recorded_scenario
from demo.scenario import Scenario, demo_scenario
from demo.tour.stage import Stage
from provisioning.authority import open_site
from provisioning.authority.policy_holders import services
from provisioning.authority.push import officer_tls
from runtime.policy_words import permitted_text, purposes_text

STILLS = 20
"""Of how many sightings a query of the demo may ask for a picture."""


def set_up(stage: Stage, *, recorded: bool = True) -> None:
    """Make the site of ``stage`` and start all but the boxes of the harder scenes.

    Args:
        stage: of the run.
        recorded: whether to compose the film that is imported later, the longest of all.

    Raises:
        ProcessFailed: a process did not come up.
    """
    _compose(stage)
    if recorded:
        folder = stage.folder.parent / "recorded-clip"
        (stage.recorded,) = compose(recorded_scenario(), stage.photos, folder)
    _make_site(stage)
    _start_services(stage)


def boxes(scenario: Scenario) -> list[str]:
    """Return the boxes that watch the cameras of ``scenario``."""
    return [scene.camera.replace("cam-", "box-") for scene in scenario.scenes]


def _compose(stage: Stage) -> None:
    stage.tell("composing films of photographed faces before seven cameras")
    folder = stage.folder.parent
    for name, scenario in (("clips", demo_scenario()), ("hard-clips", hard_scenario())):
        stage.truth += compose(scenario, stage.photos, folder / name)


def _make_site(stage: Stage) -> None:
    stage.tell("making a site: CA, 3 custodians (2 must agree), 6 officers, 6 boxes, a station")
    if stage.folder.exists():
        shutil.rmtree(stage.folder)
    stage.folder.mkdir(parents=True)
    cameras = {clip.camera: {"source": f"file:{clip.path.resolve()}"} for clip in stage.truth}
    policy = {
        "same_place_counts": True,
        "continuation": True,
        "confirmations": 2,
        "evidence_stills": STILLS,
    }
    more = {
        "dan": ["investigator"],  # two confirm each hit
        "di": ["approver"],  # counting, following: one approval more each
    }
    plan = plan_of(
        cameras,
        bundle=stage.bundle,
        policy=policy,
        officers={**OFFICERS, **more},
        stations={STATION: [CAMERA]},
    )
    stage.site = LocalSite.create(plan, stage.folder)


def _start_services(stage: Stage) -> None:
    stage.tell("starting broker, custodians, aggregator and three boxes: 8 processes")
    site = stage.site
    site.start("broker")
    stage.listen(site.plan.broker.port)
    site.start(*CUSTODIANS, "aggregator")
    place_cameras(site, [*stage.cameras, CAMERA])
    site.start(*boxes(demo_scenario()))
    _compare_policies(stage)


def _compare_policies(stage: Stage) -> None:
    """Ask every custodian and the aggregator which policy they go by."""
    site = stage.site
    opened = open_site(site.paths.root)
    asked = services(opened, officer_tls(opened, site.officer("ana")))
    others = [one.name for one in asked if not one.holds(opened.policy.digest)]
    stage.checks.note(
        "custodians and aggregator go by the policy that the authority signed",
        not others,
        ", ".join(others)
        or f"for {purposes_text(opened.policy)}; permits: {permitted_text(opened.policy)}",
    )
