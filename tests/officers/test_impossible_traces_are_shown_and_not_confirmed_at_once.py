"""A subject is in one place at a time: what contradicts that is said, and `--all` refuses it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
from candidates import candidate_of

from officers.desk.camera_places import places_for
from officers.desk.export_forms import Report, as_json, as_line_list
from officers.desk.fitting import TraceImpossible, check_possible, contradictions_with, fitted
from officers.desk.ground import Ground
from officers.desk.notices import Notice
from officers.desk.officer import Officer
from officers.desk.traces import UNDECIDED, Numbered, Trace, ranked, traces_of
from officers.trace_text import contradiction_lines, likelihood_text
from protocol.directory_forms import SECOND
from protocol.errors import SignatureInvalid
from protocol.names import CameraAddress
from protocol.places import parse_places
from protocol.results import CONFIRMED, REJECTED, Candidate
from protocol.sightings import MaskStatus

REGISTER = (
    b"camera,place,lat,lon\ncam-1,north gate,37.50,126.77\ncam-2,market,37.51,126.77\n"
    b"cam-3,south gate,37.5001,126.77\ncam-4,hall,,\ncam-5,hall,,\n"
)
"""cam-2 is 1.1 km from cam-1, cam-3 eleven metres; nobody says where in the hall the others are."""
GROUND = Ground(
    tuple(f"cam-{n}" for n in range(1, 6)), 14 * 86_400.0, parse_places(REGISTER), 100_000
)


def seen(camera: str, from_s: float, *, log10_lr: float | None = 4.0) -> Candidate:
    return candidate_of(
        subject="P-17",
        address=CameraAddress(s.SITE, "box-1", camera),
        sighting_id=f"{camera}{from_s:05.0f}"[-8:].encode(),
        first_seen_ms=s.NOW_MS + int(from_s * 1000),
        last_seen_ms=s.NOW_MS + int(from_s * 1000) + 20_000,
        mask=MaskStatus.UNMASKED,
        mask_confidence=0.9,
        quality=0.8,
        modality="face",
        model=s.MODEL,
        score=0.7,
        log10_lr=log10_lr,
    )


def numbered(*candidates: Candidate, verdict: str = UNDECIDED) -> list[Numbered]:
    return [Numbered(n, bytes([n]) * 16, one, verdict) for n, one in enumerate(candidates, start=1)]


def traced(items: list[Numbered], ground: Ground = GROUND) -> Trace:
    (trace,) = traces_of(["P-17"], items)
    return fitted(trace, ground)


def report(trace: Trace) -> Report:
    return Report(s.query(), bytes(32), "ana", "complete", (trace,), s.NOW_MS)


def test_a_route_stands_before_a_single_look_alike_and_says_why() -> None:
    items = numbered(
        seen("cam-2", 500_000, log10_lr=4.6), seen("cam-1", 0), seen("cam-3", 60), seen("cam-1", 90)
    )
    trace = traced(items)
    assert [stay.numbers for stay in ranked(trace.candidates)][-1] == (1,)
    words = {stay.numbers: likelihood_text(stay) for stay in trace.candidates}
    assert "fits 2 others" in words[3,]
    assert "fits" not in words[1,]
    assert {stay.verdict for stay in trace.candidates} == {UNDECIDED}


def test_faster_than_walking_is_said_with_metres_and_seconds() -> None:
    trace = traced(numbered(seen("cam-1", 0), seen("cam-2", 60), verdict=CONFIRMED))
    (one,) = trace.contradictions
    assert (one.numbers, one.others) == ((1,), (2,))
    assert one.why == "faster than walking allows (1,112 m in 40 s)"
    assert "this trace is impossible as it stands" in contradiction_lines(trace)
    assert "1 and 2: faster than walking" in contradiction_lines(trace)


@pytest.mark.parametrize(
    ("cameras", "contradict"),
    [
        (("cam-1", "cam-2"), True),  # far from one another
        (("cam-1", "cam-3"), False),  # both see one gate
        (("cam-4", "cam-5"), False),  # one place, wherever in it
        (("cam-1", "cam-4"), True),  # how far is not known, and both at once
        (("cam-8", "cam-9"), True),  # in no register
    ],
)
def test_two_cameras_at_one_time_contradict_unless_both_see_the_same_place(
    cameras: tuple[str, str], contradict: bool
) -> None:
    trace = traced(numbered(*(seen(name, 0) for name in cameras), verdict=CONFIRMED))
    words = [one.why for one in trace.contradictions]
    assert words == ["on two cameras at one time"] * contradict


def test_two_look_alikes_before_one_camera_at_one_time_cannot_both_be_the_subject() -> None:
    one, other = numbered(seen("cam-1", 0), seen("cam-1", 5, log10_lr=3.0))
    trace = traced([replace(one, verdict=CONFIRMED), replace(other, verdict=CONFIRMED)])
    (against,) = trace.contradictions
    assert against.why == "two people before one camera at one time"
    undecided = traced([one, other])
    assert [stay.numbers for stay in undecided.candidates] == [(1,), (2,)]
    assert "not together with 1: two people before" in likelihood_text(undecided.candidates[1])
    with pytest.raises(TraceImpossible, match="two people before one camera"):
        check_possible(contradictions_with([one, other], [one, other], GROUND))


def test_a_second_of_overlap_where_the_tracker_lost_somebody_contradicts_nothing() -> None:
    trace = traced(numbered(seen("cam-1", 0), seen("cam-1", 19), verdict=CONFIRMED))
    assert len(trace.hits) == 2
    assert trace.contradictions == ()


def test_without_a_register_other_cameras_a_minute_later_contradict_nothing() -> None:
    items = numbered(seen("cam-1", 0), seen("cam-2", 60), verdict=CONFIRMED)
    assert traced(items, Ground()).contradictions == ()


def test_only_hits_make_a_trace_impossible_and_rejected_ones_contradict_nobody() -> None:
    one, other = numbered(seen("cam-1", 0), seen("cam-2", 0))
    undecided = traced([replace(one, verdict=CONFIRMED), other])
    assert undecided.contradictions == ()
    assert "not together with 1: on two cameras at one time" in likelihood_text(
        undecided.candidates[0]
    )
    rejected = traced([one, replace(other, verdict=REJECTED)])
    assert likelihood_text(rejected.candidates[0]).count("\n") == 0


def test_confirming_all_is_refused_only_for_what_contradicts_among_hits_and_chosen() -> None:
    one, other, later = numbered(seen("cam-1", 0), seen("cam-2", 0), seen("cam-1", 3_000))
    hit = replace(one, verdict=CONFIRMED)
    check_possible(contradictions_with([later], [hit, other, later], GROUND))
    check_possible(contradictions_with([later], [hit, replace(other, verdict=CONFIRMED)], GROUND))
    with pytest.raises(TraceImpossible, match=r"P-17: 1 and 2: on two cameras .*--anyway"):
        check_possible(contradictions_with([other], [hit, other, later], GROUND))


def test_exports_tell_how_each_fits() -> None:
    trace = traced(numbered(seen("cam-1", 0), seen("cam-2", 0), seen("cam-1", 600)))
    made = report(trace)
    rows = list(csv.DictReader(io.StringIO(as_line_list(made, positions={}, hits_only=False))))
    assert [row["contradicts_numbers"] for row in rows] == ["2", "1", ""]
    assert [row["fits_others"] for row in rows] == ["1", "0", "1"]
    (subject,) = json.loads(as_json(made, positions={}, hits_only=False))["subjects"]
    assert subject["cannot_all_be_true"] == []
    first, second, _ = subject["candidates"]
    assert first["contradicts_why"] == "on two cameras at one time"
    assert first["log10_support_of_others"] > 0 > second["log10_support_of_others"]


def officer(folder: Path, *, places: bytes | None) -> Officer:
    """Ana, whose directory names a register of places."""
    signed = replace(s.directory(), form=SECOND, places=places).sign(s.authority(), SECOND)
    (folder / "directory.cbor").write_bytes(signed.to_bytes())
    authority = s.authority().verify_key.raw.hex()
    file = folder / "officer.toml"
    file.write_text(f'site = "{s.SITE}"\nname = "ana"\nauthority = "{authority}"\n')
    return Officer.load(file)


def test_an_officer_goes_by_the_register_that_the_directory_names_and_no_other(
    tmp_path: Path,
) -> None:
    said: list[Notice] = []
    named = parse_places(REGISTER).digest
    ana = officer(tmp_path, places=named)
    assert places_for(ana, tell=said.append) is None
    assert "site update SITE --push" in said[-1].text
    (tmp_path / "places.csv").write_bytes(REGISTER)
    kept = places_for(ana, tell=said.append)
    assert kept is not None
    assert kept.digest == named
    assert len(said) == 1
    (tmp_path / "places.csv").write_bytes(REGISTER.replace(b"37.51", b"37.52"))
    ana = officer(tmp_path, places=named)
    assert places_for(ana, tell=said.append) is None
    assert "names another" in said[-1].text
    assert places_for(officer(tmp_path, places=None), tell=said.append) is None
    assert len(said) == 2


def test_a_copy_that_was_given_goes_before_the_kept_one_and_must_be_the_one_named(
    tmp_path: Path,
) -> None:
    said: list[Notice] = []
    ana = officer(tmp_path, places=parse_places(REGISTER).digest)
    given = tmp_path / "given.csv"
    given.write_bytes(REGISTER)
    read = places_for(ana, given, tell=said.append)
    assert read is not None
    assert set(read.cameras) == set(GROUND.cameras)
    assert said == [], "what is kept is not looked at"
    given.write_bytes(REGISTER + b"cam-6,yard,,\n")
    with pytest.raises(SignatureInvalid, match="names another"):
        places_for(ana, given, tell=said.append)


WALKED = replace(
    GROUND,
    places=replace(
        parse_places(REGISTER), walks={("cam-1", "cam-3"): 120.0, ("cam-4", "cam-5"): 90.0}
    ),
)
"""The same, where cam-3 is two floors above cam-1, and the hall has two ends."""


@pytest.mark.parametrize(
    ("cameras", "after_s", "why"),
    [
        (("cam-1", "cam-3"), 40, "faster than walking allows (a walk of 2 min in 20 s)"),
        (("cam-1", "cam-3"), 70, None),  # fifty seconds: who runs
        (("cam-4", "cam-5"), 30, "faster than walking allows (a walk of 1 min 30 s in 10 s)"),
        (("cam-4", "cam-5"), 0, "on two cameras at one time"),
        (("cam-1", "cam-2"), 60, "faster than walking allows (1,112 m in 40 s)"),  # not given
        (("cam-1", "cam-4"), 0, "on two cameras at one time"),  # how far is not known
    ],
)
def test_walks_that_the_register_gives_say_what_is_impossible(
    cameras: tuple[str, str], after_s: float, why: str | None
) -> None:
    one, other = (seen(name, at_s) for name, at_s in zip(cameras, (0, after_s), strict=True))
    trace = traced(numbered(one, other, verdict=CONFIRMED), WALKED)
    assert [found.why for found in trace.contradictions] == ([] if why is None else [why])


def test_who_took_a_given_walk_in_its_time_is_supported_by_it() -> None:
    route = numbered(seen("cam-4", 0), seen("cam-5", 120), seen("cam-4", 400_000))
    fits = {stay.numbers: stay.fit for stay in traced(route, WALKED).candidates}
    alone = {stay.numbers: stay.fit for stay in traced(route).candidates}
    with_walk, without = fits[2,], alone[2,]
    assert with_walk is not None
    assert without is not None
    assert (with_walk.others, without.others) == (1, 0)
    assert with_walk.log10_support > without.log10_support == 0
