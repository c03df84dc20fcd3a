"""Exports: stable columns, nothing that a spreadsheet runs, hits apart from candidates."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
from candidates import candidate_of
from hypothesis import given
from hypothesis import strategies as st

from officers.desk.camera_places import PlacesInvalid, read_positions
from officers.desk.export_forms import (
    CONTACT_COLUMNS,
    FORMATS,
    LINE_LIST_COLUMNS,
    Report,
    unplaced,
)
from officers.desk.traces import UNDECIDED, Numbered, traces_of
from protocol.names import CameraAddress
from protocol.query import Subject
from protocol.results import CONFIRMED, REJECTED, Candidate
from protocol.sightings import Encounter, MaskStatus

PLACES = {"cam-1": (48.2082, 16.3738), "cam-2": (48.21, 16.36)}


def candidate(camera: str, start_s: int, *, subject: str = "P-17") -> Candidate:
    return candidate_of(
        subject=subject,
        address=CameraAddress(s.SITE, "box-1", camera),
        sighting_id=os.urandom(8),
        first_seen_ms=s.NOW_MS + start_s * 1000,
        last_seen_ms=s.NOW_MS + start_s * 1000 + 12_345,
        mask=MaskStatus.MASKED,
        mask_confidence=0.9,
        quality=0.8,
        modality="face",
        model=s.MODEL,
        score=0.81234,
        log10_lr=-1.5,
        encounters=(
            Encounter(b"stranger", 1.256, 3.5, MaskStatus.UNMASKED, 0.75),
            Encounter(b"passerby", None, 1.0, MaskStatus.UNKNOWN, 0.0),
        ),
    )


def report(*verdicts: str, cameras: tuple[str, ...] = (), subject: str = "P-17") -> Report:
    items = [
        Numbered(n, bytes([n]) * 16, candidate(camera, n * 100, subject=subject), verdict)
        for n, (verdict, camera) in enumerate(
            zip(verdicts, cameras or ["cam-1", "cam-2"] * len(verdicts), strict=False), start=1
        )
    ]
    reference = s.query().subjects[0].templates
    query = s.query(subjects=(Subject(subject, "=consent", reference),))
    return Report(query, bytes(32), "ana", "complete", tuple(traces_of([subject], items)), s.NOW_MS)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def export(name: str, made: Report, *, hits_only: bool = False) -> str:
    return FORMATS[name](made, positions=PLACES, hits_only=hits_only)


def test_the_line_list_has_the_promised_columns_and_one_row_a_stay() -> None:
    text = export("csv-line-list", report(CONFIRMED, UNDECIDED, REJECTED))
    assert text.splitlines()[0] == ",".join(LINE_LIST_COLUMNS)
    first, second = rows(text)
    assert (first["status"], second["status"]) == (CONFIRMED, UNDECIDED)
    assert first["subject"] == "P-17"
    assert first["from_utc"].endswith("Z")
    assert float(first["seconds"]) == 12.345
    assert first["mask"] == "masked"
    assert float(first["log10_likelihood_ratio"]) == -1.5
    assert first["contacts"] == "2"
    assert (float(first["latitude"]), float(first["longitude"])) == PLACES["cam-1"]
    assert first["candidate_numbers"] == "1"


def test_the_contact_list_says_how_near_how_long_and_masked() -> None:
    text = export("csv-contacts", report(CONFIRMED))
    assert text.splitlines()[0] == ",".join(CONTACT_COLUMNS)
    near, passing = rows(text)
    assert near["contact_id"] == b"stranger".hex()
    assert (near["distance_m"], near["seconds"]) == ("1.26", "3.5")
    assert (near["subject_mask"], near["contact_mask"]) == ("masked", "unmasked")
    assert (passing["distance_m"], passing["contact_mask"]) == ("", "unknown")
    assert near["contact_subject"] == ""


UNCONFIRMED_TOO = [name for name, form in FORMATS.items() if not form.confirmed_alone]


@pytest.mark.parametrize("name", UNCONFIRMED_TOO)
def test_hits_only_leaves_out_what_is_not_decided(name: str) -> None:
    made = report(CONFIRMED, UNDECIDED)
    assert UNDECIDED in export(name, made)
    assert UNDECIDED not in export(name, made, hits_only=True)
    assert REJECTED not in export(name, report(REJECTED, CONFIRMED), hits_only=True)


def test_the_map_has_a_point_a_stay_and_a_line_along_the_hits() -> None:
    made = json.loads(export("geojson", report(CONFIRMED, CONFIRMED, UNDECIDED)))
    assert made["type"] == "FeatureCollection"
    points = [f for f in made["features"] if f["geometry"]["type"] == "Point"]
    (line,) = [f for f in made["features"] if f["geometry"]["type"] == "LineString"]
    assert len(points) == 3
    assert points[0]["geometry"]["coordinates"] == [16.3738, 48.2082]
    assert line["geometry"]["coordinates"] == [[16.3738, 48.2082], [16.36, 48.21]]
    assert line["properties"] == {
        "subject": "P-17",
        "hits": 2,
        "hits_by_appearance": 0,
        "notes": [],
    }


def test_a_camera_without_a_place_stays_in_the_list_and_off_the_map() -> None:
    made = report(CONFIRMED, cameras=("cam-9",))
    (feature,) = json.loads(export("geojson", made))["features"]
    assert feature["geometry"] is None
    assert unplaced(made, PLACES) == ["cam-9"]


def test_the_json_holds_query_traces_and_no_template() -> None:
    text = export("json", report(CONFIRMED, UNDECIDED, REJECTED))
    made = json.loads(text)
    assert made["format"] == "sealtrace-trace/1"
    assert made["query"]["purpose"] == s.query().purpose
    (subject,) = made["subjects"]
    assert [len(subject[k]) for k in ("hits", "candidates", "rejected")] == [1, 1, 1]
    assert subject["hits"][0]["contacts"][0]["distance_m"] == 1.26
    template = s.template()
    for secret in (template.row.tobytes(), template.salt, template.digest):
        assert secret.hex() not in text


HOSTILE = ("=1+1", "+1", "-2", "@SUM(A1)", "\tx", "\rx", '=HYPERLINK("http://x","y")', "＝1")


@pytest.mark.parametrize("name", [name for name in FORMATS if name.startswith(("csv", "go"))])
@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_a_formula(name: str, text: str) -> None:
    (row, *_) = rows(export(name, report(CONFIRMED, subject=text)).removeprefix("\ufeff"))
    assert "'" + text in row.values()
    for column, cell in row.items():
        if cell.startswith(("=", "+", "@", "\t", "\r")) or (
            cell.startswith("-") and column not in {"log10_likelihood_ratio", "score"}
        ):
            pytest.fail(f"{column} is {cell!r}")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_pseudonym_survives_as_one_cell(text: str) -> None:
    (row, *_) = rows(export("csv-line-list", report(CONFIRMED, subject=text)))
    assert row["subject"] in {text, "'" + text}
    assert not row["subject"].startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert row["query_id"] == s.query().query_id.hex()


def test_places_are_read_from_csv_and_toml(tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    table.write_text(
        "\ufeffcamera,street,lat,lon\ncam-1,Ring,48.2082,16.3738\ncam-2,Graben,48.21,16.36\n"
    )
    assert read_positions(table) == PLACES
    toml = tmp_path / "p.toml"
    toml.write_text("[cam-1]\nlat = 48.2082\nlon = 16.3738\n[cam-2]\nlat = 48.21\nlon = 16.36\n")
    assert read_positions(toml) == PLACES


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "camera,lat\ncam-1,3\n"),
        ("b.csv", "camera,lat,lon\ncam-1,91,3\n"),
        ("c.csv", "camera,lat,lon\ncam-1,nan,3\n"),
        ("d.csv", "camera,lat,lon\ncam-1,1\n"),
        ("e.csv", "camera,lat,lon\ncam-1,1,1\ncam-1,2,2\n"),
        ("f.csv", ""),
        ("g.toml", "cam-1 = 3\n"),
        ("h.toml", "[cam-1]\nlat = 3\n"),
        ("i.toml", "[cam-1\n"),
        ("j.toml", f"[cam-1]\nlat = 1{'0' * 400}\nlon = 1\n"),
    ],
)
def test_a_file_that_is_no_list_of_places_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PlacesInvalid, match="camera positions"):
        read_positions(tmp_path / name)


def test_changed_reports_change_every_format() -> None:
    made = report(CONFIRMED)
    other: Callable[[str], str] = lambda name: export(  # noqa: E731 - one use
        name, replace(made, traces=())
    )
    for name in FORMATS:
        assert export(name, made) != other(name)
