"""A recording of yesterday is sealed by an import station, traced, graded, and handed over."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from demo.handed_over import check_handed_over
from demo.officers import Filed, Officers
from demo.processes import ProcessFailed
from demo.recorded import (
    CAMERA,
    CHANNEL,
    STATION,
    Recording,
    check_contacts,
    check_graded,
    check_imported,
)
from demo.tour.stage import SUBJECT, Stage
from protocol.names import epoch_of

_PRESETS = ("covid-19", "measles")
_AROUND = timedelta(minutes=5)


def import_yesterday(stage: Stage, officers: Officers, subject: Path) -> None:
    """Import the film as of yesterday, and make of it what a health office is handed.

    Args:
        stage: the site; the query and its trace are noted there.
        officers: of the site.
        subject: the patient's file.

    Raises:
        ProcessFailed: a process or command failed.
    """
    recording = _import(stage)
    filed = _trace(stage, officers, subject, recording)
    _grade(stage, officers, filed)
    stage.tell("the investigator hands over a signed report and the contact list")
    check_handed_over(stage.checks, officers, filed)


def _import(stage: Stage) -> Recording:
    if stage.recorded is None:
        raise ProcessFailed("the recording was never composed")
    stage.tell(f"an import station seals a recorder's film of yesterday, {CAMERA}")
    recording = Recording.of_yesterday(stage.recorded, stage.folder / "recorder")
    told, again = _footage_import(stage, recording), _footage_import(stage, recording)
    epochs = {
        envelope.header.name.epoch
        for envelope in stage.segments()
        if envelope.header.name.address.camera == CAMERA
    }
    of_the_day = epochs == {epoch_of(recording.began_ms)}
    check_imported(stage.checks, recording, told, again, of_the_day=of_the_day)
    return recording


def _footage_import(stage: Stage, recording: Recording) -> dict[str, Any]:
    told: dict[str, Any] = stage.site.run_json(
        "ana", "footage", "import", str(recording.folder), "--time-zone", "UTC",
        "--config", str(stage.site.paths.box(STATION)), "--camera", f"{CHANNEL}={CAMERA}",
    )  # fmt: skip
    return told


def _trace(stage: Stage, officers: Officers, subject: Path, recording: Recording) -> Filed:
    stage.tell("a query for that half hour: two approvers sign, two investigators confirm")
    filed = officers.file(
        subject,
        cameras=[CAMERA],
        begin=_minute(recording.began - _AROUND),
        end=_minute(recording.ended + _AROUND),
    )
    officers.approve(filed, "bo", "cy")
    officers.wait(
        filed, lambda told: told["state"] == "complete", timeout_s=60, what="the recording matched"
    )
    officers.confirm_all(filed)
    stage.recorded_query, stage.recorded_trace = filed, officers.trace(filed)
    check_contacts(stage.checks, stage.recorded_trace, recording)
    return filed


def _grade(stage: Stage, officers: Officers, filed: Filed) -> None:
    """Grade by each preset; what is handed over is graded by the case file."""
    stage.tell("the contacts are graded by what the case file says of the illness")
    onset = f"{datetime.now().astimezone():%Y-%m-%d}"
    graded = {
        preset: stage.site.run_json(
            "ana", "trace", "contacts", filed.query_id, "--preset", preset, "--onset", onset
        )
        for preset in _PRESETS
    }
    stage.site.run("ana", "subject", "case", SUBJECT, "--preset", _PRESETS[0], "--onset", onset)
    check_graded(stage.checks, graded)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%MZ}"
