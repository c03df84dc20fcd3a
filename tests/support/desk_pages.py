"""An officer's desk in this process, as the officer's browser has it: started and unlocked."""

from __future__ import annotations

import html
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from fastapi.testclient import TestClient
from httpx import Response
from jinja2 import DictLoader
from officer_site import PASSPHRASE, OfficerSite, Served

from officers.desk.officer import Officer
from officers.pages.app import make_app
from officers.pages.guard import cookie_name, start_path
from officers.pages.house import House
from protocol.query import Query
from protocol.signing import Signed
from runtime.lifecycle import Stop

PORT = 8765


class Officers(Protocol):
    """A site, as far as a desk is concerned: where its officers' configurations are."""

    def officer(self, name: str) -> Path: ...


class PageDesk:
    """The real application of one officer over an in-process site.

    Args:
        site: with its aggregator and custodians.
        name: of the officer.
        language: of the pages.
        unlocked: whether the passphrase was entered.
        port: of the desk.
        clock: seconds, monotonic.
    """

    def __init__(
        self, site: Officers, name: str, *, language: str = "en", unlocked: bool = True,
        port: int = PORT, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.house = House(Officer.load(site.officer(name)), port, clock=clock)
        self.house.settings.change(language=language)
        self.app = make_app(self.house)
        self.client = TestClient(
            self.app, base_url=self.house.origin, follow_redirects=False,
            raise_server_exceptions=False,
        )  # fmt: skip
        self.client.headers["origin"] = self.house.origin
        self.client.headers["sec-fetch-site"] = "same-origin"
        self.client.get(start_path(self.house.door.new_start()))
        if unlocked:
            self.house.unlock(PASSPHRASE.encode())

    @property
    def app_state(self) -> Any:
        """What the application keeps: the house, the live watch, the renderer."""
        return self.app._app.state  # type: ignore[attr-defined]

    @property
    def form_token(self) -> str:
        """What forms of this session carry."""
        name = cookie_name(self.house.port)
        (cookie,) = (one for one in self.client.cookies.jar if one.name == name)
        return self.house.door.form_token(str(cookie.value))

    def get(self, path: str, *, follow: bool = False) -> Response:
        """Load a page; with ``follow``, where it leads."""
        response: Response = self.client.get(path, follow_redirects=follow)
        return response

    def post(
        self,
        path: str,
        data: Mapping[str, Any] | None = None,
        *,
        files: Any = None,
        follow: bool = False,
    ) -> Response:
        """Send a form of this session."""
        form = {"csrf": self.form_token, **(data or {})}
        response: Response = self.client.post(path, data=form, files=files, follow_redirects=follow)
        return response

    def sign(self, response: Response, passphrase: str = PASSPHRASE) -> Response:
        """Sign with the passphrase what an answer leads to, and load the receipt.

        Args:
            response: an answer that leads to the page on which everything is signed.
            passphrase: that is entered there.
        """
        assert response.status_code == 303, response.text
        path = response.headers["location"]
        assert path.startswith("/sign/"), path
        shown = self.get(path)
        assert shown.status_code == 200, shown.text
        signed = self.post(path, {**hidden(shown), "passphrase": passphrase})
        if signed.status_code != 303:
            return signed
        return self.get(signed.headers["location"], follow=True)

    def serve(
        self, path: str, page: Callable[..., Any], templates: Mapping[str, str] | None = None
    ) -> None:
        """Add a page of the test's own, before all others.

        Args:
            path: where.
            page: as a section's.
            templates: by name, as ``"hostile/NAME"``.
        """
        app = self.app._app  # type: ignore[attr-defined]
        app.add_api_route(path, page, response_model=None)
        app.router.routes.insert(0, app.router.routes.pop())
        if templates:
            loader = app.state.renderer._environment.loader
            loader.mapping["hostile"] = DictLoader(dict(templates))

    def close(self) -> None:
        """Lock, and hang up."""
        self.client.close()
        self.house.close()


def file_for(
    desk: PageDesk, patient: str, *, purpose_kind: str, passphrase: str = PASSPHRASE
) -> tuple[Query, str]:
    """File a query on an order for an enrolled patient on pages: cam-1, the last two hours.

    Returns:
        The query, and what is said of it before it is signed.
    """
    path = desk.post("/drafts", {"chosen": "yes", "patients": patient}).headers["location"]
    path = path.rpartition("/")[0]
    desk.post(f"{path}/where", {"cameras": "cam-1"})
    at = datetime.now(UTC).astimezone() - timedelta(hours=2)
    desk.post(f"{path}/when", {"from_day": f"{at:%Y-%m-%d}", "from_time": f"{at:%H:%M}"})
    reasons = {"purpose": "where they went", "purpose_kind": purpose_kind, "contacts": "none"}
    desk.post(f"{path}/why", {**reasons, "legal_basis": "statutory-order"})
    check = desk.get(f"{path}/check")
    said = words_of(check)
    assert "This cannot be filed so" not in said, said
    signed = desk.sign(desk.post(f"{path}/check", hidden(check)), passphrase)
    return query_of(desk, signed), said


def query_of(desk: PageDesk, signed: Response) -> Query:
    """The query that was filed on a page: its receipt is its own page."""
    query_id = str(signed.url).rpartition("/")[2]
    data = desk.house.officer.kept_query(bytes.fromhex(query_id))
    assert data is not None
    return Query.parse(Signed.parse(data, kind="query").payload)


@contextmanager
def page_desk(site: Officers, name: str, **options: Any) -> Iterator[PageDesk]:
    """Have a desk for a block."""
    made = PageDesk(site, name, **options)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def served_desk(site: OfficerSite, name: str, port: int, **settings: Any) -> Iterator[House]:
    """Have a desk that a browser can open, unlocked, for a block."""
    house = House(Officer.load(site.officer(name)), port)
    house.settings.change(**settings)
    house.unlock(PASSPHRASE.encode())
    stop = Stop()
    served = Served(make_app(house), port, None)
    watcher = threading.Thread(target=house.live.watch, args=(stop,))
    watcher.start()
    try:
        yield house
    finally:
        stop.set("the test is over")
        watcher.join()
        house.close()
        served.end()


def hidden(response: Response) -> dict[str, str]:
    """Return the hidden fields of a page's forms."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', response.text)
    return {html.unescape(name): html.unescape(value) for name, value in found}


def words_of(response: Response) -> str:
    """Return what a page says, without its tags, spaces drawn together."""
    main = response.text.partition("<main")[2].partition("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", f"<{main}")).split())


def links_of(response: Response) -> set[str]:
    """Return the paths that a page links to."""
    found = re.findall(r'href="([^"]*)"', response.text)
    return {urlsplit(html.unescape(one)).path for one in found}
