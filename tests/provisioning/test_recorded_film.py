"""What the demo shows of a recording of yesterday, and that its promises can break."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from demo.checks import Checks
from demo.recorded import (
    CAMERA,
    CHANNEL,
    Recording,
    check_contacts,
    check_graded,
    check_imported,
    recorded_scenario,
)
from demo.scenario import truth_of
from edge_agent.footage.names import said_by
from protocol.names import SLOT_MS, epoch_of

(FILM,) = truth_of(recorded_scenario(), Path("clips"))
RECORDING = Recording(FILM, Path("recorder"), datetime(2026, 11, 28, 10, 13, 50, tzinfo=UTC))
TOLD = {
    "film_s": 151.8, "took_s": 40.0, "sightings": 7, "quarter_hours": 2, "undelivered": 0,
    "files": [{"fate": "import", "why": ""}],
}  # fmt: skip
AGAIN = {
    "sightings": 0, "quarter_hours": 0, "files": [{"fate": "nothing new", "why": "imported before"}]
}  # fmt: skip
HIT = {"confirmed_by": ["ana", "dan"], "confirmations_needed": 2}


def broken(checks: Checks) -> list[str]:
    """What was seen of the promises that did not hold."""
    return [check.seen for check in checks.listed if not check.held]


def traced(*seconds: float, hits: int = 1, **hit: Any) -> Mapping[str, Any]:
    """A trace of a patient who met people for so long."""
    persons = [{"seconds": one} for one in seconds]
    return {"subjects": [{"hits": [{**HIT, **hit}] * hits, "persons": persons}]}


def graded(covid: tuple[str, float], measles: tuple[str, float]) -> Mapping[str, Any]:
    """What `trace contacts` tells of somebody near for two minutes."""
    return {
        preset: [
            {"persons": [{"seconds": 120, "grade": {"level": level, "weighted_minutes": minutes}}]}
        ]
        for preset, (level, minutes) in (("covid-19", covid), ("measles", measles))
    }


def test_the_film_is_what_the_demo_promises_of_it() -> None:
    companion, passer = [met for met in FILM.contacts if "obama" in met.who]
    assert companion.to_s - companion.from_s > 130
    assert 10 < passer.to_s - passer.from_s < 20
    assert (companion.masked, passer.masked) == ((False, False), (True, False))
    assert max(companion.nearest_m, passer.nearest_m) < 1


def test_it_is_of_yesterday_over_the_end_of_a_quarter_hour(tmp_path: Path) -> None:
    film = tmp_path / FILM.path.name
    film.write_bytes(b"film")
    clip = FILM.__class__(CAMERA, film, FILM.duration_s, FILM.fps, FILM.sightings, FILM.contacts)
    recording = Recording.of_yesterday(clip, tmp_path / "recorder")
    day_before = datetime.now(UTC) - timedelta(days=1)
    assert epoch_of(recording.began_ms) == epoch_of(int(day_before.timestamp() * 1000))
    ended_ms = recording.began_ms + int(FILM.duration_s * 1000)
    assert recording.began_ms // SLOT_MS + 1 == ended_ms // SLOT_MS
    (copied,) = recording.folder.iterdir()
    assert copied.read_bytes() == b"film"
    said = said_by(PurePosixPath(copied.name))
    assert said is not None
    assert said.camera == CHANNEL


@pytest.mark.parametrize(
    "change",
    [{"sightings": 0}, {"film_s": 60.0}, {"undelivered": 3}],
)
def test_a_film_that_is_sealed_in_part_or_not_delivered_breaks_the_promise(change: Any) -> None:
    checks = Checks()
    check_imported(checks, RECORDING, TOLD, AGAIN, of_the_day=True)
    assert broken(checks) == []
    check_imported(checks, RECORDING, {**TOLD, **change}, AGAIN, of_the_day=True)
    assert len(broken(checks)) == 1


def test_a_film_sealed_as_of_another_day_or_twice_breaks_the_promise() -> None:
    checks = Checks()
    check_imported(checks, RECORDING, TOLD, AGAIN, of_the_day=False)
    assert len(broken(checks)) == 1
    check_imported(checks, RECORDING, TOLD, TOLD, of_the_day=True)
    assert len(broken(checks)) == 2


@pytest.mark.parametrize(
    "trace",
    [
        traced(138.0),  # who came up to them is missing
        traced(70.0, 68.0, 14.0),  # one contact split
        traced(152.0),  # two merged
        traced(128.0, 14.0),  # too short
        traced(138.0, 14.0, hits=2),
        traced(138.0, 14.0, confirmed_by=["ana"]),
        {"subjects": []},
    ],
)
def test_contacts_split_merged_or_confirmed_by_one_break_the_promise(trace: Any) -> None:
    checks = Checks()
    check_contacts(checks, traced(138.8, 14.4), RECORDING)
    assert broken(checks) == []
    check_contacts(checks, trace, RECORDING)
    assert len(broken(checks)) == 1


@pytest.mark.parametrize(
    ("covid", "measles"),
    [
        (("high", 3.0), ("high", 2.0)),
        (("low", 2.0), ("high", 2.0)),
        (("low", 3.0), ("low", 2.0)),
    ],
)
def test_grades_that_are_not_the_illness_s_break_the_promise(covid: Any, measles: Any) -> None:
    checks = Checks()
    check_graded(checks, graded(("low", 3.0), ("high", 2.0)))
    assert broken(checks) == []
    check_graded(checks, graded(covid, measles))
    assert len(broken(checks)) == 1


def test_nobody_graded_breaks_the_promise() -> None:
    checks = Checks()
    check_graded(checks, {"covid-19": [{"persons": []}], "measles": [{"persons": []}]})
    assert broken(checks) == ["nobody is graded"]
