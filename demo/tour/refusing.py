"""What must not work: keys without approvals, for other hours, after a word was taken back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from demo.hard_cases import check_dark
from demo.intruder import Intruder, plain_needles
from demo.officers import Filed, Officers
from demo.recorded import CAMERA
from demo.tour.stage import Stage
from protocol.epoch_keys import EpochKeys
from protocol.errors import ProtocolError, ScopeExceeded
from protocol.keytree import COUNTS, COVER, META


def refuse(stage: Stage, officers: Officers, filed: Filed, subject: Path) -> None:
    """Try it, with a dishonest aggregator's key.

    Args:
        stage: the site; what the approved query opens is noted there.
        officers: of the site.
        filed: the patient's query, which is withdrawn in the end.
        subject: the patient's file.

    Raises:
        ProcessFailed: a process or command failed.
    """
    _without_approvals(stage, officers, filed)
    _outside_the_window(stage, officers, subject)
    _after_revocation(stage, officers, filed)


def _without_approvals(stage: Stage, officers: Officers, filed: Filed) -> None:
    stage.tell("a dishonest aggregator asks the custodians without enough approvals")
    intruder, announcements = Intruder(stage.site), stage.announcements(stage.cameras)
    everybody = ("bo", "cy", "di")
    for count in range(len(everybody)):
        approvals = officers.signed_approvals(filed, *everybody[:count])
        answers = intruder.ask(filed.signed, approvals, announcements)
        stage.note_refused(f"{count} of 3 approvals open nothing", answers)
    answers = intruder.ask(
        filed.signed, officers.signed_approvals(filed, *everybody), announcements
    )
    granted = [answer for answer in answers if answer.grant is not None]
    stage.checks.note(
        "the same request with all approvals is granted (so the refusals meant something)",
        len(granted) == len(answers),
        f"{len(granted)} of {len(answers)} custodians",
    )
    keys = {raw: intruder.keys(answers, raw) for raw in announcements}
    stage.keys.update(keys)
    _keys_of_yesterday(stage, officers, intruder)
    _look_into_segments(stage, keys)
    _look_into_the_dark(stage, keys)
    try:
        intruder.keys(granted[:1], announcements[0])
    except ProtocolError as error:
        stage.checks.note("one custodian alone opens nothing", True, str(error))
    else:
        stage.checks.note("one custodian alone opens nothing", False, "it opened")


def _keys_of_yesterday(stage: Stage, officers: Officers, intruder: Intruder) -> None:
    """Note what the query for the recording opens, so that it can be searched for."""
    if stage.recorded_query is None:
        return
    filed, announcements = stage.recorded_query, stage.announcements([CAMERA])
    approvals = officers.signed_approvals(filed, "bo", "cy")
    answers = intruder.ask(filed.signed, approvals, announcements)
    stage.keys.update({raw: intruder.keys(answers, raw) for raw in announcements})


def _look_into_segments(stage: Stage, keys: Mapping[bytes, EpochKeys]) -> None:
    """Count what was sealed, which nothing in the clear tells, and try to read what it says."""
    expected = sum(len(clip.sightings) for clip in stage.truth)
    sealed, closed = 0, 0
    for envelope in stage.of_the_clips:
        granted, slot = keys[stage.announcement_of(envelope)], envelope.header.name.slot
        sealed += len(envelope.rows(granted.key(slot, COVER)))
        try:
            granted.key(slot, META)
        except ScopeExceeded:
            closed += 1
    stage.checks.note(
        "everybody who walked past was sealed as a sighting",
        sealed == expected,
        f"{sealed} sightings of {expected} walks, on {len(stage.truth)} cameras",
    )
    stage.checks.note(
        "granted keys compare templates, and open nobody's metadata",
        0 < closed == len(stage.of_the_clips),
        f"the metadata of {closed} segments of {len(stage.of_the_clips)} stayed closed",
    )


def _look_into_the_dark(stage: Stage, keys: Mapping[bytes, EpochKeys]) -> None:
    """Read how many people each camera counted, which the query asks for."""
    counts = {}
    for envelope in stage.of_the_clips:
        name, granted = envelope.header.name, keys[stage.announcement_of(envelope)]
        counts[name.address.camera] = envelope.counts(granted.key(name.slot, COUNTS))
    hits = [hit for subject in stage.trace["subjects"] for hit in subject["hits"]]
    check_dark(stage.checks, hits, counts, stage.truth)


def _outside_the_window(stage: Stage, officers: Officers, subject: Path) -> None:
    stage.tell("an approved query for another hour tries what was seen just now")
    early = officers.file(subject, cameras=stage.cameras, begin="-2h", end="-1h")
    officers.approve(early, "bo", "cy")
    told = officers.wait(
        early, lambda told: told["state"] == "complete", timeout_s=30, what="the early query"
    )
    compared = told["progress"].get("sightings", 0)
    stage.checks.note(
        "a query outside its window compares nothing",
        compared == 0 and told["candidates"] == 0,
        f"{compared} sightings compared, {told['candidates']} candidates",
    )
    intruder = Intruder(stage.site)
    approvals = officers.signed_approvals(early, "bo", "cy")
    answers = intruder.ask(early.signed, approvals, stage.announcements(stage.cameras))
    opened, closed = 0, 0
    for envelope in stage.envelopes():
        raw = stage.announcement_of(envelope)
        try:
            plain_needles(envelope, intruder.keys(answers, raw))
            opened += 1
        except ProtocolError:
            closed += 1
    stage.checks.note(
        "its keys open no envelope of another hour",
        opened == 0 and closed > 0,
        f"{closed} envelopes tried, {opened} opened",
    )


def _after_revocation(stage: Stage, officers: Officers, filed: Filed) -> None:
    stage.tell("an approver revokes; then a box is stolen and revoked")
    officers.revoke(filed, "cy")
    told = officers.wait(
        filed, lambda told: told["state"] == "withdrawn", timeout_s=30, what="the withdrawal"
    )
    stage.checks.note("a revoked query ends", True, told["reason"])
    answers = Intruder(stage.site).ask(
        filed.signed,
        officers.signed_approvals(filed, "bo", "cy", "di"),
        stage.announcements(stage.cameras),
    )
    stage.note_refused("after the revocation the same request opens nothing", answers)
    _stolen_box(stage)


def _stolen_box(stage: Stage) -> None:
    stage.site.services["box-3"].stop()
    stage.site.run(
        "ana", "box", "revoke", str(stage.site.paths.root), "box-3", "--push",
        "--officer", str(stage.site.officer("ana")),
    )  # fmt: skip
    stage.site.services["box-3"].start()
    code = stage.site.services["box-3"].wait(60)
    said = stage.site.services["box-3"].tail()
    stage.checks.note(
        "a revoked box notices and publishes nothing more",
        code != 0 and "revoked" in said,
        f"exit code {code}",
    )
    stage.site.services["box-3"].process = None
