"""A station imports yesterday's recording, and a query finds the patient in it."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from film_set import FilmSet
from waiting import wait_for

from demo.processes import Service, sealtrace
from protocol.names import EPOCH_MS, SLOT_MS

STATION, CAMERA = "station-1", "cam-1"


@pytest.fixture(scope="module")
def station(film_set: FilmSet) -> Path:
    """The configuration of a box without cameras, admitted to the running site."""
    site = film_set.site
    root, eve = str(site.local.paths.root), str(site.local.officer("eve"))
    site.command(
        "box", "add", root, STATION, "--recordings", CAMERA, "--push", "--officer", eve
    )  # fmt: skip
    return site.local.paths.box(STATION)


def recording(films: FilmSet, folder: Path, start_ms: int) -> Path:
    """The film that the camera's box has watched, as a recorder would have kept it."""
    folder.mkdir(exist_ok=True)
    clip = next(one for one in films.truth if one.camera == CAMERA)
    start = datetime.fromtimestamp(start_ms / 1000, UTC)
    path = folder / f"{CAMERA}_{start:%Y%m%d_%H%M%S}.mp4"
    shutil.copy(clip.path, path)
    with path.open("ab") as film:  # another recording: its content is not that of yesterday's
        film.write(b"\0\0\0\x10free" + start_ms.to_bytes(8, "big"))
    return folder


def run(films: FilmSet, config: Path, folder: Path, *options: str, expect: int = 0) -> Any:
    printed = films.site.command(
        "footage", "import", str(folder), "--config", str(config), "--pattern",
        "{camera}_%Y%m%d_%H%M%S", "--time-zone", "UTC", "--workers", "2", "--json", *options,
        expect=expect,
    )  # fmt: skip
    return json.loads(next(line for line in printed.splitlines() if line.startswith("{")))


@pytest.fixture(scope="module")
def yesterday_ms(film_set: FilmSet) -> int:
    """When the recording begins: in the slot of a day before that of the other films."""
    return film_set.slot_ms - EPOCH_MS + 60_000


@pytest.fixture(scope="module")
def imported(
    film_set: FilmSet, station: Path, yesterday_ms: int, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    folder = recording(film_set, tmp_path_factory.mktemp("usb") / "films", yesterday_ms)
    return folder, run(film_set, station, folder)


def test_what_the_recording_shows_reaches_headquarters(
    film_set: FilmSet, imported: tuple[Path, Any]
) -> None:
    _, told = imported
    clip = next(one for one in film_set.truth if one.camera == CAMERA)
    assert [one["fate"] for one in told["files"]] == ["import"]
    assert told["sightings"] == len(clip.sightings)
    assert told["quarter_hours"] == 1
    assert told["undelivered"] == 0
    assert film_set.site.kept(STATION) == []


def test_a_query_finds_the_patient_of_yesterday(
    film_set: FilmSet, imported: tuple[Path, Any], yesterday_ms: int
) -> None:
    begins_ms = yesterday_ms // SLOT_MS * SLOT_MS
    query = film_set.file(
        film_set.enrol(pseudonym="patient-18"), window=(begins_ms, begins_ms + SLOT_MS)
    )
    film_set.approve(query)
    film_set.site.local.run("ana", "query", "wait", query, "--timeout", "90")
    film_set.site.local.run("ana", "trace", "confirm", query, "--all", "--yes")
    (trace,) = film_set.site.local.run_json("ana", "trace", "show", query)["subjects"]
    (hit,) = trace["hits"]
    assert (hit["camera"], hit["origin"], hit["time_source"]) == (CAMERA, "recorded", "stamped")
    clip = next(one for one in film_set.truth if one.camera == CAMERA)
    (seen,) = [one for one in clip.sightings if one.who == "obama"]
    found_ms = datetime.fromisoformat(hit["from"]).timestamp() * 1000
    assert abs(found_ms - (yesterday_ms + seen.from_s * 1000)) < 1500


def test_a_second_run_adds_nothing(
    film_set: FilmSet, station: Path, imported: tuple[Path, Any]
) -> None:
    folder, _ = imported
    before = len(film_set.site.stored(CAMERA))
    again = run(film_set, station, folder)
    assert [one["fate"] for one in again["files"]] == ["nothing new"]
    assert again["quarter_hours"] == 0
    assert len(film_set.site.stored(CAMERA)) == before


def test_what_the_cameras_own_box_told_of_is_refused(
    film_set: FilmSet, station: Path, imported: tuple[Path, Any], tmp_path: Path
) -> None:
    """That box is known to have imported its film: of another box's films headquarters tells."""
    folder = recording(film_set, tmp_path / "films", film_set.starts_ms[CAMERA])
    told = run(film_set, station, folder, expect=1)
    assert [one["fate"] for one in told["files"]] == ["refused"]
    assert "another box told of" in told["files"][0]["why"]


def test_films_older_than_retention_are_refused_at_once(
    film_set: FilmSet, station: Path, imported: tuple[Path, Any], tmp_path: Path
) -> None:
    folder = recording(film_set, tmp_path / "films", film_set.slot_ms - 200 * EPOCH_MS)
    told = run(film_set, station, folder, expect=1)
    assert "older than what the site keeps" in told["files"][0]["why"]


def test_a_running_agent_is_handed_the_import(
    film_set: FilmSet, station: Path, imported: tuple[Path, Any], tmp_path: Path, yesterday_ms: int
) -> None:
    log = film_set.site.local.folder / "logs" / f"{STATION}.log"
    agent = Service(
        STATION, sealtrace("edge", "run", "--config", str(station)), station.parent, log,
        film_set.site.local.environment,
    )  # fmt: skip
    agent.start()
    try:
        wait_for(lambda: agent.events("ready"), "the agent", explain=agent.tail)
        folder = recording(film_set, tmp_path / "films", yesterday_ms - SLOT_MS)
        told = run(film_set, station, folder)
        assert [one["fate"] for one in told["files"]] == ["import"]
        assert told["quarter_hours"] == 1
        assert told["undelivered"] is None
        assert agent.events("importer_gone")
    finally:
        agent.stop()
