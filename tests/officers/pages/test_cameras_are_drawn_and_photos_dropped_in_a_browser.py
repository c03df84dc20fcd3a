"""In a real browser: a rectangle on the map chooses cameras, a dropped photo tells its quality."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import protocol_samples as s
import pytest
from browser import WIDE, Tab, browser_context, needs_chromium, open_desk, sideways, violations
from desk_pages import served_desk
from officer_site import OfficerSite
from playwright.sync_api import Page, expect

from demo.ports import free_port
from officers.desk.drafts import SavedDraft, new_draft, read_draft
from officers.desk.patients import patients, take_in
from protocol.places import CameraPlace, Places

pytestmark = [pytest.mark.models, pytest.mark.processes, needs_chromium]
KEY = s.sealing_key("ana")
LOBBY = CameraPlace("cam-1", "Lobby", (37.5, 127.0), names={"ko": "로비"})
WARD = CameraPlace("cam-2", "Ward", (37.501, 127.002))
PLACES = Places(b"", ("lat", "lon"), {"cam-1": LOBBY, "cam-2": WARD}).to_bytes()


@pytest.fixture(scope="module")
def tab(
    tmp_path_factory: pytest.TempPathFactory, model_bundle_path: Path, model_bundle_key: bytes
) -> Iterator[Tab]:
    site = OfficerSite(tmp_path_factory.mktemp("drawn"), places=PLACES)
    config = site.officer("ana")
    bundle = f'bundle = "{model_bundle_path}"\nbundle_keys = ["{model_bundle_key.hex()}"]\n'
    config.write_text(bundle + config.read_text())
    with served_desk(site, "ana", free_port()) as house, browser_context(WIDE) as context:
        take_in(house.officer, site.subject_file("p-1").read_bytes(), KEY)
        yield open_desk(context, house)
    site.close()


def drafted(tab: Tab) -> SavedDraft:
    return new_draft(tab.house.officer, patients=("p-1",), from_day="2031-05-04")


def drag(page: Page, corners: tuple[tuple[float, float], tuple[float, float]]) -> None:
    """Click two corners of the map, given as parts of its width and height."""
    box = page.locator(".map-canvas").bounding_box()
    assert box is not None
    for across, down in corners:
        at = box["x"] + across * box["width"], box["y"] + down * box["height"]
        page.mouse.move(*at)
        page.mouse.click(*at)


def test_a_rectangle_on_the_map_chooses_the_cameras_in_it(tab: Tab) -> None:
    draft = drafted(tab)
    page = tab.open(f"/drafts/{draft.id}/where")
    expect(page.locator(".map-count")).to_have_text("0 of 2 cameras are chosen.")
    page.get_by_role("button", name="Rectangle").click()
    drag(page, ((0.5, 0.02), (0.98, 0.55)))  # the ward is in the north-east
    expect(page.get_by_role("checkbox", name="cam-2")).to_be_checked()
    expect(page.get_by_role("checkbox", name="cam-1")).not_to_be_checked()
    expect(page.locator(".map-told")).to_have_text("Added: cam-2")
    expect(page.locator("#cost")).to_contain_text("1 camera")
    expect(page.locator(".map-pin .map-asked")).to_have_count(1)
    page.get_by_role("checkbox", name="cam-1").check()  # the list does the same
    expect(page.locator(".map-pin .map-asked")).to_have_count(2)
    page.get_by_role("button", name="Next: when").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("From when to when")
    assert read_draft(tab.house.officer, draft.id, KEY).cameras == ("cam-1", "cam-2")


def test_a_dropped_photo_tells_its_quality_at_once(tab: Tab, photos_path: Path) -> None:
    page = tab.open("/patients/new")
    photos = {"good.jpg": (photos_path / "obama.jpg").read_bytes(), "paper.jpg": b"%PDF-1.7"}
    coded = {name: base64.b64encode(data).decode() for name, data in photos.items()}
    page.evaluate(
        """(files) => {
          const dropped = new DataTransfer();
          for (const [name, data] of Object.entries(files)) {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            dropped.items.add(new File([bytes], name, { type: "image/jpeg" }));
          }
          document.querySelector("[data-drop]").dispatchEvent(
            new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
        }""",
        coded,
    )
    cards = page.locator(".photos .card")
    expect(cards).to_have_count(2, timeout=60_000)
    expect(cards.nth(0)).to_contain_text("good enough")
    expect(cards.nth(1)).to_contain_text("cannot be used")
    cards.nth(1).get_by_role("button").click()
    expect(cards).to_have_count(1)
    assert violations(page) == []
    assert tab.complaints == []


def test_every_page_is_within_reach_of_everybody(tab: Tab) -> None:
    draft, one = drafted(tab), patients(tab.house.officer, KEY)[0]
    paths = [
        *(f"/drafts/{draft.id}/{step}" for step in ("who", "where", "when", "why", "check")),
        "/drafts",
        "/patients",
        f"/patients/{one.id}",
        f"/patients/{one.id}/delete",
        "/patients/witness",
    ]
    tab.complaints.clear()
    for path in paths:
        page = tab.open(path)
        assert violations(page) == [], path
        page.set_viewport_size({"width": 390, "height": 844})
        assert sideways(page) <= 0, path
        page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
    assert tab.complaints == []
