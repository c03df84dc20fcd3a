"""A board's own still of somebody who walks past now, through every process to who confirms."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from running_site import SERVERS, RunningSite, plan_with_dan
from waiting import wait_for

from demo.local_site import PASSPHRASE
from demo.scenario import ClipTruth
from demo.wiretap import Wiretap
from officers import desk
from officers.desk.jpeg_headers import picture_size
from protocol.names import SLOT_MS, still_requests_topic
from protocol.signing import Signed
from protocol.v2.stills import (
    REQUEST_AGE_MS,
    SENT,
    STILL_ANSWER_KIND,
    StillAnswer,
    StillRequest,
)
from runtime.mqtt import Session


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, short_clip: ClipTruth, model_bundle_path: Path
) -> Iterator[RunningSite]:
    plan = plan_with_dan(
        {"cam-1": {"source": f"file:{short_clip.path.resolve()}", "loop": True}},
        bundle=model_bundle_path,
        policy={"cover": "off", "evidence_stills": 5},
        box_settings={"sealing": {"batch": 1, "live_after_s": 0.5}},
    )
    made = RunningSite(plan, tmp_path_factory.mktemp("board"))
    try:
        made.start(*SERVERS)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def tap(site: RunningSite) -> Iterator[Wiretap]:
    with site.tapped() as one:
        yield one


@pytest.fixture(scope="module")
def query(site: RunningSite, tap: Wiretap, photos_path: Path) -> str:
    """A live query that asks for stills and has found somebody."""
    assert tap is not None, "it hears everything from the beginning"
    local, subject = site.local, site.local.folder / "patient-17.subject"
    form = subject.with_name("consent.pdf")
    form.write_bytes(b"%PDF-1.7 I consent")
    local.run(
        "ana", "subject", "enrol", "--pseudonym", "patient-17", "--consent", "C-2031/17",
        "--consent-document", str(form), "--photo", str(photos_path / "obama.jpg"),
        "--out", str(subject),
    )  # fmt: skip
    begin_ms = time.time_ns() // 1_000_000 // SLOT_MS * SLOT_MS
    filed = local.run_json(
        "ana", "query", "file", "--subject", str(subject), "--camera", "cam-1", "--live",
        "--from", desk_time(begin_ms), "--to", desk_time(begin_ms + 4 * SLOT_MS),
        "--purpose", "patient 17", "--confirmer", "dan", "--evidence-stills", "2", "--yes",
    )  # fmt: skip
    for approver in ("bo", "cy"):
        local.run(approver, "query", "approve", str(filed["id"]), "--yes")
    site.start("box-1")
    path = f"/v1/queries/{filed['id']}"
    wait_for(
        lambda: site.call("ana", "aggregator", "GET", path).json()["candidates"] > 1,
        "somebody to walk past twice",
        timeout_s=120,
        explain=site.local.services["box-1"].tail,
    )
    return str(filed["id"])


def desk_time(time_ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ms / 1000))


def still_of(
    site: RunningSite, query: str, name: str, *, at: int = 0
) -> tuple[desk.Still, desk.Results]:
    """Have an officer look at the still of a candidate, the first by default."""
    officer = desk.Officer.load(site.local.officer(name))
    keys = desk.unlock(officer, PASSPHRASE.encode())
    with desk.connect(officer) as session:
        results = desk.open_results(session, desk.sealed_to_me(session, query), keys.sealing)
        return desk.show_still(session, results, results.candidates[at], keys), results


def test_a_still_of_the_subject_alone_is_shown_to_both_who_confirm(
    site: RunningSite, query: str, tap: Wiretap
) -> None:
    assert tap.messages("/stills") == [], "no still leaves unasked"
    pictures = []
    for name in ("ana", "dan"):
        still, _ = still_of(site, query, name)
        assert still.absent is None, site.local.services["box-1"].tail()
        pictures.append(bytes(still.jpeg))
        still.close()
    assert pictures[0] == pictures[1]
    size = picture_size(pictures[0])
    assert min(size.width, size.height) >= 64
    pixels = cv2.imdecode(np.frombuffer(pictures[0], np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.std() > 10, "somebody is on it"
    answers = [
        StillAnswer.parse(Signed.parse(one.payload, kind=STILL_ANSWER_KIND).payload)
        for one in tap.messages("/stills")
    ]
    assert [one.officer for one in answers] == ["ana", "dan"]
    part = pictures[0][len(pictures[0]) // 2 :][:64]
    assert not [one.topic for one in tap.messages() if part in one.payload]
    assert not [path for path in site.local.files() if part in path.read_bytes()]


def test_who_asks_the_board_past_the_officers_gets_nothing(
    site: RunningSite, query: str, tap: Wiretap
) -> None:
    _, results = still_of(site, query, "ana")
    name, now_ms = results.candidates[1].candidate.name, time.time_ns() // 1_000_000
    assert name is not None
    asked = StillRequest(site.plan.site, results.case.digest, name.box, (name,), bytes(16), now_ms)
    other = replace(asked, query_digest=bytes(32), nonce=bytes([1]) * 16)
    old = replace(asked, requested_at_ms=now_ms - 2 * REQUEST_AGE_MS, nonce=bytes([2]) * 16)
    forged = [
        *(asked.sign(site.signing(who)) for who in ("aggregator", "bo", "eve", "c1")),
        *(one.sign(site.signing("ana")) for one in (other, old)),
    ]
    before = len(tap.messages("/stills"))
    with Session(site.mqtt("intruder"), client_id="intruder") as session:
        assert session.wait_connected(60)
        for signed in forged:
            topic = still_requests_topic(site.plan.site, name.box)
            session.publish_and_wait(topic, signed.to_bytes())
        for garbage in (b"", b"no message", bytes(20_000)):
            session.publish_and_wait(topic, garbage)
    # The board takes in what comes in its order: a genuine request is answered after all these.
    still, _ = still_of(site, query, "dan", at=1)
    assert still.jpeg
    answers = [
        StillAnswer.parse(Signed.parse(one.payload, kind=STILL_ANSWER_KIND).payload)
        for one in tap.messages("/stills")[before:]
    ]
    assert [one.officer for one in answers if one.outcome == SENT] == ["dan"]


def test_a_withdrawal_stops_the_board(site: RunningSite, query: str, tap: Wiretap) -> None:
    site.local.run("bo", "query", "revoke", query, "--reason", "found", "--yes")
    sent = len(tap.messages("/stills"))
    still, results = still_of(site, query, "ana")
    assert not still.jpeg
    assert results.summary.withdrawals
    assert len(tap.messages("/stills")) == sent
