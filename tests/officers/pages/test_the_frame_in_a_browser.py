"""The desk's frame in Chromium: everybody can read and reach it, at both widths, by keys alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
from officer_site import PASSPHRASE, OfficerSite
from playwright.sync_api import BrowserContext, Route, expect

from demo.ports import free_port
from officers.pages.house import House
from officers.pages.signatures import Signing
from protocol.signing import Unsigned

pytestmark = [needs_chromium, pytest.mark.processes]
PATHS = ("/", "/settings", "/help", "/nowhere")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    site = OfficerSite(tmp_path_factory.mktemp("officers"))
    with served_desk(site, "ana", free_port()) as served:
        yield served
    site.close()


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    with browser_context() as made:
        yield made


@pytest.fixture
def tab(house: House, context: BrowserContext) -> Iterator[Tab]:
    if house.locked:
        house.unlock(PASSPHRASE.encode())
    made = open_desk(context, house)
    yield made
    made.page.close()


def test_axe_finds_nothing_and_nothing_scrolls_sideways(house: House, tab: Tab) -> None:
    for language, theme in (("en", "light"), ("ko", "dark")):
        house.settings.change(language=language, theme=theme)
        for width, height in (WIDE, NARROW):
            tab.page.set_viewport_size({"width": width, "height": height})
            for path in PATHS:
                page = tab.open(path)
                assert violations(page) == [], (path, language, width)
                assert sideways(page) <= 0, (path, language, width)
    house.settings.change(language="en", theme="system")
    complaints = [one for one in tab.complaints if "404" not in one]
    assert complaints == []


def test_the_lock_and_the_page_of_signing_are_readable_too(house: House, tab: Tab) -> None:
    signing = Signing((Unsigned("sample", "ana", b"x"),), ("I mean it.",), lambda _: "/", "/")
    page = tab.open(f"/sign/{house.signatures.add(signing)}")
    assert violations(page) == []
    assert sideways(page) <= 0
    house.lock()
    page.wait_for_url("**/lock?back=*")
    assert violations(page) == []
    assert sideways(page) <= 0


def test_locking_in_one_tab_empties_all_and_unlocking_leads_back(
    house: House, context: BrowserContext, tab: Tab
) -> None:
    other = open_desk(context, house)
    other.open("/help")
    tab.open("/settings")
    tab.page.keyboard.press("Shift+L")
    tab.page.wait_for_url("**/lock*")
    other.page.wait_for_url("**/lock*")
    assert house.locked
    other.page.get_by_label("Passphrase of your keys").fill(PASSPHRASE)
    other.page.get_by_role("button", name="Unlock").click()
    other.page.wait_for_url("**/help")
    other.page.close()


def test_keys_work_by_their_place_while_hangul_is_typed_and_not_in_fields(
    house: House, tab: Tab
) -> None:
    page = tab.open("/")
    # A Korean keyboard says ㅎ for the key that is g on others: only its place is the same.
    page.evaluate(
        """() => { for (const [code, key] of [["KeyG", "ㅎ"], ["KeyF", "ㄹ"]])
        document.body.dispatchEvent(new KeyboardEvent("keydown", {code, key, bubbles: true})) }"""
    )
    page.wait_for_url("**/fleet")
    signing = Signing((Unsigned("sample", "ana", b"x"),), ("I mean it.",), lambda _: "/", "/")
    path = f"/sign/{house.signatures.add(signing)}"
    page = tab.open(path)
    page.get_by_label("Passphrase of your keys").press("Shift+Slash")
    page.get_by_label("Passphrase of your keys").press("Shift+L")
    page.evaluate(
        """() => document.body.dispatchEvent(
        new KeyboardEvent("keydown", {code: "KeyL", shiftKey: true, isComposing: true}))"""
    )
    assert page.url.endswith(path)
    assert not house.locked
    page.locator("h1").click()
    page.keyboard.press("Shift+Slash")
    page.wait_for_url("**/help")


def test_keys_can_be_turned_off(house: House, tab: Tab) -> None:
    house.settings.change(shortcuts=False)
    page = tab.open("/settings")
    page.locator("body").press("Shift+Slash")
    page.locator("body").press("Shift+L")
    house.settings.change(shortcuts=True)
    assert page.url.endswith("/settings")
    assert not house.locked


def test_the_first_stop_of_the_tab_key_skips_to_the_content(tab: Tab) -> None:
    page = tab.open("/help")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")


def test_what_arrives_is_told_without_reload_and_moves_nothing(house: House, tab: Tab) -> None:
    page = tab.open("/")
    live = page.locator(".live-bar")
    expect(live).to_be_hidden()
    expect(page.locator("html")).to_have_attribute("data-live", "open")
    tab.live.tell("queries", 2)
    expect(live).to_be_visible()
    expect(live).to_contain_text("2 new")
    expect(page.locator("#polite")).to_have_text("2 new")
    live.get_by_role("link", name="Show").click()
    expect(page.locator(".live-bar")).to_be_hidden()


def test_a_candidate_is_heard_once_and_not_when_the_sound_is_off(house: House, tab: Tab) -> None:
    page = tab.open("/")
    page.locator("h1").first.click()  # browsers play nothing before a page was touched
    html = page.locator("html")
    expect(html).to_have_attribute("data-live", "open")
    tab.live.tell("candidates:77ab")
    expect(html).to_have_attribute("data-chimed", "1")
    house.settings.change(sound=False)
    page = tab.open("/settings")
    page.locator("h1").first.click()
    expect(html).to_have_attribute("data-live", "open")
    tab.live.tell("candidates:77ab")
    tab.live.tell("last")
    expect(html).to_have_attribute("data-heard", "last")
    assert html.get_attribute("data-chimed") is None
    house.settings.change(sound=True)


def test_the_fifth_tab_gets_no_stream_and_works_all_the_same(
    house: House, context: BrowserContext, tab: Tab
) -> None:
    tab.open("/help")
    others = [open_desk(context, house) for _ in range(4)]
    for one in others[:3]:
        expect(one.page.locator("html")).to_have_attribute("data-live", "open")
    expect(others[3].page.locator("html")).to_have_attribute("data-live", "none")
    others[3].open("/settings").get_by_role("heading", name="Settings", exact=True).wait_for()
    expect(others[3].page.locator("html")).to_have_attribute("data-live", "none")
    house.lock()
    for one in [tab, *others]:
        one.page.wait_for_url("**/lock*")  # though the last has no stream
    house.unlock(PASSPHRASE.encode())
    for one in others:
        one.page.close()


@pytest.mark.parametrize("first", ["another tab", "its own key"])
def test_a_tab_that_hears_of_the_lock_while_it_goes_there_goes_on(first: str, tab: Tab) -> None:
    page = tab.open("/help")
    going: list[Route] = []

    def hold(route: Route) -> None:
        going.append(route)

    page.route("**/lock*", hold)
    own = first == "its own key"
    with page.expect_console_message(lambda _: bool(going)):
        page.evaluate(
            """(own) => { const channel = () => new BroadcastChannel("desk-locked");
            const [tells, hears] = [channel(), channel()];
            const begin = () => setInterval(() => tells.postMessage("locked"), 10);
            hears.onmessage = () => console.log("told");
            own ? document.addEventListener("submit", begin) : begin(); }""",
            own,
        )
        if own:
            page.keyboard.press("Shift+L")
    with page.expect_console_message():
        pass
    with page.expect_navigation(url="**/lock" if own else "**/help"):
        going[-1].continue_()
    assert len(going) == 1


def test_nothing_is_kept_in_the_browsers_storage(tab: Tab) -> None:
    page = tab.open("/settings")
    kept = "[localStorage.length, sessionStorage.length, document.cookie]"
    assert page.evaluate(kept) == [0, 0, ""]


def test_the_desk_asks_before_it_locks_and_stays_for_who_says_so(house: House, tab: Tab) -> None:
    page = tab.open("/help")
    house.awake(ago_s=545)
    dialog = page.get_by_role("dialog", name="Are you still there?")
    dialog.wait_for()
    assert violations(page) == []
    dialog.get_by_role("button", name="Stay").click()
    dialog.wait_for(state="hidden")
    assert house.idle_left_s > 500


def test_a_page_says_that_headquarters_are_silent_and_that_its_desk_has_ended(
    tmp_path: Path, context: BrowserContext
) -> None:
    site = OfficerSite(tmp_path / "site")
    with served_desk(site, "bo", free_port()) as ends:
        tab = open_desk(context, ends)
        tab.open("/help")
        expect(tab.page.locator("html")).to_have_attribute("data-live", "open")
        expect(tab.page.locator("#silent")).to_be_hidden()
        site.close()
        ends.live.look_at_all()
        expect(tab.page.locator("#silent")).to_be_visible()
        expect(tab.page.locator("#polite")).to_contain_text("Headquarters are silent")
    tab.page.get_by_text("it has ended").wait_for()
    tab.page.close()
