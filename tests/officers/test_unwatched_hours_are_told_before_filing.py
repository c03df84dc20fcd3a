"""Before a query is filed it is told in which hours its cameras were offline, blind or dark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta

import protocol_samples as s
import pytest
from desk_pages import page_desk, words_of
from officer_site import OfficerSite

from aggregator.store.rows import BoxRow, HealthRow
from officers import desk
from officers.desk.drafts import new_draft
from officers.desk.patients import take_in
from officers.desk.unwatched import Unwatched, unwatched, unwatched_words
from protocol.names import SLOT_MS
from runtime.clock import system_ms

NOW_MS = system_ms()
LAST = NOW_MS // SLOT_MS
"""The quarter hour that is running."""
WELL = {"camera.cam-1.fps": 4.9, "camera.cam-1.state": 2.0}


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("unwatched"))
    yield made
    made.close()


def remember(site: OfficerSite, worst: Mapping[int, Mapping[str, float] | None]) -> None:
    """Have box-1 reported in the last eight quarter hours: well, but for some (None: silent)."""
    with site.aggregator.store.writing() as unit:
        unit.ledger.put_box(BoxRow("box-1", NOW_MS, "online", "1", NOW_MS, NOW_MS, 0, WELL))
        for back in range(8, 0, -1):
            figures = worst.get(back, {})
            if figures is not None:
                slot = LAST - back
                row = HealthRow("box-1", slot, 30, slot * SLOT_MS, 0, "1", {**WELL, **figures})
                unit.ledger.put_health(row)


def told(
    site: OfficerSite, cameras: tuple[str, ...] = ("cam-1",), *, back: int = 8, ahead: int = 0
) -> Unwatched:
    with desk.connect(desk.Officer.load(site.officer("ana"))) as session:
        from_ms, to_ms = (LAST - back) * SLOT_MS, (LAST + ahead) * SLOT_MS
        found = unwatched(session, cameras, from_ms, to_ms, now_ms=NOW_MS)
    assert found is not None
    return found


@pytest.mark.slow
def test_each_quarter_hour_that_was_not_watched_is_counted_by_why(site: OfficerSite) -> None:
    remember(
        site,
        {
            7: None,
            6: {"trouble.view.cam-1": 1.0},
            5: {"trouble.view.cam-1": 2.0},
            4: {"camera.cam-1.state": 0.0},
            3: {"trouble.view.cam-1": 5.0},
        },
    )
    found = told(site)
    assert dict(found.counts) == {"offline": 1, "dark": 1, "blind": 2, "moved": 1}
    assert (found.over, found.untold, found.quarters) == (8, 0, 5)
    words = str(unwatched_words(found))
    assert "5 of 8 camera quarter hours" in words
    for said in ("offline 15 min", "blind 30 min", "dark 15 min", "cam-1: 1 h 15 min"):
        assert said in words


@pytest.mark.slow
def test_cameras_that_watched_all_of_it_are_said_to_have(site: OfficerSite) -> None:
    remember(site, {})
    found = told(site)
    assert found.cameras == ()
    assert "nothing is known to be missing in the 8 camera quarter hours" in str(
        unwatched_words(found)
    )


@pytest.mark.slow
def test_what_headquarters_do_not_tell_is_not_taken_for_watched(site: OfficerSite) -> None:
    remember(site, {})
    found = told(site, ("cam-1", "cam-77"), back=20 * 96)
    assert found.over == 2 * 20 * 96
    assert found.untold > 20 * 96, "a camera without a box, and before the history"
    assert found.counts["offline"] > 13 * 96, "of the days that they do tell of, nothing came"
    assert "are not told of" in str(unwatched_words(found))


@pytest.mark.slow
def test_for_hours_ahead_it_is_told_how_the_cameras_are_now(site: OfficerSite) -> None:
    remember(site, {})
    blocked = {**WELL, "trouble.view.cam-1": 2.0}
    with site.aggregator.store.writing() as unit:
        unit.ledger.put_box(BoxRow("box-1", NOW_MS, "online", "1", NOW_MS, NOW_MS, 0, blocked))
    found = told(site, back=0, ahead=4)
    assert found.over == 0
    assert "now: cam-1: camera cam-1 is blocked" in str(unwatched_words(found))
    assert told(site, back=2).now == (), "what is over is told by its own hours"


@pytest.mark.slow
def test_a_draft_tells_it_in_words_and_on_the_map_before_anything_is_signed(
    site: OfficerSite,
) -> None:
    remember(site, {5: None, 4: {"trouble.view.cam-1": 1.0}})
    now = datetime.now(UTC)
    with desk.connect(desk.Officer.load(site.officer("ana"))) as session:
        scope = desk.scope(session, ("cam-1",), now - timedelta(minutes=100), now)
        asked = desk.Request(scope, (site.subject_file("P-17"),), purpose="a drill")
        with closing(desk.draft(session, asked, s.sealing_key("ana"))) as draft:
            facts = {str(fact.about): fact for fact in draft.facts}
    assert facts["not watched"].headquarters
    assert "dark 15 min: too dark to see anybody" in str(facts["not watched"].words)
    with page_desk(site, "ana") as ana:
        officer = ana.house.officer
        take_in(officer, site.subject_file("p-1").read_bytes(), s.sealing_key("ana"))
        at = now.astimezone() - timedelta(minutes=100)
        draft_id = new_draft(
            officer,
            patients=("p-1",),
            cameras=("cam-1",),
            from_day=f"{at:%Y-%m-%d}",
            from_time=f"{at:%H:%M}",
            purpose="where p-1 was",
        ).id
        page = ana.get(f"/drafts/{draft_id}/check")
    assert "not watched" in words_of(page)
    assert "its box was not heard" in words_of(page)
    assert "headquarters says" in words_of(page)
    assert '"blind"' in page.text or "blind" in words_of(page)
