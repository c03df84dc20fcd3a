"""Renew the pictures of the desk in docs/pictures: the demo's story, looked at in a browser.

Run by ``make screenshots``. Everything on them is invented; the faces are of the free photographs
that the demo is made of.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import people_at_desks as at
from browser import NARROW, WIDE, browser_context
from people_at_desks import Person
from PIL import Image
from playwright.sync_api import BrowserContext, expect

from demo.tour import Tour

_STATE = Path(".sealtrace")
_FOLDER = Path("docs/pictures")
_MOST_BYTES = 120_000
_COLOURS = (128, 64, 32, 16)
_PEOPLE = ("ana", "bo", "cy", "eve")


@dataclass(frozen=True)
class Album:
    """Where pictures go."""

    folder: Path

    def take(self, person: Person, name: str, *, whole: bool = True) -> None:
        """Take a picture of what a person sees: the whole page, or what fits the window."""
        person.page.wait_for_load_state("networkidle")
        person.page.mouse.move(0, 0)
        data = person.page.screenshot(full_page=whole, animations="disabled")
        file = self.folder / f"{name}.png"
        file.write_bytes(small(data))
        print(f"  {file} {file.stat().st_size:,} bytes", flush=True)  # noqa: T201

    def in_korean(self, person: Person, name: str) -> None:
        """Take the page again in Korean, and go back to English."""
        person.page.get_by_role("button", name="한국어").click()
        expect(person.page.locator("html")).to_have_attribute("lang", "ko")
        self.take(person, f"{name}-ko")
        person.page.get_by_role("button", name="English").click()
        expect(person.page.locator("html")).to_have_attribute("lang", "en")


def small(data: bytes) -> bytes:
    """Return a picture with as many colours as fit `_MOST_BYTES`.

    Raises:
        ValueError: it does not fit with the fewest.
    """
    with Image.open(BytesIO(data)) as image:
        for colours in _COLOURS:
            made = BytesIO()
            image.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(
                made, "PNG", optimize=True
            )
            if made.tell() <= _MOST_BYTES:
                return made.getvalue()
    raise ValueError(f"a picture has more than {_MOST_BYTES:,} bytes; show less of the page")


def photograph(tour: Tour, photos: Path, context: BrowserContext, album: Album) -> None:
    """Go through the desks after the demo's story, and photograph the pages."""
    with at.at_desks(tour.site, context, _PEOPLE) as people:
        ana, bo, eve = people["ana"], people["bo"], people["eve"]
        ana.go("/")
        album.take(ana, "home", whole=False)
        album.in_korean(ana, "home")
        query = _ask(ana, photos, album)
        for width, name in ((NARROW, "decide-390"), (WIDE, "decide")):
            bo.page.set_viewport_size({"width": width[0], "height": width[1]})
            bo.go(f"/queries/{query}/decide")
            album.take(bo, name)
        album.in_korean(bo, "decide")
        at.approve(bo, query)
        at.approve(people["cy"], query)
        box = tour.site.services["box-1"]
        box.stop()
        ana.go(f"/queries/{query}/candidates")
        tour.site.start("box-1")
        expect(ana.page.locator(".live-bar")).to_be_visible()
        ana.go(f"/queries/{query}/candidates")
        at.show_still(ana)
        ana.page.keyboard.press("Digit1")
        expect(ana.page.locator(".score")).to_be_visible()
        at.show_still(ana)
        album.take(ana, "candidates")
        story = tour.query_id
        for path, name in (("trace", "trace"), ("contacts", "contacts")):
            ana.go(f"/queries/{story}/{path}")
            album.take(ana, name)
        album.in_korean(ana, "contacts")
        at.fetch_logs(eve)
        album.take(eve, "audit")
        eve.go("/fleet?look=map")
        album.take(eve, "fleet")


def _ask(ana: Person, photos: Path, album: Album) -> str:
    at.enrol(ana, "patient-21", photos / "obama.jpg", consent="C-2031/21")
    at.begin_draft(ana, "Tell me at once when the patient is seen")
    for camera in ("cam-1", "cam-2"):
        at.draw_around(ana, camera)
        expect(ana.page.get_by_role("checkbox", name=camera)).to_be_checked()
    expect(ana.page.locator("#cost")).to_contain_text("2 cameras")
    album.take(ana, "draft-where")
    ana.press("Next: when")
    ana.press("Next: why")
    ana.page.get_by_label("Why, in words").fill("contact tracing of a confirmed patient")
    ana.page.get_by_label("Of how many sightings").fill("5")
    ana.page.get_by_role("checkbox", name="dan").check()
    ana.press("Next: check")
    ana.page.wait_for_url("**/check")
    album.take(ana, "check")
    ana.press("Sign and file as ana")
    ana.page.wait_for_url("**/sign/*")
    album.take(ana, "sign", whole=False)
    ana.sign()
    ana.page.wait_for_url("**/queries/*")
    return ana.page.url.rsplit("/", 1)[-1]


def main(arguments: list[str] | None = None) -> int:
    """Run the demo, photograph its desks, stop it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=_FOLDER, help="folder of the pictures")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    folder = (_STATE / "demo" / "screenshots").absolute()  # beside the demo's own run and clips
    photos = (_STATE / "photos").absolute()
    tell: Callable[[str], Any] = lambda line: print(f"  {line}", flush=True)  # noqa: T201,E731
    tour = Tour(folder, (_STATE / "models").absolute(), photos, tell)
    with ExitStack() as after:
        after.callback(shutil.rmtree, folder, ignore_errors=True)
        after.callback(tour.stop)
        tour.tell_story(recorded=False)
        context = after.enter_context(browser_context(WIDE, timezone_id="Asia/Seoul"))
        photograph(tour, photos, context, Album(options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
