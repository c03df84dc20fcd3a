"""The main job: a patient is looked for, found where they walked, and the trace held to truth."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demo.hard_cases import (
    FACELESS,
    MASKED,
    check_followed,
    check_masked,
    check_turned_away,
    hard_scenario,
)
from demo.officers import Filed, Officers
from demo.scenario import ClipTruth, demo_scenario
from demo.tour.setting_up import boxes
from demo.tour.stage import SUBJECT, Stage

FLUSH_S = 2.0
LIVE_WITHIN_S = 3.0


def trace_patient(stage: Stage, officers: Officers) -> tuple[Path, Filed]:
    """Trace the patient live; return their subject file and the query, which still stands.

    Raises:
        ProcessFailed: a process or command failed.
    """
    subject = _enrol(stage, officers)
    filed = _file_and_approve(stage, officers, subject)
    _await_trace(stage, officers, filed)
    _compare_with_truth(stage, officers, filed)
    _follow(stage, officers, subject)
    _live_hit(stage, officers, filed)
    return subject, filed


def _enrol(stage: Stage, officers: Officers) -> Path:
    stage.tell("the investigator enrols the patient from a photo")
    return officers.enrol(SUBJECT, stage.photos / demo_scenario().enrolment_photo)


def _file_and_approve(stage: Stage, officers: Officers, subject: Path) -> Filed:
    stage.tell("the investigator files a query that counts people too; three approvers sign it")
    filed = officers.file(
        subject, cameras=stage.cameras, begin="-15m", end="+30m", live=True, counts=True
    )
    officers.approve(filed, "bo", "cy", "di")
    return filed


def _await_trace(stage: Stage, officers: Officers, filed: Filed) -> None:
    stage.tell("the cameras' clips play; custodians grant, the aggregator matches")
    _await_matched(stage, officers, filed, len(demo_scenario().scenes))
    stage.tell("harder: a masked patient, somebody from behind, the dark, no face at all")
    stage.site.start(*boxes(hard_scenario()))
    told = _await_matched(stage, officers, filed, len(stage.truth))
    stage.of_the_clips = stage.segments()
    wanted = len(_walks_of_subject(stage))
    stage.checks.note(
        "the patient is a candidate where they walked, nobody else is anywhere",
        told["candidates"] == wanted,
        f"{told['candidates']} candidates, {wanted} walks of the patient",
    )


def _await_matched(stage: Stage, officers: Officers, filed: Filed, cameras: int) -> dict[str, Any]:
    return officers.wait(
        filed,
        lambda told: (
            len(stage.segments()) >= cameras and told["progress"].get("segments", 0) >= cameras
        ),
        timeout_s=60,
        what="all clips matched",
    )


def _compare_with_truth(stage: Stage, officers: Officers, filed: Filed) -> None:
    stage.tell("two investigators confirm the candidates, each on their own machine")
    officers.confirm(filed, "ana")
    alone = [hit for subject in officers.shown(filed)["subjects"] for hit in subject["hits"]]
    officers.confirm(filed, "dan")
    stage.trace = officers.trace(filed)
    stage.checks.note(
        "what one investigator confirms is no hit before the other has",
        not alone and any(subject["hits"] for subject in stage.trace["subjects"]),
        f"{len(alone)} hits by one word, "
        f"{sum(len(subject['hits']) for subject in stage.trace['subjects'])} by two",
    )
    hits = [hit for subject in stage.trace["subjects"] for hit in subject["hits"]]
    scenario = demo_scenario()
    for clip in stage.truth[: len(scenario.scenes)]:
        here = [hit for hit in hits if hit["camera"] == clip.camera]
        walks = [seen for seen in clip.sightings if seen.who == scenario.subject]
        seen = [(hit["mask"], _contact_masks(hit)) for hit in here]
        expected = [
            (_mask(walk.masked), _expected_contacts(clip, scenario.subject)) for walk in walks
        ]
        stage.checks.note(
            f"the trace at {clip.camera} is what happened there (mask, contacts' masks)",
            seen == expected,
            _said(seen) if seen else "the patient never came",
        )
    check_masked(stage.checks, hits)
    check_turned_away(stage.checks, hits, stage.truth)


def _follow(stage: Stage, officers: Officers, subject: Path) -> None:
    stage.tell("a query that three approvers sign follows the patient by their clothes")
    cameras = [MASKED, FACELESS]
    filed = officers.file(
        subject, cameras=cameras, begin="-15m", end="+30m", live=True, follow=True
    )
    officers.approve(filed, "bo", "cy", "di")
    officers.wait(
        filed, lambda told: told["candidates"] >= 1, timeout_s=60, what="the hit to follow from"
    )
    officers.confirm_all(filed)
    officers.wait(
        filed, lambda told: told["candidates"] >= 2, timeout_s=60, what="who is dressed alike"
    )
    check_followed(stage.checks, officers.shown(filed))  # exports keep back the undecided


def _live_hit(stage: Stage, officers: Officers, filed: Filed) -> None:
    stage.tell("the patient walks past camera 1 again while the query stands")
    before = int(officers.show(filed)["candidates"])
    box = stage.site.services["box-1"]
    box.stop()
    box.start()
    officers.wait(filed, lambda told: told["candidates"] > before, timeout_s=60, what="a live hit")
    officers.confirm_all(filed)
    hits = [
        hit
        for subject in officers.trace(filed)["subjects"]
        for hit in subject["hits"]
        if hit["camera"] == "cam-1"
    ]
    ended_ms = max(_ms(hit["to"]) for hit in hits)
    found = stage.site.services["aggregator"].events("candidates_found")[-1]
    delay_s = (_ms(str(found["timestamp"])) - ended_ms) / 1000
    stage.checks.note(
        f"a live hit shows within {LIVE_WITHIN_S:g} s and the {FLUSH_S:g} s of a batch",
        0 <= delay_s <= LIVE_WITHIN_S + FLUSH_S,
        f"{delay_s:.1f} s after the patient was last seen",
    )


def _walks_of_subject(stage: Stage) -> list[Any]:
    """Those on which the subject's face shows."""
    who = demo_scenario().subject
    return [
        seen
        for clip in stage.truth
        for seen in clip.sightings
        if seen.who == who and seen.masked is not None
    ]


def _mask(masked: bool | None) -> str:
    return "unknown" if masked is None else "masked" if masked else "unmasked"


def _contact_masks(hit: Mapping[str, Any]) -> list[str]:
    return sorted(str(contact["mask"]) for contact in hit["contacts"])


def _expected_contacts(clip: ClipTruth, subject: str) -> list[str]:
    return sorted(
        _mask(masked)
        for contact in clip.contacts
        for who, masked in zip(contact.who, contact.masked, strict=True)
        if subject in contact.who and who != subject
    )


def _said(seen: list[tuple[str, list[str]]]) -> str:
    return "; ".join(
        f"{mask}, with {' and '.join(contacts) if contacts else 'nobody'}"
        for mask, contacts in seen
    )


def _ms(moment: str) -> int:
    return int(datetime.fromisoformat(moment).astimezone(UTC).timestamp() * 1000)
