"""How many came into the room after the subject left is told by quarter hour, and never below 5."""

from __future__ import annotations

import json
from dataclasses import replace

import candidates
import numpy as np
import protocol_samples as s
import query_samples_v2 as q2
from rich.console import Console  # noqa: TID251 - prints our own words

from officers.desk.afterwards import Afterwards, afterwards, afterwards_values
from officers.desk.traces import Numbered, traces_of
from officers.watching_text import afterwards_table
from protocol.names import SLOT_MS, CameraAddress
from protocol.places import CameraPlace, Places
from protocol.query import Asked, Query
from protocol.results import CONFIRMED, REJECTED
from protocol.sightings import MaskStatus
from protocol.small_cells import Small
from protocol.v2.rows import SLOT_S
from protocol.watching import Watching, tell_counts

FEW, WITHHELD = Small.FEW, Small.WITHHELD
CAMERAS = ("cam-1", "cam-2", "cam-3")
QUERY = q2.query(cameras=CAMERAS, asks=Asked(same_place_counts=True, afterwards_min=30))
FIRST = QUERY.window_from_ms // SLOT_MS
SLOTS = 6
PLACES = Places(
    bytes(32),
    (),
    {
        "cam-1": CameraPlace("cam-1", "hospital", None, room="ward 3"),
        "cam-2": CameraPlace("cam-2", "hospital", None, room="ward 3"),
        "cam-3": CameraPlace("cam-3", "hospital", None, room="corridor"),
    },
)


def watching(*counts: tuple[int, int, int, int]) -> Watching:
    """What was counted: camera, slot, masked and unmasked each; of cam-3 nobody counted."""
    rows = [
        (at, FIRST + slot, 99, masked, bare, 0, 0, 0, 0, 0) for at, slot, masked, bare in counts
    ]
    counted = np.ones((len(CAMERAS), SLOTS), np.uint8)
    counted[2] = 0
    return Watching(
        QUERY.window_from_ms,
        QUERY.window_from_ms + SLOTS * SLOT_MS,
        CAMERAS,
        np.zeros((len(CAMERAS), 8), np.uint32),
        np.full((len(CAMERAS), SLOTS), SLOT_S, np.uint16),
        counted.sum(axis=1).astype(np.uint32),
        tell_counts(np.array(rows, np.uint32).reshape(-1, 10)),
        counted_by_slot=counted,
    )


def seen(camera: str, slot: int, *, verdict: str = CONFIRMED, number: int = 1) -> Numbered:
    begins_ms = (FIRST + slot) * SLOT_MS + 60_000
    one = candidates.candidate_of(
        subject="P-17", address=CameraAddress(s.SITE, "box-1", camera),
        sighting_id=s.fixed(f"id {number}", 8), first_seen_ms=begins_ms,
        last_seen_ms=begins_ms + 4000, mask=MaskStatus.UNMASKED, mask_confidence=0.9,
        quality=0.9, modality="face", model=s.MODEL, score=0.8, log10_lr=None,
    )  # fmt: skip
    return Numbered(number, s.fixed(f"candidate {number}", 16), one, verdict)


def told(
    *items: Numbered,
    of: Watching | None = None,
    places: Places | None = PLACES,
    query: Query = QUERY,
) -> tuple[Afterwards, ...]:
    counted = of or watching((0, 1, 12, 30), (0, 2, 3, 1), (1, 3, 9, 9))
    return afterwards(traces_of(["P-17"], items), query, counted, places)


def test_people_at_the_cameras_of_the_room_are_told_from_when_the_subject_left() -> None:
    rows = told(seen("cam-1", 1))
    assert {(one.place, one.room) for one in rows} == {("hospital", "ward 3")}
    found = {
        (one.camera, one.begins_ms // SLOT_MS - FIRST): one.counts
        and (one.counts.people_at_least or one.counts.people)
        for one in rows
    }
    assert found == {
        ("cam-1", 1): 42, ("cam-1", 2): FEW, ("cam-1", 3): FEW,
        ("cam-2", 1): FEW, ("cam-2", 2): FEW, ("cam-2", 3): 18,
    }  # fmt: skip


def test_where_there_was_no_room_to_tell_all_nobody_is_said_to_be_few() -> None:
    counted = replace(watching((0, 1, 12, 30)), counts_left_out=2)
    rows = told(seen("cam-1", 1), of=counted)
    said = {one.counts.people for one in rows if one.counts is not None}
    assert said == {WITHHELD}
    assert next(one.counts for one in rows if one.counts).people_at_least == 42


def test_where_nobody_counted_it_is_not_said_that_nobody_came() -> None:
    rows = told(seen("cam-3", 1))
    assert {one.counts for one in rows} == {None}
    assert {value["counted"] for value in afterwards_values(rows)} == {False}


def test_what_is_not_confirmed_tells_nothing() -> None:
    assert told(seen("cam-1", 1, verdict="undecided")) == ()
    assert told(seen("cam-1", 1, verdict=REJECTED)) == ()


def test_two_stays_in_one_room_are_followed_by_each_quarter_hour_once() -> None:
    rows = told(seen("cam-1", 1), seen("cam-2", 2, number=2))
    keys = [(one.camera, one.begins_ms) for one in rows]
    assert len(keys) == len(set(keys)) == 2 * 4
    left = {one.begins_ms // SLOT_MS - FIRST: one.left_ms // SLOT_MS - FIRST for one in rows}
    assert left == {1: 1, 2: 2, 3: 2, 4: 2}


def test_without_a_register_the_camera_is_the_room() -> None:
    rows = told(seen("cam-1", 1), places=None)
    assert {(one.place, one.room, one.camera) for one in rows} == {("cam-1", "", "cam-1")}


def test_beyond_the_querys_window_nothing_is_told() -> None:
    assert len(told(seen("cam-1", SLOTS - 1))) == 2


def test_a_query_that_does_not_ask_for_it_is_told_nothing() -> None:
    plain = replace(QUERY, asks=Asked(same_place_counts=True))
    assert told(seen("cam-1", 1), query=plain) == ()
    assert told(seen("cam-1", 1), of=replace(watching(), counts=None)) == ()


def test_no_small_number_is_shown_or_stands_in_the_values() -> None:
    rows = told(seen("cam-1", 1))
    values = json.loads(json.dumps(afterwards_values(rows)))
    first = next(one for one in values if one["people_at_least"] == 42)
    assert (first["people"], first["masked"], first["changed"]) == ("withheld", 12, "<5")
    numbers = [v for one in values for v in one.values() if isinstance(v, int) and v is not True]
    assert min(numbers) >= 5
    table = afterwards_table(rows)
    assert table is not None
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    shown = " ".join(capture.get().split())
    assert "42+ 12 30" in shown
    assert "<5 <5 <5" in shown
