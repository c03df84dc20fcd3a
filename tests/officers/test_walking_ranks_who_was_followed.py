"""Who was followed by clothes is ranked by likeness and by the way on foot, and named as nobody."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import protocol_samples as s
import pytest
from candidates import opened_candidate

from officers.desk.export_forms import FORMATS, Report
from officers.desk.fitting import fitted
from officers.desk.ground import TOO_FAST, Ground
from officers.desk.traces import UNDECIDED, Numbered, Trace, traces_of, with_ways
from officers.desk.walking import way_of
from officers.trace_text import (
    continuations_table,
    followed_line,
    stays_table,
    trace_line,
    way_text,
)
from protocol.names import SightingName
from protocol.places import Places, parse_places
from protocol.results import CONFIRMED
from protocol.sightings import MaskStatus
from protocol.v2.sightings import Row
from runtime.terminal import show_table

MINUTE = 60
PLAN = parse_places(
    b"camera,place,x_m,y_m\ncam-1,street,0,0\ncam-2,street,100,0\ncam-3,far away,30000,0\n"
    b"cam-4,somewhere,,\n"
)


def seen(
    number: int, at_s: float, camera: str, *, score: float, follows: int | None = None
) -> Numbered:
    """Somebody seen for ten seconds; the first of them by face, and confirmed."""
    begins_ms = s.NOW_MS + int(at_s * 1000)
    name = SightingName(f"box-{camera[-1]}", camera, s.EPOCH, 5, 40, number.to_bytes(8, "big"))
    one = opened_candidate(
        name,
        Row(begins_ms, begins_ms + 10_000, MaskStatus.UNMASKED, 0.9, 0.8),
        episode=number.to_bytes(8, "big"),
        score=score,
    )
    if follows is not None:
        hit = replace(name, box="box-1", camera="cam-1", sighting_id=follows.to_bytes(8, "big"))
        one = replace(one, modality="appearance", log10_lr=None, follows=hit)
    verdict = CONFIRMED if follows is None else UNDECIDED
    return Numbered(number, number.to_bytes(16, "big"), one, verdict, follows=follows)


STREET = (
    seen(1, 0, "cam-1", score=0.8),
    seen(2, 2 * MINUTE, "cam-2", score=0.80, follows=1),
    seen(3, 50 * MINUTE, "cam-2", score=0.84, follows=1),
    seen(4, 3 * MINUTE, "cam-3", score=0.95, follows=1),
    seen(5, -2 * MINUTE, "cam-2", score=0.79, follows=1),
    seen(6, 4 * MINUTE, "cam-4", score=0.81, follows=1),
)


def followed(places: Places | None) -> Trace:
    (trace,) = traces_of(["P-17"], STREET)
    return with_ways(trace, Ground(places=places))


def report(places: Places | None) -> Report:
    query = s.query()
    return Report(query, bytes(32), "ana", "complete", (followed(places),), s.NOW_MS)


def numbers(trace: Trace) -> list[int]:
    return [stay.numbers[0] for stay in trace.continuations]


def test_what_was_found_by_clothes_stands_apart_from_hits_and_from_candidates() -> None:
    trace = followed(None)
    assert [stay.numbers for stay in trace.hits] == [(1,)]
    assert trace.candidates == ()
    assert {stay.follows for stay in trace.continuations} == {(1,)}


def test_without_a_register_likeness_alone_ranks() -> None:
    assert numbers(followed(None)) == [4, 3, 6, 2, 5]


def test_with_the_register_who_could_have_walked_there_goes_first_and_who_could_not_last() -> None:
    ranked = numbers(followed(PLAN))
    assert ranked[:2] == [2, 5]
    assert ranked[-1] == 4
    ways = {stay.numbers[0]: stay.way for stay in followed(PLAN).continuations}
    assert ways[4] is not None
    assert ways[4].too_far
    assert ways[2] is not None
    assert (ways[2].metres, ways[2].gap_s, ways[2].too_far) == (100.0, 110.0, False)
    assert ways[5] is not None
    assert ways[5].gap_s == -110.0
    assert ways[6] is not None
    assert (ways[6].metres, ways[6].walk_s, ways[6].too_far) == (None, None, False)


def test_distances_are_those_of_the_plan_or_of_the_globe_and_of_one_camera_nothing() -> None:
    globe = parse_places(b"camera,place,lat,lon\na,x,37.50,126.78\nb,x,37.51,126.78\nc,y,,\n")
    ground = Ground(places=globe)
    assert ground.metres("a", "b") == pytest.approx(1112, abs=2)
    assert ground.metres("a", "c") is None
    assert ground.metres("a", "unlisted") is None
    assert ground.metres("c", "c") == 0.0
    assert Ground(places=PLAN).metres("cam-1", "cam-2") == 100.0
    assert Ground().metres("cam-1", "cam-2") is None


def test_nobody_is_too_far_who_runs_and_a_walk_fits_best_at_its_own_time() -> None:
    assert not way_of(0.8, 30, 100).too_far
    assert not way_of(0.8, 10, 100).too_far, "each camera sees some of the way"
    assert way_of(0.8, 10, 150).too_far
    in_time = way_of(0.8, 96, 100).fit
    assert in_time > way_of(0.8, 30, 100).fit
    assert in_time > way_of(0.8, 1500, 100).fit
    assert way_of(0.8, 96, 100).fit == way_of(0.8, -96, 100).fit


def test_who_was_found_by_clothes_has_no_part_in_how_faces_fit() -> None:
    by_face = replace(seen(7, 3 * MINUTE, "cam-2", score=0.7), verdict=UNDECIDED)
    ground = Ground(("cam-1", "cam-2", "cam-3"), 86_400.0, PLAN)
    confirmed = [replace(one, verdict=CONFIRMED) for one in STREET]
    (alone,) = traces_of(["P-17"], [STREET[0], by_face])
    (among,) = traces_of(["P-17"], [*confirmed, by_face])
    fits, told = fitted(alone, ground), fitted(among, ground)
    assert told.candidates == fits.candidates
    assert fits.candidates[0].fit is not None
    assert fits.candidates[0].fit.others == 1
    assert {hit.fit is None for hit in told.hits if hit.by_appearance} == {True}
    whys = [one.why for one in told.contradictions]
    assert any(why.startswith(TOO_FAST) for why in whys), "4 was 30 km away, and confirmed"


def test_tables_and_exports_say_by_appearance_and_give_no_ratio(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trace = followed(PLAN)
    confirmed = replace(trace.continuations[0], verdict=CONFIRMED)
    show_table(continuations_table(trace.continuations))
    show_table(stays_table([confirmed]))
    shown = " ".join(capsys.readouterr().out.split())
    assert "faster than walking allows" in shown
    assert "by appearance" in shown
    assert "identifies nobody" in " ".join(followed_line(trace, placed=True).split())
    values = json.loads(FORMATS["json"](report(PLAN), positions={}, hits_only=False))
    (subject,) = values["subjects"]
    assert [one["candidate_numbers"] for one in subject["hits"]] == [[1]]
    first = subject["continuations"][0]
    assert first["by_appearance"]
    assert "identifies nobody" in first["note"]
    assert first["log10_likelihood_ratio"] is None
    assert first["likelihood_ratio_words"] == "by appearance"
    assert first["follows_numbers"] == [1]
    assert first["way"]["metres"] == 100.0
    only = json.loads(FORMATS["json"](report(PLAN), positions={}, hits_only=True))
    assert "continuations" not in only["subjects"][0]
    rows = list(csv.DictReader(io.StringIO(
        FORMATS["csv-line-list"](report(PLAN), positions={}, hits_only=False)
    )))  # fmt: skip
    assert {row["found_by"] for row in rows} == {"face", "appearance"}
    assert {row["follows_numbers"] for row in rows if row["found_by"] == "appearance"} == {"1"}
    both = replace(trace, hits=(*trace.hits, confirmed))
    assert trace_line(both).startswith("P-17: 2 hits (1 by appearance), ")
    assert "by appearance" not in trace_line(trace)
    on_map = json.loads(
        FORMATS["geojson"](
            replace(report(PLAN), traces=(both,)),
            positions={"cam-1": (37.5, 126.7), "cam-2": (37.6, 126.7)},
            hits_only=True,
        )
    )
    assert on_map["features"][-1]["properties"]["hits_by_appearance"] == 1
    hits = FORMATS["csv-line-list"](report(PLAN), positions={}, hits_only=True)
    assert "appearance" not in hits


def test_a_walk_that_the_register_gives_counts_instead_of_the_distance() -> None:
    assert way_of(0.8, 300, 20.0, 300.0).walk_s == 300.0
    assert way_of(0.8, 300, 20.0, 300.0).fit > way_of(0.8, 300, 20.0).fit
    assert way_of(0.8, 60, 20.0, 300.0).too_far, "two floors up: no minute's way"
    assert not way_of(0.8, 120, 20.0, 300.0).too_far, "who runs"
    alone = way_of(0.8, 300, None, 300.0)
    assert (alone.metres, alone.walk_s, alone.too_far) == (None, 300.0, False)
    assert way_text(alone) == "5 min after, 5 min on foot"
    walks = replace(PLAN, walks={("cam-1", "cam-4"): 220.0, ("cam-1", "cam-2"): 900.0})
    ways = {stay.numbers[0]: stay.way for stay in followed(walks).continuations}
    assert ways[6] is not None
    assert ways[6].walk_s == 220.0
    assert ways[2] is not None
    assert ways[2].too_far, "100 m apart, and a quarter of an hour's walk"
