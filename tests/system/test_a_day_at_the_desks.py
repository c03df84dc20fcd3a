"""A whole day in a browser: a patient is enrolled, asked for, found live, confirmed and reported.

Everybody has a desk of their own, which is a real process, and a tab of one browser; at the end all
disks are searched, the browser's profile included.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import people_at_desks as at
import pytest
from browser import browser_context, needs_chromium
from people_at_desks import Person
from playwright.sync_api import Page, expect
from running_site import SERVERS, RunningSite, plan_with_dan
from waiting import wait_for

from demo.building import place_cameras
from demo.scenario import ClipTruth
from demo.wiretap import find_in_files
from officers.desk import Officer
from officers.desk.patients import patients

pytestmark = [pytest.mark.models, pytest.mark.processes, needs_chromium]
PEOPLE = ("ana", "bo", "cy", "dan", "eve")
LIVE_WITHIN_S = 3.0
_SLICE_BYTES = 48


@dataclass
class Day:
    """The site, who works at its desks, and what came of it so far."""

    site: RunningSite
    people: Mapping[str, Person]
    photo: Path
    query: str = ""
    live_after_s: float = 0.0
    stills: Mapping[str, bytes] | None = None

    @property
    def path(self) -> str:
        """Where the query's pages are."""
        return f"/queries/{self.query}"


@pytest.fixture(scope="module")
def day(
    tmp_path_factory: pytest.TempPathFactory,
    short_clip: ClipTruth,
    model_bundle_path: Path,
    photos_path: Path,
) -> Iterator[Day]:
    folder = tmp_path_factory.mktemp("day")
    (folder / "tmp").mkdir()
    source = f"file:{short_clip.path.resolve()}"
    plan = plan_with_dan(
        {"cam-1": {"source": source, "loop": True}, "cam-2": {"source": "file:none.mp4"}},
        bundle=model_bundle_path,
        policy={"cover": "off", "evidence_stills": 5, "confirmations": 2},
        box_settings={"sealing": {"batch": 1, "live_after_s": 0.5}},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "tmp"))  # of all processes, searched like the rest
        site = RunningSite(plan, folder)
        try:
            site.start(*SERVERS)
            place_cameras(site.local, ["cam-1", "cam-2"])
            with (
                browser_context(profile=str(folder / "profile"), accept_downloads=True) as context,
                at.at_desks(site.local, context, PEOPLE) as people,
            ):
                yield Day(site, people, photos_path / "obama.jpg")
        finally:
            site.stop()


@pytest.fixture(scope="module")
def filed(day: Day) -> Day:
    """Ana has enrolled a patient and filed a query that watches camera 1 live."""
    ana = day.people["ana"]
    at.enrol(ana, "patient-17", day.photo, consent="C-2031/17")
    at.begin_draft(ana, "Tell me at once when the patient is seen")
    at.draw_around(ana, "cam-1")
    expect(ana.page.get_by_role("checkbox", name="cam-1")).to_be_checked()
    expect(ana.page.get_by_role("checkbox", name="cam-2")).not_to_be_checked()
    expect(ana.page.locator("#cost")).to_contain_text("1 camera")
    ana.look("where").get_by_role("button", name="Next: when").click()
    ana.page.wait_for_url("**/when")
    ana.look("when").get_by_role("button", name="Next: why").click()
    ana.page.wait_for_url("**/why")
    ana.page.get_by_label("Why, in words").fill("contact tracing of a confirmed patient")
    ana.page.get_by_label("Of how many sightings").fill("5")
    ana.page.get_by_role("checkbox", name="dan").check()
    ana.look("why").get_by_role("button", name="Next: check").click()
    ana.page.wait_for_url("**/check")
    expect(ana.main()).to_contain_text("a small picture of that one person each")
    ana.look("check").get_by_role("button", name="Sign and file as ana").click()
    ana.sign()
    ana.page.wait_for_url("**/queries/*")
    day.query = ana.page.url.rsplit("/", 1)[-1]
    return day


@pytest.fixture(scope="module")
def approved(filed: Day) -> Day:
    """Bo has approved by a passkey that the office has listed, cy by passphrase."""
    bo, local = filed.people["bo"], filed.site.local
    at.with_authenticator(bo)
    offer = at.offer_passkey(bo, local.folder)
    filed.site.command("site", "passkey", "add", str(local.paths.root), str(offer), "--push")
    at.approve(filed.people["cy"], filed.query)
    wait_for(
        lambda: "signs here" in bo.go("/settings/passkeys").inner_text("main"),
        "bo's desk to hear of the passkey",
        every_s=1.0,
        timeout_s=120,
    )
    at.approve(bo, filed.query, by_passkey=True)
    return filed


@pytest.fixture(scope="module")
def found(approved: Day) -> Day:
    """The patient has walked past, and ana's open page has said so by itself."""
    page = approved.people["ana"].go(f"{approved.path}/candidates")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Candidates")
    expect(page.locator("html[data-live=open]")).to_be_attached()
    approved.site.start("box-1")
    expect(page.locator(".live-bar")).to_be_visible(timeout=3 * at.PATIENCE_MS)
    shown_s = time.time()
    (first, *_) = approved.site.local.services["aggregator"].events("candidates_found")
    approved.live_after_s = shown_s - datetime.fromisoformat(str(first["timestamp"])).timestamp()
    look_no_more(approved.site, "box-1")
    page.locator(".live-bar").get_by_role("link", name="Show").click()
    expect(page.locator(".candidate")).to_be_visible()
    return approved


def look_no_more(site: RunningSite, box: str) -> None:
    """Have a board see nobody else: a candidate that grows while it is decided is shown anew."""
    site.local.services[box].stop()
    config = site.local.paths.root / "boxes" / box / "box.toml"
    config.write_text(re.sub(r'"file:[^"]*"', '"file:none.mp4"', config.read_text()))
    site.start(box)


@pytest.fixture(scope="module")
def confirmed(found: Day) -> Day:
    """Both who confirm have seen the still, said "same", and signed."""
    stills = {}
    for name in ("ana", "dan"):
        person = found.people[name]
        page = person.go(f"{found.path}/candidates/1")
        expect(page.locator(".candidate")).to_be_visible()
        assert page.locator(".decided, .score").count() == 0, "nobody is told another's verdict"
        assert name == "ana" or "ana" not in page.inner_text("main")
        stills[name] = at.show_still(person)
        person.look("candidate")
        at.confirm(person)
    found.stills = stills
    return found


def test_a_query_is_filed_by_drawing_and_approved_at_other_desks(approved: Day) -> None:
    page = approved.people["bo"].go(f"{approved.path}/approved")
    expect(page.locator("main")).to_contain_text("by passkey")
    expect(page.locator("main")).to_contain_text("cy")


def test_a_live_hit_shows_without_a_reload(found: Day) -> None:
    """Counted from when the aggregator has stored it."""
    assert found.live_after_s <= LIVE_WITHIN_S


def test_both_who_confirm_see_the_same_still_and_make_a_hit(confirmed: Day) -> None:
    assert confirmed.stills is not None
    assert confirmed.stills["ana"] == confirmed.stills["dan"]
    assert confirmed.stills["ana"].startswith(b"\xff\xd8")
    ana = confirmed.people["ana"]
    wait_for(
        lambda: "1 hit" in ana.go(f"{confirmed.path}/trace").inner_text(".counts"),
        "dan's word to come to ana's desk",
        every_s=1.0,
        timeout_s=60,
    )
    ana.look("trace")
    ana.go(f"{confirmed.path}/contacts")
    ana.look("contacts")


def test_a_report_is_signed_downloaded_and_found_genuine(confirmed: Day, tmp_path: Path) -> None:
    ana = confirmed.people["ana"]
    page = ana.go(f"{confirmed.path}/report")
    ana.look("report")
    ana.press("Make the report…")
    ana.sign()
    files = [
        saved(page, number, tmp_path)
        for number in range(page.locator(".downloads a[download]").count())
    ]
    (pdf,) = (one for one in files if one.suffix == ".pdf")
    (signature,) = (one for one in files if one.suffix == ".sig")
    assert pdf.read_bytes().startswith(b"%PDF-")
    dan = confirmed.people["dan"]
    page = dan.go("/reports/verify")
    page.locator("#f-file").set_input_files(pdf)
    page.locator("#f-signature").set_input_files(signature)
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.get_by_role("status").first).to_contain_text("Genuine")
    dan.look("verify")


def test_the_auditor_reads_the_story_and_the_fleet_is_seen(confirmed: Day) -> None:
    eve = confirmed.people["eve"]
    at.fetch_logs(eve)
    expect(eve.page.locator(".audit-verdict")).to_contain_text("Sound")
    eve.look("audit")
    page = eve.go(f"/audit/queries/{confirmed.query}")
    story = page.locator(".audit-story")
    for name in ("ana", "bo", "cy", "dan"):
        expect(story).to_contain_text(name)
    eve.look("story")
    page = eve.go("/fleet")
    expect(page.locator("main")).to_contain_text("box-1")
    eve.look("fleet")
    eve.go("/fleet?look=map")
    eve.look("fleet on the map")


def test_no_disk_holds_anything_plain_the_browsers_profile_included(confirmed: Day) -> None:
    assert confirmed.stills is not None
    local = confirmed.site.local
    officer = Officer.load(local.officer("ana"))
    sealing = confirmed.site.sealing("ana")
    (patient,) = patients(officer, sealing)
    photo, still = confirmed.photo.read_bytes(), confirmed.stills["ana"]
    needles = [
        *slices(photo),
        *slices(still),
        *(template.row.tobytes()[:24] for template in patient.file.open(sealing)),
    ]
    assert len(set(needles)) == len(needles) >= 7
    files = list(local.files())
    assert {"aggregator.db", "desk-ana.log", "Cookies"} <= {path.name for path in files}
    assert find_in_files(needles, files) == []
    planted = local.folder / "tmp" / "planted"
    planted.write_bytes(b"." + needles[0] + needles[-1])
    assert find_in_files(needles, local.files()) == [(planted, 0), (planted, len(needles) - 1)]


def test_every_page_was_within_reach_of_everybody_and_no_console_complained(
    confirmed: Day,
) -> None:
    assert {name: one.unfit for name, one in confirmed.people.items() if one.unfit} == {}
    assert {name: one.complaints for name, one in confirmed.people.items() if one.complaints} == {}


def slices(data: bytes) -> list[bytes]:
    """Return pieces of a picture from behind its headers."""
    return [data[len(data) * part // 4 :][:_SLICE_BYTES] for part in (1, 2, 3)]


def saved(page: Page, number: int, folder: Path) -> Path:
    """Download a file that waits; return where it was saved."""
    with page.expect_download() as download:
        page.locator(".downloads a[download]").nth(number).click()
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return file
