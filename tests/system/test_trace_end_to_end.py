"""From pixels to trace through the officers' commands, with both brokers."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from film_set import FilmSet

from demo.scenario import SightingTruth
from protocol.names import SLOT_MS

BROKERS = ["film_set", pytest.param("mosquitto_film_set", marks=pytest.mark.mosquitto)]
SLACK_MS = 1500  # detection five times a second, and a face is found a little after it came in


@pytest.fixture(params=BROKERS)
def films(request: pytest.FixtureRequest) -> FilmSet:
    made: FilmSet = request.getfixturevalue(request.param)
    return made


def truly_at(films: FilmSet, who: str) -> dict[str, SightingTruth]:
    """Where a person truly was, by camera."""
    return {clip.camera: seen for clip in films.truth for seen in clip.sightings if seen.who == who}


def epoch_ms(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000


def test_the_subject_is_traced_with_masks_and_contacts(films: FilmSet, tmp_path: Path) -> None:
    run, run_json = films.site.local.run, films.site.local.run_json
    truth = truly_at(films, "obama")
    assert set(truth) == {"cam-1", "cam-2"}
    query = films.trace(films.enrol(), "--same-place-counts")

    # Considered: every candidate waits for a person's word.
    shown = run_json("ana", "trace", "show", query)
    (considered,) = shown["subjects"]
    assert {stay["camera"] for stay in considered["candidates"]} == set(truth)
    assert considered["hits"] == []

    # Told beside it: what the cameras watched, and that people were counted.
    watched = {told["camera"]: told for told in shown["watching"]["cameras"]}
    assert set(watched) == {clip.camera for clip in films.truth}
    for clip in films.truth:
        told = watched[clip.camera]
        assert told["total_s"] == SLOT_MS // 1000
        assert 10 < told["watched_s"] < 120, "a short film, and nobody watched after it"
        assert told["watched_s"] + told["untold_s"] == told["total_s"]
        assert shown["watching"]["quarter_hours_counted"][clip.camera] == 1
        assert len(clip.sightings) < 5
    assert shown["watching"]["counts"] == [], "so few people are not told"

    # Decided: confirmed candidates make the trace, in order of time.
    run("ana", "trace", "confirm", query, "--all", "--yes")
    (trace,) = run_json("ana", "trace", "show", query)["subjects"]
    assert [hit["camera"] for hit in trace["hits"]] == ["cam-1", "cam-2"]
    for hit in trace["hits"]:
        seen, start_ms = truth[hit["camera"]], films.starts_ms[hit["camera"]]
        assert abs(epoch_ms(hit["from"]) - (start_ms + seen.from_s * 1000)) < SLACK_MS
        assert abs(epoch_ms(hit["to"]) - (start_ms + seen.to_s * 1000)) < SLACK_MS
        assert hit["mask"] == "unmasked"
        assert (hit["origin"], hit["time_source"]) == ("recorded", "stated")

    # Contacts, with the other's mask: a masked companion, then an unmasked acquaintance.
    met = {hit["camera"]: hit["contacts"] for hit in trace["hits"]}
    for clip in films.truth[:2]:
        (contact,) = [c for c in clip.contacts if "obama" in c.who]
        other_masked = contact.masked[1 - contact.who.index("obama")]
        (found,) = met[clip.camera]
        assert found["mask"] == ("masked" if other_masked else "unmasked")
        assert 0 < found["distance_m"] < 2
        assert found["seconds"] == pytest.approx(contact.to_s - contact.from_s, abs=2.5)

    # Exported for other programs.
    line_list = tmp_path / "line-list.csv"
    run("ana", "trace", "export", query, "--format", "csv-line-list", "--out", str(line_list))
    rows = list(csv.DictReader(line_list.read_text().splitlines()))
    assert {row["camera"] for row in rows} == {"cam-1", "cam-2"}
    positions = tmp_path / "positions.csv"
    positions.write_text("camera,lat,lon\ncam-1,48.1,11.5\ncam-2,48.2,11.6\ncam-3,48.3,11.7\n")
    geojson = tmp_path / "trace.geojson"
    run(
        "ana", "trace", "export", query, "--format", "geojson",
        "--cameras", str(positions), "--out", str(geojson),
    )  # fmt: skip
    features: list[dict[str, Any]] = json.loads(geojson.read_text())["features"]
    assert [11.5, 48.1] in [feature["geometry"]["coordinates"] for feature in features]


def test_whoever_was_never_there_is_not_found(film_set: FilmSet) -> None:
    subject = film_set.enrol()
    before = film_set.slot_ms - 8 * 900_000
    query = film_set.file(subject, window=(before, before + 900_000))
    film_set.approve(query)
    film_set.site.local.run("ana", "query", "wait", query, "--timeout", "60")
    (nobody,) = film_set.site.local.run_json("ana", "trace", "show", query)["subjects"]
    assert nobody["candidates"] == nobody["hits"] == []


def test_results_open_for_the_investigator_who_asked_alone(film_set: FilmSet) -> None:
    query = film_set.trace(film_set.enrol())
    for officer in ("dan", "bo", "eve"):
        said = film_set.site.local.run(officer, "trace", "show", query, expect=1)
        reason = "opens for nobody else" if officer == "dan" else "this takes an investigator"
        assert reason in " ".join(said.split())


def test_the_requester_and_strangers_cannot_approve_with_the_command(film_set: FilmSet) -> None:
    query = film_set.file(film_set.enrol())
    for officer in ("ana", "eve"):
        said = film_set.site.local.run(officer, "query", "approve", query, "--yes", expect=1)
        assert "error:" in said
    film_set.approve(query, "bo")
    shown = film_set.site.local.run_json("ana", "query", "show", query)["status"]
    assert shown["state"] == "awaiting-approvals"
    assert [a["approver"] for a in shown["approvals"]] == ["bo"]
    assert shown["candidates"] == 0


def test_after_revoke_nothing_opens_any_more(film_set: FilmSet) -> None:
    query = film_set.file(film_set.enrol())
    film_set.approve(query, "bo")
    film_set.site.local.run("bo", "query", "revoke", query, "--reason", "doubts", "--yes")
    film_set.site.local.run("cy", "query", "approve", query, "--yes", expect=None)
    said = film_set.site.local.run("ana", "query", "wait", query, "--timeout", "30", expect=1)
    assert "withdr" in said
    assert film_set.site.local.run_json("ana", "query", "show", query)["status"]["candidates"] == 0
