"""The pages of boxes and cameras: states, troubles, the last days, by headquarters' word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest
from desk_pages import PageDesk, links_of, words_of
from officer_site import OfficerSite

from aggregator.store.rows import BoxRow, GapRow, HealthRow
from protocol.names import SLOT_MS, CameraAddress
from runtime.clock import system_ms

NASTY = "<script>alert(1)</script>\"'&{{7*7}}"
DAY_SLOTS = 96


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("fleet"))
    yield made
    made.close()


@pytest.fixture
def bo(site: OfficerSite) -> Iterator[PageDesk]:
    with closing(PageDesk(site, "bo")) as made:
        yield made


def hear(
    site: OfficerSite, figures: Mapping[str, float] | None = None, *, version: str = "1.2"
) -> None:
    """Have box-1 reported a moment ago."""
    now_ms = system_ms()
    seen = {"camera.cam-1.fps": 4.9, "camera.cam-1.state": 2, "outbox.queued": 7, **(figures or {})}
    with site.aggregator.store.writing() as unit:
        unit.ledger.put_box(BoxRow("box-1", now_ms, "online", version, now_ms, now_ms, 0, seen))


def remember(site: OfficerSite, box: str = "box-1", *, version: str = "1.2") -> None:
    """Have a box reported for two days but one quarter hour."""
    slot = system_ms() // SLOT_MS
    with site.aggregator.store.writing() as unit:
        for back in range(2 * DAY_SLOTS):
            if back != 20:
                worst = {"camera.cam-1.fps": 4.5, "outbox.queued": 3, "temperature_c": 50.0}
                at = slot - back
                unit.ledger.put_health(HealthRow(box, at, 30, at * SLOT_MS, 0, version, worst))


@pytest.mark.slow
def test_all_boxes_are_shown_those_in_trouble_first_by_headquarters_word(
    site: OfficerSite, bo: PageDesk
) -> None:
    hear(site, {"trouble.view.cam-1": 2})
    page = bo.get("/fleet")
    words = words_of(page)
    assert "Headquarters says" in words
    assert "2 cameras: 0 well 1 in trouble 1 silent" in words
    assert "camera cam-1 is blocked" in words
    assert "never heard" in words
    assert words.index("never heard") < words.index("camera cam-1 is blocked")
    assert {"/fleet/box-1", "/fleet/box-2"} <= links_of(page)


@pytest.mark.slow
def test_figures_that_a_box_does_not_tell_are_not_made_up(site: OfficerSite, bo: PageDesk) -> None:
    hear(site, {"group.canary": 1, "certificate_ends_s": system_ms() / 1000 + 30.5 * 86_400})
    words = words_of(bo.get("/fleet"))
    assert " 30 1.2 canary " in words
    older = words_of(bo.get("/fleet/box-2"))
    assert "Certificate not known" in older


@pytest.mark.slow
def test_the_filter_says_what_it_hides(site: OfficerSite, bo: PageDesk) -> None:
    hear(site)
    words = words_of(bo.get("/fleet?only=trouble"))
    assert "1 box is hidden by the filter." in words
    assert "box-1" not in words
    named = words_of(bo.get("/fleet?text=CAM-1"))
    assert "1 box is hidden by the filter." in named
    assert "box-2" not in named
    assert "hidden" not in words_of(bo.get("/fleet"))


@pytest.mark.slow
def test_cameras_are_on_the_map_with_shape_and_word(site: OfficerSite, bo: PageDesk) -> None:
    hear(site, {"trouble.view.cam-1": 4})
    page = bo.get("/fleet?look=map")
    assert "trouble: camera cam-1 stands still" in words_of(page)
    assert "/fleet/box-1" in links_of(page)


@pytest.mark.slow
def test_a_boxs_last_days_are_drawn_and_told_by_day(site: OfficerSite, bo: PageDesk) -> None:
    hear(site)
    remember(site)
    page = bo.get("/fleet/box-1")
    words = words_of(page)
    assert page.text.count("<polyline") >= 6, "three figures, each broken once"
    assert "Frames a second, slowest camera (fps) : worst 4.5" in words
    assert "15 min 00 s" in words, "the quarter hour without a report"
    assert "style=" not in page.text
    silent = words_of(bo.get("/fleet/box-2"))
    assert "never heard" in silent


@pytest.mark.slow
def test_missing_messages_are_counted(site: OfficerSite, bo: PageDesk) -> None:
    hear(site)
    with site.aggregator.store.writing() as unit:
        stream = unit.ledger.add_stream(CameraAddress(site.directory.site, "box-1", "cam-1"))
        unit.ledger.add_gap(stream.number, 0, GapRow(0, 3, 12, system_ms(), None, lost=True))
    words = words_of(bo.get("/fleet/box-1"))
    assert "10 are missing; 7 wait on the box" in words
    assert "10 messages are lost" in words
    assert "cam-1 3–12 " in words
    assert "given up" in words


@pytest.mark.slow
def test_a_box_that_nobody_knows_is_no_page(bo: PageDesk) -> None:
    assert bo.get("/fleet/nobody").status_code == 404
    assert bo.get("/fleet/Not%20A%20Name").status_code == 422
    assert bo.get("/fleet?look=thumbnails").status_code == 422


@pytest.mark.slow
def test_silent_headquarters_are_told(site: OfficerSite, bo: PageDesk) -> None:
    bo.get("/fleet")
    site.close()
    page = bo.get("/fleet")
    assert page.status_code == 503
    assert "Headquarters do not answer." in words_of(page)


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ko"])
def test_what_a_box_calls_itself_is_words(site: OfficerSite, language: str) -> None:
    hear(site, {f"group.{NASTY}": 1, f"trouble.day_keys.{NASTY}": 1}, version=NASTY)
    remember(site, version=NASTY)
    with closing(PageDesk(site, "bo", language=language)) as bo:
        pages = [bo.get("/fleet"), bo.get("/fleet/box-1"), bo.get("/fleet?look=map")]
        pages.append(bo.get(f"/fleet?text={NASTY}"))
    for page in pages:
        assert page.status_code == 200
        assert "<script>alert(1)" not in page.text
    assert sum(page.text.count("&lt;script&gt;alert(1)") for page in pages) > 3


@pytest.mark.slow
def test_pages_are_said_in_korean(site: OfficerSite) -> None:
    hear(site)
    remember(site)
    with closing(PageDesk(site, "bo", language="ko")) as bo:
        words = words_of(bo.get("/fleet"))
        assert "카메라와 박스" in words
        assert "Certificate" not in words
        assert "최근 7일" in words_of(bo.get("/fleet/box-1"))
