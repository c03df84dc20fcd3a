"""Debian's Chromium, driven by Playwright: an officer's browser; tests skip where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from officers.pages.assets import Vendor
from officers.pages.guard import start_path
from officers.pages.house import House
from officers.pages.live import Live

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not on PATH")
_PATIENCE_MS = 15_000
WIDE, NARROW = (1280, 720), (390, 844)
_AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextmanager
def browser_context(
    size: tuple[int, int] = WIDE, profile: str | None = None, **options: Any
) -> Iterator[BrowserContext]:
    """Have a browser with nothing in it for a block.

    Args:
        size: of its window.
        profile: folder that it keeps its profile in; None: nowhere.
        options: of Playwright's context.
    """
    width, height = size
    options = {"viewport": {"width": width, "height": height}, **options}
    with sync_playwright() as playwright:
        chromium = playwright.chromium
        launch: dict[str, Any] = {"executable_path": CHROMIUM, "args": ["--no-sandbox"]}
        if profile is not None:
            context = chromium.launch_persistent_context(profile, **launch, **options)
            yield context
            context.close()
            return
        browser = chromium.launch(**launch)
        context = browser.new_context(**options)
        yield context
        context.close()
        browser.close()


@dataclass
class Tab:
    """A tab at a desk, and what its console complained of."""

    page: Page
    house: House
    complaints: list[str]

    @property
    def live(self) -> Live:
        """What tells the tab of what is new."""
        return self.house.live

    def open(self, path: str) -> Page:
        """Load a page of the desk."""
        self.page.goto(f"{self.house.origin}{path}")
        return self.page


def open_desk(context: BrowserContext, house: House) -> Tab:
    """Come in by a start address, as `sealtrace desk` opens it."""
    context.set_default_timeout(_PATIENCE_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda one: complaints.append(one.text) if one.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{house.origin}{start_path(house.door.new_start())}")
    return Tab(page, house, complaints)


def violations(page: Page) -> list[str]:
    """Return what axe finds against WCAG 2.2 AA on a page as it is, each with where."""
    vendor = Vendor()
    axe = vendor.read(vendor.versioned("axe-core/axe.min.js"))
    assert axe is not None
    page.evaluate(axe.decode())  # by the debugger: the page's own policy forbids it to pages
    found = page.evaluate(
        "async (values) => (await axe.run(document, {runOnly: {type: 'tag', values}})).violations",
        _AXE_TAGS,
    )
    return [
        f"{one['id']}: {one['help']}: {node['target']} {node.get('failureSummary', '')[:300]}"
        for one in found
        for node in one["nodes"]
    ]


def sideways(page: Page) -> int:
    """Return by how many pixels a page is wider than its window."""
    return int(
        page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )
