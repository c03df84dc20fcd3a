"""With the trace: what the cameras watched, the worst first, and how many people were where."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import protocol_samples as s
import pytest
import query_samples_v2 as q2
from officer_site import OfficerSite
from rich.console import Console  # noqa: TID251 - prints our own words
from rich.table import Table

from officers import query_cli, trace_cli
from officers.desk.case import open_case
from officers.desk.watching import gaps, open_watching, watching_values
from officers.watching_text import counts_line, counts_table, coverage_lines, coverage_table
from protocol.names import SLOT_MS
from protocol.query import Asked, Query
from protocol.v2.rows import SLOT_S
from protocol.watching import NO_SEGMENT, Watching, tell_counts

SLOTS = 4
POLICY = b"""policy_schema = 2
confirmations = 1
contacts = "near"
purposes = ["exercise"]
same_place_counts = true
enrolment_without_witness = true
"""


def told(
    query: Query, *cameras: tuple[int | None, ...], counts: tuple[tuple[int, ...], ...] = ()
) -> Watching:
    """What cameras watched of the first quarter hours of a query; the rest of each was dark."""
    names = query.cameras[: len(cameras)]
    first = query.window_from_ms // SLOT_MS
    seconds = np.zeros((len(names), 8), np.uint32)
    by_slot = np.full((len(names), SLOTS), NO_SEGMENT, np.uint16)
    for at, watched in enumerate(cameras):
        for slot, one in enumerate(watched):
            if one is None:
                seconds[at, 6] += SLOT_S
                continue
            by_slot[at, slot] = one
            seconds[at, 0] += one
            seconds[at, 2] += SLOT_S - one
    return Watching(
        query.window_from_ms,
        query.window_from_ms + SLOTS * SLOT_MS,
        names,
        seconds,
        by_slot,
        np.full(len(names), SLOTS, np.uint32),
        tell_counts(
            np.array([(at, first + slot, *row) for at, slot, *row in counts], np.uint32).reshape(
                -1, 10
            )
        ),
    )


def query(*cameras: str) -> Query:
    return q2.query(cameras=cameras, asks=Asked(same_place_counts=True))


WHOLE = (SLOT_S,) * SLOTS
NIGHT = (SLOT_S, 300, None, SLOT_S)
SOMEBODY = (0, 1, 40, 12, 9, 1, 10, 6, 0, 8)
"""32 people on the first camera in the second quarter hour, one of them with and without mask."""


def printed(table: Table | None) -> list[list[str]]:
    """The cells of a table, row by row."""
    assert table is not None
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return [line.split("  ") for line in capture.get().splitlines()]


def flat(table: Table | None) -> str:
    return "\n".join(" ".join(" ".join(row).split()) for row in printed(table))


# -- the words ------------------------------------------------------------------------------------


def test_the_worst_camera_comes_first_and_those_that_watched_all_of_it_share_a_line() -> None:
    watching = told(query("cam-1", "cam-2", "cam-3", "cam-4"), WHOLE, NIGHT, WHOLE, (None,) * SLOTS)
    lines = coverage_lines(watching)
    assert "the boxes' word" in lines
    assert "cam-1, cam-3: all of it" in lines
    rows = flat(coverage_table(watching)).splitlines()
    assert rows[1].startswith("cam-4 0 % nothing came 1 h")
    assert rows[2].startswith("cam-2 58 % nothing came 15 min, dark 10 min")
    assert len(rows) == 3


def test_where_every_camera_watched_there_is_no_table() -> None:
    watching = told(query("cam-1", "cam-2"), WHOLE, WHOLE)
    assert "all 2 cameras: all of it" in coverage_lines(watching)
    assert coverage_table(watching) is None


def test_before_a_quarter_hour_has_ended_nothing_is_said_of_any_camera() -> None:
    watching = told(query("cam-1"), WHOLE)
    none = replace(
        watching,
        until_ms=watching.from_ms,
        seconds=np.zeros((1, 8), np.uint32),
        by_slot=np.zeros((1, 0), np.uint16),
    )
    assert "no quarter hour has ended yet" in coverage_lines(none)
    assert coverage_table(none) is None


def test_of_many_cameras_the_worst_are_listed_and_the_others_counted() -> None:
    names = tuple(f"cam-{number}" for number in range(30))
    watching = told(query(*names), *[NIGHT] * 30)
    assert "10 more (--all shows them)" in flat(coverage_table(watching))
    assert "cam-29" in flat(coverage_table(watching, every=True))
    crowded = told(query(*names), *[WHOLE] * 29, NIGHT)
    assert "and 19 more: all of it" in coverage_lines(crowded)


def test_quarter_hours_in_a_row_that_were_not_watched_wholly_are_one_gap() -> None:
    watching = told(query("cam-1", "cam-2"), NIGHT, (5, SLOT_S, SLOT_S, None))
    found = [list(gaps(one, 0)) for one in watching.watches()]
    assert found == [[(SLOT_MS, 3 * SLOT_MS)], [(0, SLOT_MS), (3 * SLOT_MS, 4 * SLOT_MS)]]


def test_people_are_counted_by_place_and_quarter_hour_in_order_of_time() -> None:
    watching = told(
        query("cam-1", "cam-2"), WHOLE, WHOLE, counts=(SOMEBODY, (1, 0, 30, 7, 8, 9, 6, 9, 9, 5))
    )
    rows = flat(counts_table(watching)).splitlines()
    assert rows[0].startswith("camera quarter hour (local) people mask no mask both unknown")
    assert rows[1].startswith("cam-2")
    assert rows[1].endswith("30 7 8 9 6 9, 9, 5")
    assert rows[2].startswith("cam-1")
    assert rows[2].endswith("31+ 12 9 <5 10 6, <5, 8")
    assert "fewer than 5 in 6 of 8 quarter hours" in counts_line(watching)
    assert counts_table(told(query("cam-1"), WHOLE)) is None


def test_what_was_not_counted_and_what_was_left_out_is_said() -> None:
    watching = replace(
        told(query("cam-1"), WHOLE, counts=(SOMEBODY,)),
        counted=np.array([3], np.uint32),
        counts_left_out=1,
    )
    line = counts_line(watching)
    assert "fewer than 5 in 1 of 3" in line
    assert "1 were not counted" in line
    assert "1 with fewer people are left out" in line


def test_json_has_all_of_it() -> None:
    watching = told(query("cam-1", "cam-2"), WHOLE, NIGHT, counts=(SOMEBODY,))
    values = json.loads(json.dumps(watching_values(watching)))
    worst, whole = values["cameras"]
    assert (worst["camera"], worst["watched_s"], worst["missing_s"]) == ("cam-2", 2100, SLOT_S)
    assert len(worst["not_wholly_watched"]) == 1
    assert whole["not_wholly_watched"] == []
    (counted,) = values["counts"]
    assert (counted["people"], counted["people_at_least"]) == ("withheld", 31)
    assert (counted["masked"], counted["most_at_once"]) == (12, [6, "<5", 8])
    assert (counted["unmasked"], counted["changed"]) == (9, "<5")
    assert values["quarter_hours_counted"] == {"cam-1": SLOTS, "cam-2": SLOTS}
    plain = watching_values(replace(watching, by_slot=None, counts=None, counted=None))
    assert plain["counts"] is None
    assert plain["cameras"][0]["not_wholly_watched"] is None


# -- what is believed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"cameras": ("cam-1", "cam-9")},
        {"from_ms": s.NOW_MS // SLOT_MS * SLOT_MS - 100 * SLOT_MS},
        {"until_ms": s.NOW_MS // SLOT_MS * SLOT_MS + 100 * SLOT_MS, "by_slot": None},
        {"counts": "asked for none"},
        {"sealed to": "bo"},
    ],
)
def test_what_is_of_another_query_is_a_problem_and_is_not_shown(change: dict[str, object]) -> None:
    asked = query("cam-1", "cam-2")
    if change == {"counts": "asked for none"}:
        asked, change = replace(asked, asks=Asked()), {}
    reader = change.pop("sealed to", "ana")
    signed = asked.sign(s.signing_key("ana"))
    case = open_case(signed.to_bytes(), asked.query_id.hex(), s.directory())
    watching = replace(told(asked, WHOLE, NIGHT, counts=(SOMEBODY,)), **change)  # type: ignore[arg-type]
    sealed = watching.seal(s.sealing_key(str(reader)).public, query_digest=case.digest)
    found, problems = open_watching([sealed], case, s.sealing_key("ana"))
    assert found is None
    assert len(problems) == 1
    assert open_watching([], case, s.sealing_key("ana")) == (None, ())


# -- at the keyboard ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"), policy=POLICY + s.POLICY_TEXT)
    yield made
    made.close()


@pytest.mark.slow
def test_an_officer_asks_for_counts_and_reads_them_with_the_trace(
    site: OfficerSite, tmp_path: Path
) -> None:
    filed = site.run(
        query_cli.app, "ana", "file", "--subject", str(site.subject_file("P-17")),
        "--all-cameras", "--from", "-2h", "--to", "now", "--purpose", "tracing", "--yes",
        "--same-place-counts", "--json",
    )  # fmt: skip
    assert filed.exit_code == 0, filed.output
    query_id = json.loads(filed.stdout)["id"]
    record = site.record(query_id)
    assert record.query.asks.same_place_counts
    before = site.run(trace_cli.app, "ana", "show", query_id).output
    assert "watched" not in before, "not yet"
    assert "that nobody was found there says nothing" in before
    watching = told(record.query, WHOLE, NIGHT, counts=(SOMEBODY,))
    sealed = watching.seal(s.sealing_key("ana").public, query_digest=record.digest)
    with site.aggregator.store.writing() as unit:
        unit.ledger.put_watching(record.digest, {"ana": sealed})
    shown = " ".join(site.run(trace_cli.app, "ana", "show", query_id).output.split())
    assert "cam-1: all of it" in shown
    assert "cam-2 58 % nothing came 15 min, dark 10 min" in shown
    assert "people mask no mask both unknown most at once" in shown
    values = json.loads(site.run(trace_cli.app, "ana", "show", query_id, "--json").stdout)
    assert values["watching"] == watching_values(watching)
    out = tmp_path / "trace.json"
    wrote = site.run(
        trace_cli.app, "ana", "export", query_id, "--format", "json", "--out", str(out)
    )
    assert wrote.exit_code == 0, wrote.output
    assert json.loads(out.read_text())["watching"]["counts"][0]["people_at_least"] == 31


@pytest.mark.slow
def test_approvers_read_that_people_are_counted(site: OfficerSite) -> None:
    filed = site.run(
        query_cli.app, "ana", "file", "--subject", str(site.subject_file("P-17")),
        "--all-cameras", "--from", "-2h", "--to", "now", "--purpose", "tracing", "--yes",
        "--same-place-counts", "--json",
    )  # fmt: skip
    shown = site.run(query_cli.app, "bo", "show", json.loads(filed.stdout)["id"])
    words = " ".join(shown.output.split())
    assert "how many people were there and how many wore a mask, in numbers, not who" in words
