"""What officers read fits into 80 columns, counts in plain words, and leaves no hour unsaid."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, timedelta, timezone

import numpy as np
import protocol_samples as s
import pytest
import query_samples_v2 as q2
from rich.cells import cell_len
from rich.table import Table

from officers.desk.api_client import QueryContent, QuerySummary
from officers.desk.coverage_hours import HOUR_MS, STATES, CameraHour, hour_values, hours_of
from officers.desk.facts import state_facts
from officers.desk.persons import persons_of
from officers.desk.traces import Stay, Trace
from officers.query_text import queries_table
from officers.trace_text import persons_line, persons_table, stays_table, trace_line
from officers.watching_text import hours_lines
from protocol.names import SLOT_MS, CameraAddress
from protocol.query import Query
from protocol.results import CONFIRMED
from protocol.sightings import MaskStatus
from protocol.v2.rows import SLOT_S
from protocol.v2.sightings import MaskSpan
from protocol.watching import NO_SEGMENT, NOT_GRANTED, REFUSED, VERSION_1, Watching
from runtime.terminal import Terminal, show_table
from runtime.text import counted
from tests.officers.test_persons_add_up_exposure import ALI, BEA, met, stay

CAMERA = CameraAddress(s.SITE, "box-1", "cam-platform-line-2-north-exit")


def shown(table: Table, width: int = 80) -> list[str]:
    stream = io.StringIO()
    show_table(table, Terminal(file=stream, width=width, force_terminal=True, color_system=None))
    return stream.getvalue().splitlines()


def summary(candidates: int = 1) -> QuerySummary:
    content = QueryContent(
        pseudonyms=("patient-17", "patient-18"),
        purpose="tracing",
        legal_basis="consent",
        cameras=("cam-1", "cam-2"),
        window_from_ms=s.NOW_MS,
        window_to_ms=s.NOW_MS + 4 * SLOT_MS,
        live=True,
    )
    return QuerySummary(
        id="3f2a91c0" * 4, digest="ab" * 32, requester="investigator-kim", state="standing",
        filed_ms=s.NOW_MS, changed_ms=s.NOW_MS, approvals_needed=2, candidates=candidates,
        query=content,
    )  # fmt: skip


def a_stay(*contacts_of: bytes) -> Stay:
    made = stay(CAMERA, *(met(episode, 0, 130) for episode in contacts_of))
    return replace(made, mask_varies=True, masks=(MaskSpan(0, 1, MaskStatus.MASKED, 0.9),))


def test_the_list_of_queries_fits_into_80_columns_with_ids_cut_to_8_digits() -> None:
    lines = shown(queries_table([summary(), summary()]))
    assert all(cell_len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    assert text.count("3f2a91c0") == 2
    assert "3f2a91c03" not in text
    for whole in ("patient-17, patient-18", "investigator-kim", "standing", "0 of 2"):
        assert text.count(whole) == 2


@pytest.mark.parametrize("contacts", [1, 5])
def test_stays_and_persons_fit_into_80_columns_with_dates_unbroken(contacts: int) -> None:
    one = a_stay(*(bytes([n]) * 8 for n in range(contacts)))
    trace = Trace("P-17", (one,), (), ())
    for table in (stays_table([one]), persons_table(persons_of(trace))):
        lines = shown(table)
        assert all(cell_len(line) <= 80 for line in lines)
        text = "\n".join(lines)
        assert CAMERA.camera in text
        assert sum(line.count(":") >= 4 for line in lines) >= 1, "from and to in one line"


def test_one_is_one_and_two_are_several() -> None:
    assert counted(1, "candidate") == "1 candidate"
    assert counted(2, "candidate") == "2 candidates"
    assert counted(1200, "entry", "entries") == "1,200 entries"
    found = [fact.words for fact in state_facts(summary(1)) if fact.about == "found"]
    assert found == ["1 candidate"]
    line = trace_line(Trace("P-17", (a_stay(ALI),), (), ()))
    assert "1 hit," in line
    assert "1 contact," in line


def test_the_contact_list_says_who_may_be_one_person() -> None:
    trace = Trace("P-17", (a_stay(ALI, BEA),), (), ())
    assert "may be listed more than once" in persons_line(persons_of(trace))
    linked = {(CAMERA, ALI): 1, (CAMERA, BEA): 1}
    (person,) = persons_of(trace, linked)
    assert persons_line([person]) == "whom they met: 1 person, the longest first"
    cells = " ".join(" ".join(shown(persons_table([person]), 200)).split())
    assert "1 linked" in cells
    assert "2 min 10 s" in cells
    assert trace.hits[0].verdict == CONFIRMED


# -- coverage by the hour -------------------------------------------------------------------------


def query(*cameras: str, hours: int = 3) -> Query:
    begins_ms = s.NOW_MS // HOUR_MS * HOUR_MS
    asked = q2.query(cameras=cameras)
    return replace(asked, window_from_ms=begins_ms, window_to_ms=begins_ms + hours * HOUR_MS)


def told(
    asked: Query, *cameras: Sequence[int | None], closed: list[list[int]] | None = None
) -> Watching:
    slots = len(cameras[0])
    by_slot = np.array(
        [[NO_SEGMENT if one is None else one for one in row] for row in cameras], np.uint16
    )
    seconds = np.zeros((len(cameras), 8), np.uint32)
    seconds[:, 0] = [sum(one or 0 for one in row) for row in cameras]
    return Watching(
        asked.window_from_ms,
        asked.window_from_ms + slots * SLOT_MS,
        asked.cameras,
        seconds,
        by_slot,
        closed=None if closed is None else np.array(closed, np.uint8),
    )


def states(hours: tuple[CameraHour, ...]) -> list[str]:
    return [one.state for one in hours]


def test_each_hour_is_watched_partly_blind_unwatched_refused_or_not_granted() -> None:
    asked = query("cam-1", "cam-2")
    row: list[int | None] = [SLOT_S, SLOT_S, SLOT_S, 899, 900, 0, 0, None, 0, 0, 0, None]
    nothing: list[int | None] = [None] * 12
    why = [REFUSED] * 4 + [NOT_GRANTED] * 3 + [REFUSED] + [0] * 4
    hours = hours_of(told(asked, row, nothing, closed=[[0] * 12, why]), asked)
    assert states(hours) == [
        "watched", "partly", "blind",
        "refused", "not granted", "unwatched",
    ]  # fmt: skip
    assert [one.watched_s for one in hours[:3]] == [3599, 900, 0]
    assert {one.state for one in hours} == set(STATES)
    values = hour_values(hours)
    assert [one["camera"] for one in values] == ["cam-2", "cam-1"]
    assert values[0]["hours"][0]["state"] == "refused"


def test_a_box_of_version_1_watched_as_far_as_anybody_knows() -> None:
    asked = query("cam-1", hours=1)
    watching = told(asked, [None] * 4, closed=[[VERSION_1] * 4])
    assert states(hours_of(watching, asked)) == ["partly"]


def test_of_what_was_told_nothing_every_hour_is_not_granted() -> None:
    asked = query("cam-1", "cam-2")
    assert states(hours_of(None, asked)) == ["not granted"] * 6


@pytest.mark.slow
def test_a_window_beyond_the_calendar_is_no_error_and_has_an_end() -> None:
    asked = replace(
        query("cam-1"), window_from_ms=1 << 60, window_to_ms=(1 << 60) + 900 * 24 * HOUR_MS
    )
    hours = hours_of(None, asked)
    assert 400 * 24 <= len(hours) <= 400 * 24 + 1


def test_hours_that_have_not_ended_are_not_listed_and_a_part_of_one_counts_for_it() -> None:
    asked = query("cam-1")
    hours = hours_of(told(asked, [SLOT_S] * 5), asked)
    assert states(hours) == ["watched", "watched"]
    assert hours[1].watched_s == SLOT_S


def test_hours_are_those_of_the_clock_on_the_wall() -> None:
    asked = query("cam-1", hours=1)
    half = timezone(timedelta(hours=5, minutes=30))
    watching = told(asked, [SLOT_S, SLOT_S, 0, 0])
    assert states(hours_of(watching, asked, zone=half)) == ["watched", "blind"]
    assert states(hours_of(watching, asked, zone=UTC)) == ["partly"]


def test_a_line_a_camera_has_a_mark_an_hour_the_worst_first() -> None:
    asked = query("cam-1", "cam-2", "시청역-3")
    dark = [0] * 4 + [SLOT_S] * 8
    watching = told(asked, [SLOT_S] * 12, dark, [None] * 12)
    lines = hours_lines(hours_of(watching, asked)).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["시청역-3", "cam-2"]
    assert [line.split()[-1] for line in lines[2:]] == ["...", "-##"]
    marks = {cell_len(line[: line.rindex(" ")]) for line in lines[2:]}
    assert len(marks) == 1, "marks stand below one another, whatever script a name is in"
    assert hours_lines(hours_of(told(query("cam-1"), [SLOT_S] * 12), query("cam-1"))) == ""


def test_a_fortnight_fits_into_80_columns_and_hides_no_blind_hour() -> None:
    asked = query("cam-1", hours=14 * 24)
    row = [SLOT_S] * (14 * 96)
    row[500:504] = [0] * 4
    lines = hours_lines(hours_of(told(asked, row), asked)).splitlines()
    assert all(cell_len(line) <= 110 for line in lines)
    assert lines[-1].split()[-1].count("-") >= 1
    assert len(lines[-1].split()[-1]) == 48
