"""Ctrl-C while a query is being filed: it is filed and its draft gone, or the draft is there."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import protocol_samples as s
import pytest
from desk_pages import hidden
from desk_process import Desk
from fastapi import FastAPI
from officer_site import PASSPHRASE, OfficerSite, Served
from starlette.types import ASGIApp, Receive, Scope, Send

from demo.processes import ending_with_us, sealtrace
from officers.desk.drafts import drafts, new_draft
from officers.desk.officer import Officer
from officers.desk.patients import take_in

pytestmark = pytest.mark.processes
KEY = s.sealing_key("ana")


class SlowToFile:
    """Headquarters that hold a filing back until the test lets it through, or drop it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.came, self.go = threading.Event(), threading.Event()
        self.slow = self.dropped = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        filing = scope["type"] == "http" and (scope["method"], scope["path"]) == (
            "POST",
            "/v1/queries",
        )
        if filing and self.slow:
            self.came.set()
            import anyio

            await anyio.to_thread.run_sync(self.go.wait)
            if self.dropped:
                return
        await self.app(scope, receive, send)


class SlowSite(OfficerSite):
    """The site with such headquarters."""

    slow: SlowToFile

    def _serve(self, app: FastAPI, name: str, tls: Any) -> None:
        served: ASGIApp = app
        if name == "aggregator":
            served = self.slow = SlowToFile(app)
        self._exit.callback(Served(served, self.ports[name], tls).end)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SlowSite]:
    made = SlowSite(tmp_path / "officers")
    yield made
    made.slow.go.set()
    made.close()


def begun(site: SlowSite) -> tuple[Officer, str]:
    """Return the officer and a draft that makes a query."""
    officer = Officer.load(site.officer("ana"))
    take_in(officer, site.subject_file("p-1").read_bytes(), KEY)
    at = datetime.now(UTC).astimezone() - timedelta(hours=2)
    draft = new_draft(
        officer, patients=("p-1",), cameras=("cam-1",), from_day=f"{at:%Y-%m-%d}",
        from_time=f"{at:%H:%M}", purpose="where p-1 was",
    )  # fmt: skip
    return officer, draft.id


@contextmanager
def signing(desk: Desk, draft_id: str) -> Iterator[threading.Thread]:
    """Sign the draft at a running desk, which does not come back while headquarters wait."""
    address = desk.address()
    origin = address[: address.index("/", len("http://"))]
    headers = {"origin": origin, "sec-fetch-site": "same-origin"}
    with httpx.Client(
        base_url=origin, headers=headers, follow_redirects=True, timeout=60
    ) as browser:
        lock = browser.get(address)
        browser.post("/unlock", data={**hidden(lock), "passphrase": PASSPHRASE})
        check = browser.get(f"/drafts/{draft_id}/check")
        sign = browser.post(f"/drafts/{draft_id}/check", data=hidden(check))
        form = {**hidden(sign), "passphrase": PASSPHRASE}

        def send() -> None:
            try:
                browser.post(str(sign.url), data=form)
            except httpx.HTTPError:
                return

        sending = threading.Thread(target=send)
        sending.start()
        try:
            yield sending
        finally:
            sending.join(60)


def test_what_is_being_filed_is_filed_whole_before_the_desk_ends(site: SlowSite) -> None:
    officer, draft_id = begun(site)
    desk = Desk(site, "ana")
    site.slow.slow = True
    with signing(desk, draft_id):
        assert site.slow.came.wait(60), desk.said
        ended: list[tuple[int, str]] = []
        ending = threading.Thread(target=lambda: ended.append(desk.end()))
        ending.start()
        site.slow.go.set()
        ending.join(60)
    assert ended, "it ends"
    (query,) = site.aggregator.desk.everything()
    assert query.state == "awaiting-approvals", "its templates were sent too"
    assert drafts(officer, KEY) == ()


def test_what_headquarters_did_not_take_is_still_a_draft(site: SlowSite) -> None:
    officer, draft_id = begun(site)
    desk = Desk(site, "ana")
    site.slow.slow = site.slow.dropped = True
    with signing(desk, draft_id):
        assert site.slow.came.wait(60), desk.said
        ended: list[tuple[int, str]] = []
        ending = threading.Thread(target=lambda: ended.append(desk.end()))
        ending.start()
        site.slow.go.set()
        ending.join(60)
    assert site.aggregator.desk.everything() == []
    assert [one.id for one in drafts(officer, KEY)] == [draft_id]


def test_a_command_that_is_interrupted_says_that_it_may_have_been_filed(site: SlowSite) -> None:
    site.slow.slow = True
    process = subprocess.Popen(
        ending_with_us(
            sealtrace(
                "query", "file", "--subject", str(site.subject_file("P-17")), "--camera", "cam-1",
                "--from=-2h", "--to", "now", "--purpose", "a drill", "--yes",
            )
        ),
        env={
            **os.environ,
            "SEALTRACE_OFFICER": str(site.officer("ana")),
            "SEALTRACE_PASSPHRASE": PASSPHRASE,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert site.slow.came.wait(60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "sealtrace query list" in said
    assert "sealtrace query resume" in said
    site.slow.go.set()
