"""In a real browser: the still by Space, views by 1 2 3, undone by z, and the slider by arrows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Tab, browser_context, needs_chromium, open_desk, sideways, violations
from desk_pages import served_desk
from still_site import BoxThatAnswers, picture, with_stills
from traced_query import TWO_CONFIRM, TracedQuery, TracedSite, on_their_way

from demo.ports import free_port
from officers.pages.house import House
from protocol.results import CONFIRMED

pytestmark = [needs_chromium, pytest.mark.processes]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedSite]:
    made = TracedSite(tmp_path_factory.mktemp("officers"), policy=TWO_CONFIRM)
    yield made
    made.close()


@pytest.fixture(scope="module")
def house(site: TracedSite) -> Iterator[House]:
    with served_desk(site, "ana", free_port()) as made:
        yield made


@pytest.fixture(scope="module")
def tab(house: House) -> Iterator[Tab]:
    with browser_context() as context:
        yield open_desk(context, house)


@pytest.fixture(scope="module")
def seen(site: TracedSite) -> TracedQuery:
    return with_stills(site)


@pytest.fixture(scope="module")
def found(site: TracedSite) -> TracedQuery:
    made = on_their_way(site)
    made.decide("ana", CONFIRMED, 1, 4)
    made.decide("dan", CONFIRMED, 1, 4)
    return made


def test_a_still_is_shown_by_space_and_hidden_when_one_goes_on(
    site: TracedSite, seen: TracedQuery, tab: Tab
) -> None:
    box = BoxThatAnswers(site.aggregator.stills, site, {seen.rows[1]: picture()})
    page = tab.open(f"/queries/{seen.id}/candidates/1")
    page.keyboard.press("Digit1")
    assert page.locator(".score").count() == 0, "same is for who has seen the still"
    with box.answering():
        page.keyboard.press("Space")
        page.wait_for_selector("img.still")
        page.wait_for_selector('[value="same"]:not([disabled])')
    width = page.locator("img.still").evaluate("image => image.naturalWidth")
    assert width == 240
    page.emulate_media(media="print")
    assert not page.locator("img.still").is_visible()
    page.emulate_media(media="screen")
    page.keyboard.press("Digit1")
    page.wait_for_selector(".score")
    assert page.locator('[value="same"]').get_attribute("aria-pressed") == "true"
    page.keyboard.press("KeyZ")
    page.wait_for_selector(".score", state="detached")
    page.keyboard.press("Digit2")
    page.wait_for_selector(".score")
    page.keyboard.press("KeyJ")
    page.wait_for_url("**/candidates/2")
    assert page.locator("img.still").count() == 0
    page.keyboard.press("KeyK")
    page.wait_for_url("**/candidates/1")
    assert page.locator("img.still").count() == 0
    assert tab.complaints == []


def test_keys_do_nothing_while_somebody_types_or_has_switched_them_off(
    seen: TracedQuery, house: House, tab: Tab
) -> None:
    house.settings.change(shortcuts=False)
    try:
        page = tab.open(f"/queries/{seen.id}/candidates/3")
        page.keyboard.press("Digit3")
        page.keyboard.press("KeyJ")
        assert page.url.endswith("/candidates/3")
        assert page.locator(".score").count() == 0
    finally:
        house.settings.change(shortcuts=True)


def test_the_slider_tells_by_arrows_where_somebody_was(found: TracedQuery, tab: Tab) -> None:
    page = tab.open(f"/queries/{found.id}/trace")
    output = page.locator("[data-slider] output")
    assert "stop 1: cam-1, City Hall" in output.inner_text()
    page.locator("#moment").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert "not seen" in output.inner_text()
    page.get_by_role("button", name="Next stop").click()
    assert "stop 2: cam-4, Clinic" in output.inner_text()
    assert page.locator('[data-stop="2"].at-stop').count() == 1
    assert page.locator('[data-lane="cam-4"].at-stop').count() == 1
    page.get_by_role("button", name="Stop before").click()
    assert "stop 1" in output.inner_text()
    assert tab.complaints == []


@pytest.mark.parametrize(
    "address",
    [
        "/queries/{id}/candidates/2",
        "/queries/{id}/trace",
        "/queries/{id}/contacts",
        "/queries/{id}/report",
        "/queries/{id}/custodians",
        "/documents/{id}",
        "/patients/clothes",
    ],
)
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    found: TracedQuery, tab: Tab, address: str
) -> None:
    page = tab.open(address.format(id=found.id))
    assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert sideways(page) <= 0
    assert violations(page) == []
    page.set_viewport_size({"width": 1280, "height": 720})
    assert sideways(page) <= 0


@pytest.mark.parametrize("language", ["en", "ko"])
def test_on_a_phone_no_label_of_the_report_reaches_into_its_number(
    house: House, found: TracedQuery, tab: Tab, language: str
) -> None:
    house.settings.change(language=language)
    tab.page.set_viewport_size({"width": 390, "height": 844})
    page = tab.open(f"/queries/{found.id}/report")
    # A label alone must fit into its column: it is drawn by the style sheet, so it is drawn anew.
    room = page.eval_on_selector_all(
        ".ready td[data-label]",
        """(cells) => cells.map((cell) => {
            const { columnGap, gridTemplateColumns, whiteSpace } = getComputedStyle(cell);
            const column = parseFloat(gridTemplateColumns);
            const label = document.createElement("span");
            label.textContent = cell.dataset.label;
            Object.assign(label.style, { whiteSpace, fontSize: "14px", width: `${column}px` });
            label.style.display = "block";
            document.body.append(label);
            return [columnGap, label.scrollWidth - column];
        })""",
    )
    house.settings.change(language="en")
    tab.page.set_viewport_size({"width": 1280, "height": 720})
    assert room
    assert all(gap == "12px" and over <= 0 for gap, over in room), room
