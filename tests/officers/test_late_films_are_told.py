"""Officers hear of films that came after their query had ended, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from boxes_v2 import make_box_v2
from officer_site import OfficerSite
from pydantic import ValidationError
from store_backends import announce, keep

from officers import query_cli, trace_cli
from officers.desk.api_client import LateFilmsNote
from officers.desk.late_films import late_film_lines
from protocol.epoch import RECORDING
from protocol.names import SLOT_MS, epoch_of, slot_of


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


def ended(site: OfficerSite) -> str:
    path = str(site.subject_file("P-17"))
    printed = site.run(
        query_cli.app, "ana", "file", "--subject", path, "--camera", "cam-1", "--from", "-2h",
        "--to", "-1h", "--purpose", "contact tracing", "--yes", "--json",
    )  # fmt: skip
    query_id = str(json.loads(printed.stdout)["id"])
    for state in ("running", "complete"):
        site.aggregator.desk.set_state(site.record(query_id).digest, state)
    return query_id


def import_film(site: OfficerSite, query_id: str) -> int:
    """Let a station bring two quarter hours of the query; return when the first begins."""
    station = make_box_v2(2)
    station.camera, station.origin = "cam-1", RECORDING
    begins_ms: int = site.record(query_id).query.window_from_ms
    with site.aggregator.store.writing() as unit:
        for at_ms in (begins_ms, begins_ms + SLOT_MS):
            epoch, slot = epoch_of(at_ms), slot_of(at_ms)
            announce(unit, station, station.announcement(epoch))
            keep(unit, station, station.segment([], epoch=epoch, slot=slot))
    return begins_ms


@pytest.mark.slow
def test_every_command_about_the_query_tells_of_films_that_came_after_it(site: OfficerSite) -> None:
    query_id = ended(site)
    shown = site.run(query_cli.app, "ana", "show", query_id)
    assert "came late" not in shown.output
    assert json.loads(site.run(trace_cli.app, "ana", "show", query_id, "--json").stdout)[
        "late_films"
    ] == []  # fmt: skip
    begins_ms = import_film(site, query_id)
    told = {
        "camera": "cam-1",
        "boxes": ["box-2"],
        "from_ms": begins_ms,
        "to_ms": begins_ms + 2 * SLOT_MS,
        "quarter_hours": 2,
    }
    shown = site.run(query_cli.app, "ana", "show", query_id)
    assert shown.exit_code == 0
    words = " ".join(shown.output.split())
    assert "came late" in words
    assert "2 quarter hours, imported by box-2" in words
    assert "file a query for these cameras and hours" in words
    listed = site.run(query_cli.app, "bo", "list").output
    assert "films came later" in " ".join(listed.split())
    (one,) = [
        one
        for one in json.loads(site.run(query_cli.app, "bo", "list", "--json").stdout)
        if one["id"] == query_id
    ]
    assert one["late_films"] == [told]
    trace = site.run(trace_cli.app, "ana", "show", query_id)
    assert trace.exit_code == 0
    assert "nothing in them was compared" in " ".join(trace.output.split())
    contacts = site.run(trace_cli.app, "ana", "contacts", query_id)
    assert "nothing in them was compared" in " ".join(contacts.output.split())
    as_json = site.run(trace_cli.app, "ana", "show", query_id, "--json")
    assert json.loads(as_json.stdout)["late_films"] == [told]


@pytest.mark.slow
def test_nothing_is_said_where_nothing_came(site: OfficerSite) -> None:
    query_id = ended(site)
    assert "films" not in site.run(trace_cli.app, "ana", "show", query_id).output
    assert late_film_lines(()) == ()


@pytest.mark.slow
def test_who_reads_or_hands_over_results_hears_that_the_query_was_withdrawn(
    site: OfficerSite, tmp_path: Path
) -> None:
    query_id = ended(site)
    reason = "the patient takes the consent back"
    site.run(query_cli.app, "ana", "revoke", query_id, "--reason", reason, "--yes")
    out = str(tmp_path / "handed-over.json")
    for command in (["show"], ["contacts"], ["export", "--format", "json", "--out", out]):
        told = site.run(trace_cli.app, "ana", command[0], query_id, *command[1:]).output
        assert f"ana has withdrawn, as headquarters say: {reason}" in " ".join(told.split())


@pytest.mark.slow
def test_each_camera_has_its_line() -> None:
    late = [
        LateFilmsNote(
            camera=camera, boxes=("station-1",), from_ms=0, to_ms=SLOT_MS, quarter_hours=1
        )
        for camera in ("cam-1", "cam-2")
    ]
    first, one, two, last = late_film_lines(late)
    assert "nothing in them was compared" in first
    assert one.strip().startswith("cam-1, ")
    assert two.endswith("1 quarter hour, imported by station-1")
    assert "approvals of its own" in last


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"camera": "cam-1\nerror: everything is lost"},
        {"boxes": ["a box"]},
        {"from_ms": -1},
        {"to_ms": 10**18},
        {"quarter_hours": 0},
    ],
)
def test_what_is_no_account_of_films_is_not_believed(changes: dict[str, object]) -> None:
    told: dict[str, object] = {
        "camera": "cam-1", "boxes": ["box-2"], "from_ms": 0, "to_ms": 1, "quarter_hours": 1,
    }  # fmt: skip
    LateFilmsNote.model_validate(told)
    with pytest.raises(ValidationError):
        LateFilmsNote.model_validate(told | changes)
