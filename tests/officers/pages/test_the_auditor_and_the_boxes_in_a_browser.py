"""The auditor's and the boxes' pages in Chromium: readable by all; an audit kept as a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_samples import QUERY_ID
from audit_site import LoggedSite
from browser import (
    NARROW,
    WIDE,
    Tab,
    browser_context,
    needs_chromium,
    open_desk,
    sideways,
    violations,
)
from desk_pages import served_desk
from officer_site import OfficerSite
from playwright.sync_api import BrowserContext, Request, expect

from aggregator.store.rows import BoxRow, HealthRow
from demo.ports import free_port
from officers.desk.audit_desk import audit_folder
from officers.pages.house import House
from protocol.names import SLOT_MS
from runtime.clock import system_ms

pytestmark = [needs_chromium, pytest.mark.processes]
QUERY = f"/audit/queries/{QUERY_ID.hex()}"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    site = OfficerSite(tmp_path_factory.mktemp("audit"))
    with served_desk(site, "eve", free_port()) as served:
        hold(served, LoggedSite().whole().signed())
        now_ms = system_ms()
        figures = {"camera.cam-1.fps": 4.9, "camera.cam-1.state": 2, "trouble.view.cam-1": 2}
        with site.aggregator.store.writing() as unit:
            unit.ledger.put_box(
                BoxRow("box-1", now_ms, "online", "1.0", now_ms, now_ms, 0, figures)
            )
            for back in (*range(40), *range(60, 300)):
                slot = now_ms // SLOT_MS - back
                row = HealthRow("box-1", slot, 30, slot * SLOT_MS, 0, "1.0", figures)
                unit.ledger.put_health(row)
        yield served
    site.close()


def hold(house: House, logs: LoggedSite) -> None:
    """Have this copy of the logs on the machine, fetched before."""
    logs.write(audit_folder(house.officer))


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    with browser_context() as made:
        yield made


@pytest.fixture
def tab(house: House, context: BrowserContext) -> Iterator[Tab]:
    made = open_desk(context, house)
    made.open("/audit")
    expect(made.page.get_by_role("heading", name="Findings")).to_be_visible()
    yield made
    made.page.close()


def test_axe_finds_nothing_and_nothing_scrolls_sideways(house: House, tab: Tab) -> None:
    paths = ("/audit", QUERY, "/audit/counts", "/fleet", "/fleet?look=map", "/fleet/box-1")
    for language, theme in (("en", "light"), ("ko", "dark")):
        house.settings.change(language=language, theme=theme)
        for width, height in (WIDE, NARROW):
            tab.page.set_viewport_size({"width": width, "height": height})
            for path in paths:
                page = tab.open(path)
                assert violations(page) == [], (path, language, width)
                assert sideways(page) <= 0, (path, language, width)
    house.settings.change(language="en", theme="system")
    assert tab.complaints == []


def test_the_page_waits_for_fetching_and_shows_what_came(house: House, tab: Tab) -> None:
    page = tab.open("/audit")
    page.get_by_role("button", name="Fetch and verify").click()
    alarm = page.get_by_role("heading", name="A log is not what it was")
    expect(alarm).to_be_visible()  # what comes is another site's history than the copy's
    assert violations(page) == []
    page.get_by_role("link", name="Look at everything else").click()
    expect(page.get_by_text("could not be fetched. Shown is an earlier copy.")).to_be_visible()


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_saved_audit_opens_from_a_file_and_asks_nobody_for_anything(
    house: House, context: BrowserContext, tmp_path: Path, language: str
) -> None:
    house.settings.change(language=language)
    house.lock()
    house.unlock(b"four words make one")
    hold(house, LoggedSite().whole().signed())
    tab = open_desk(context, house)
    page = tab.open("/audit")
    expect(page.locator(".audit-verdict, .audit-alarm")).to_be_visible()
    with page.expect_download() as coming:
        page.locator('form[action="/audit/page"] button').click()
    saved = tmp_path / coming.value.suggested_filename
    coming.value.save_as(saved)
    asked: list[str] = []
    alone = context.new_page()

    def note(request: Request) -> None:
        asked.append(request.url)

    alone.on("request", note)
    alone.goto(saved.as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [saved.as_uri()]
    assert alone.locator("h1").inner_text()
    assert "cy" in alone.locator("body").inner_text()
    assert sideways(alone) <= 0
    family = alone.evaluate("document.fonts.check('15px report')")
    assert family, "the font is in the file"
    alone.close()
    tab.page.close()
    house.settings.change(language="en")
