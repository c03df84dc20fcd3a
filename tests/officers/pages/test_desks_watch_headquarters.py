"""One watcher a desk: what is new is known soon, silence is said, and reading goes on."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import protocol_samples as s
import pytest
from candidates import candidate_of
from desk_pages import PageDesk, words_of
from officer_site import PASSPHRASE, OfficerSite

from officers.desk.opened_cases import OpenedCases
from officers.pages.signatures import Signing
from officers.query_cli import app as query_app
from officers.trace_cli import app as trace_app
from protocol.names import CameraAddress
from protocol.sightings import MaskStatus
from protocol.signing import Unsigned
from runtime.lifecycle import Stop


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@pytest.fixture
def desk(site: OfficerSite) -> Iterator[PageDesk]:
    made = PageDesk(site, "ana")
    yield made
    made.close()


def filed(site: OfficerSite) -> str:
    """File a query of ana's by the command; return its id."""
    printed = site.run(
        query_app, "ana", "file", "--subject", str(site.subject_file("P-17")),
        "--camera", "cam-1", "--from", "-2h", "--to", "+1h", "--purpose", "a patient",
        "--legal-basis", "consent", "--yes",
    ).output  # fmt: skip
    found = re.search(r"^filed: ([0-9a-f]{32})$", printed, re.MULTILINE)
    assert found, printed
    return found[1]


def find(site: OfficerSite, query_id: str, number: int) -> None:
    """Have the matcher find somebody."""
    candidate = candidate_of(
        subject="P-17", address=CameraAddress(s.SITE, "box-1", "cam-1"),
        sighting_id=number.to_bytes(8, "big"), first_seen_ms=s.NOW_MS, last_seen_ms=s.NOW_MS + 1,
        mask=MaskStatus.MASKED, mask_confidence=0.9, quality=0.8, modality="face", model=s.MODEL,
        score=0.8, log10_lr=3.0,
    )  # fmt: skip
    site.add_candidate(candidate, site.record(query_id).digest)


@pytest.mark.slow
def test_a_candidate_is_known_at_the_next_look_at_what_runs(
    site: OfficerSite, desk: PageDesk
) -> None:
    query_id = filed(site)
    live = desk.house.live
    live.look_at_all()
    assert live.seen() == {}
    find(site, query_id, 1)
    find(site, query_id, 2)
    live.look_at_running()
    assert live.seen() == {f"query:{query_id}": 1, f"candidates:{query_id}": 2}
    live.look_at_running()
    assert live.seen() == {f"query:{query_id}": 1, f"candidates:{query_id}": 2}


@pytest.mark.slow
def test_of_many_queries_that_run_each_has_its_turn(site: OfficerSite, desk: PageDesk) -> None:
    ids = [filed(site) for _ in range(7)]  # one more than is looked at in a second
    live = desk.house.live
    live.look_at_all()
    for number, query_id in enumerate(ids):
        find(site, query_id, 100 + number)
    for _ in range(8):  # there are some of other tests
        live.look_at_running()
    assert {f"candidates:{one}" for one in ids} <= set(live.seen())


def test_a_new_query_and_an_approval_are_news_of_queries(site: OfficerSite) -> None:
    desk = PageDesk(site, "bo")
    live = desk.house.live
    live.look_at_all()
    query_id = filed(site)
    live.look_at_all()
    assert live.seen() == {"queries": 1}
    site.run(query_app, "cy", "approve", query_id, "--yes")
    live.look_at_running()
    assert live.seen()["queries"] == 2
    desk.close()


@pytest.mark.slow
def test_a_hit_is_told_to_an_open_tab_within_three_seconds(
    site: OfficerSite, desk: PageDesk
) -> None:
    query_id = filed(site)
    stop = Stop()
    watcher = threading.Thread(target=desk.house.live.watch, args=(stop,))
    stream = Events(desk)
    stream.start()
    watcher.start()
    try:
        stream.wait_for('"silent": false', 5.0)
        desk.house.live.look_at_all()
        find(site, query_id, 7)
        began_s = time.monotonic()
        stream.wait_for(f"candidates:{query_id}", 3.0)
        assert time.monotonic() - began_s < 3.0
    finally:
        stop.set("the test is over")
        watcher.join()
        stream.join()


class Events(threading.Thread):
    """A tab's stream, read in a loop of its own."""

    def __init__(self, desk: PageDesk) -> None:
        super().__init__()
        self._live = desk.house.live
        self._said: list[str] = []
        self._new = threading.Condition()

    def run(self) -> None:
        async def read() -> None:
            async for event in self._live.stream():
                with self._new:
                    self._said.append(event)
                    self._new.notify_all()

        asyncio.run(read())

    def wait_for(self, text: str, timeout_s: float) -> None:
        with self._new:
            assert self._new.wait_for(
                lambda: any(text in event for event in self._said), timeout_s
            ), self._said


@pytest.mark.slow
def test_what_waits_for_each_duty_stands_on_the_first_page(site: OfficerSite) -> None:
    query_id = filed(site)
    find(site, query_id, 9)
    for name, path, words in (
        ("bo", f"/queries/{query_id}/decide", "0 of 2 approvals; ana asks"),
        ("ana", f"/queries/{query_id}/candidates", "1 candidate"),
        ("dan", f"/queries/{query_id}", "0 of 2 approvals"),
    ):
        desk = PageDesk(site, name)
        page = desk.get("/")
        assert f'href="{path}"' in page.text
        assert words in words_of(page)
        desk.close()


@pytest.mark.slow
def test_a_desk_says_that_headquarters_are_silent_and_still_shows_its_pages(
    tmp_path: Path,
) -> None:
    site = OfficerSite(tmp_path / "site")
    desk = PageDesk(site, "ana")
    desk.house.live.look_at_all()
    assert "Headquarters silent" not in desk.get("/settings").text
    site.close()
    desk.house.live.look_at_all()
    shown = desk.get("/settings")
    assert shown.status_code == 200
    assert "Headquarters silent since" in shown.text
    assert "what waits there is not known" in words_of(desk.get("/"))
    act = Signing((Unsigned("sample", "ana", b"x"),), ("I mean it.",), lambda _: "/", "/")
    page = desk.get(f"/sign/{desk.house.signatures.add(act)}")
    assert "nothing can be signed now" in words_of(page)
    assert 'name="passphrase"' not in page.text
    desk.close()


@pytest.mark.slow
def test_the_connection_to_headquarters_is_kept(
    site: OfficerSite,
) -> None:
    desk = PageDesk(site, "ana")
    with desk.house.session() as first:
        first.queries()
    with desk.house.session() as second:
        second.queries()
    assert first.client is second.client
    desk.close()


@pytest.mark.slow
def test_what_is_decided_waits_no_longer_until_more_is_found(
    site: OfficerSite, desk: PageDesk
) -> None:
    query_id = filed(site)
    find(site, query_id, 11)
    path = f"/queries/{query_id}/candidates"
    assert f'href="{path}"' in desk.get("/").text
    with desk.house.session() as session:
        opened = desk.house.kept("opened cases", OpenedCases)
        opened.of(session, query_id, desk.house.keys.sealing)
    assert "1 to decide on" in words_of(desk.get("/"))
    site.run(trace_app, "ana", "confirm", query_id, "1", "--yes")
    with desk.house.session() as session:
        opened.stale(query_id)
        opened.of(session, query_id, desk.house.keys.sealing)
    assert f'href="{path}"' not in desk.get("/").text
    desk.house.lock()  # and what was opened is forgotten
    desk.house.unlock(PASSPHRASE.encode())
    assert f'href="{path}"' not in desk.get("/").text
    find(site, query_id, 12)
    assert f'href="{path}"' in desk.get("/").text
