"""Officers who click through their desks: nine and one by HTTP, and one in a real browser."""

from __future__ import annotations

import random
import re
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from demo.local_site import PASSPHRASE

_SERVER_MS = re.compile(r"desk;dur=([0-9.]+)")
_HIDDEN = re.compile(r'name="csrf" value="([^"]+)"')
_TAGS = re.compile(r"<[^>]*>")
_TIMEOUT_S = 30.0


class PageFailed(Exception):
    """A page was not what an officer expects."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a kind; ``form`` is sent to it if given."""

    kind: str
    path: str
    form: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Timed:
    """One interaction.

    Args:
        kind: of page.
        server_ms: from where the desk took the request to where it began to answer.
        whole_ms: as the client saw it.
    """

    kind: str
    server_ms: float
    whole_ms: float


@dataclass
class Clicking:
    """One officer at one desk.

    Args:
        origin: the desk's.
        pages: gone through from the first to the last, and again.
        think_s: least and most seconds between two.
        seed: of their lengths.
    """

    origin: str
    pages: Sequence[Page]
    think_s: tuple[float, float]
    seed: int
    timed: list[Timed] = field(default_factory=list)
    failure: Exception | None = None

    def __post_init__(self) -> None:
        headers = {"origin": self.origin, "sec-fetch-site": "same-origin"}
        self._http = httpx.Client(base_url=self.origin, headers=headers, timeout=_TIMEOUT_S)
        self._token = ""

    def enter(self, start: str) -> None:
        """Come in by a start address, and unlock.

        Raises:
            PageFailed: the desk stays locked.
        """
        shown = self._http.get(start, follow_redirects=True)
        found = _HIDDEN.search(shown.text)
        if found is None:
            raise PageFailed(f"{start}: no form: {shown.status_code}")
        self._token = found[1]
        form = {"csrf": self._token, "passphrase": PASSPHRASE, "back": "/"}
        answer = self._http.post("/unlock", data=form)
        if answer.status_code != 303:
            raise PageFailed(f"the desk stays locked: {answer.status_code}")

    def location(self, path: str, form: dict[str, str]) -> str:
        """Send a form; return where it leads."""
        answer = self._http.post(path, data={"csrf": self._token, **form})
        return answer.headers["location"] if answer.status_code == 303 else ""

    def leads_to(self, path: str) -> str:
        """Return the path of the page that a path leads to."""
        return self._http.get(path, follow_redirects=True).url.path

    def fetch_logs(self) -> None:
        """Have an auditor's desk fetch and verify all logs; return when it has.

        Raises:
            PageFailed: it does not.
        """
        self._http.post("/audit/fetch", data={"csrf": self._token})
        deadline = time.monotonic() + _TIMEOUT_S
        while self._http.get("/audit/progress").json()["doing"]:
            if time.monotonic() > deadline:
                raise PageFailed("the logs were not fetched and verified in time")
            time.sleep(0.2)

    def look(self, page: Page) -> Timed:
        """Load a page.

        Raises:
            PageFailed: the desk refuses it, or does not say how long it took.
        """
        begin = time.perf_counter()
        if page.form is None:
            answer = self._http.get(page.path)
        else:
            answer = self._http.post(page.path, data={"csrf": self._token, **page.form})
        whole_ms = (time.perf_counter() - begin) * 1000
        said = _SERVER_MS.search(answer.headers.get("server-timing", ""))
        if answer.status_code != 200 or said is None:
            said_so = " ".join(_TAGS.sub(" ", answer.text.partition("<main")[2]).split())
            raise PageFailed(f"{page.path} answers {answer.status_code}: {said_so[:500]}")
        return Timed(page.kind, float(said[1]), whole_ms)

    def run(self, stop: threading.Event) -> None:
        """Click until told to stop."""
        thinking, number = random.Random(self.seed), 0
        try:
            while not stop.wait(thinking.uniform(*self.think_s)):
                self.timed.append(self.look(self.pages[number % len(self.pages)]))
                number += 1
        except (httpx.HTTPError, PageFailed) as error:
            self.failure = error

    def close(self) -> None:
        """Hang up."""
        self._http.close()


@contextmanager
def browsing(start: str, clicking: Clicking, stop: threading.Event) -> Iterator[bool]:
    """Have Chromium go through an officer's pages beside, its live stream open.

    Args:
        start: a start address of its desk, which is unlocked.
        clicking: whose pages; what the browser's navigations took goes to its ``timed``.
        stop: ends it.

    Yields:
        Whether there is a Chromium.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        yield False
        return
    ready = threading.Event()
    thread = threading.Thread(target=_browse, args=(program, start, clicking, stop, ready))
    thread.start()
    ready.wait(_TIMEOUT_S * 2)
    try:
        yield clicking.failure is None
    finally:
        stop.set()
        thread.join(_TIMEOUT_S * 2)


def _browse(
    program: str, start: str, clicking: Clicking, stop: threading.Event, ready: threading.Event
) -> None:
    from playwright.sync_api import Error, sync_playwright  # noqa: PLC0415 - tests' alone

    pages = [page for page in clicking.pages if page.form is None]
    thinking, number = random.Random(clicking.seed), 0
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            tab = browser.new_page()
            tab.goto(start)
            ready.set()
            while not stop.wait(thinking.uniform(*clicking.think_s)):
                page = pages[number % len(pages)]
                clicking.timed.append(_load(tab, clicking.origin, page))
                number += 1
            browser.close()
    except (Error, PageFailed) as error:
        clicking.failure = error
    finally:
        ready.set()


def _load(tab: Any, origin: str, page: Page) -> Timed:
    begin = time.perf_counter()
    answer = tab.goto(f"{origin}{page.path}")
    whole_ms = (time.perf_counter() - begin) * 1000
    headers = {} if answer is None else answer.headers
    said = _SERVER_MS.search(headers.get("server-timing", ""))
    if answer is None or not answer.ok or said is None:
        raise PageFailed(f"{page.path} does not load in the browser")
    return Timed(f"{page.kind}, in Chromium", float(said[1]), whole_ms)
