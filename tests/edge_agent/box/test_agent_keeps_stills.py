"""A running agent makes stills where the policy permits them, and sends one when it is asked."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import protocol_samples as s
import pytest
from agent_process import Field, Process
from edge_site import wait_until
from stills_asked import add_officers, notice_of, query_for_stills, request

from protocol import names
from protocol.names import SightingName, SlotName
from protocol.v2.stills import open_answer

Start = Callable[..., Process]
pytestmark = [pytest.mark.models, pytest.mark.processes]


@pytest.fixture
def asked(field: Field) -> Field:
    add_officers(field.site)
    return field


def names_of(field: Field, kind: str) -> list[SightingName]:
    address = names.CameraAddress("demo", "box-1", "cam-1")
    return [
        SightingName.of(SlotName(address, o.epoch, o.generation, o.slot), one.sighting_id)
        for o in field.opened("cam-1")
        if o.kind == kind
        for one in o.sightings
    ]


def test_a_still_of_who_passed_is_sent_on_request_and_shows_them(
    start: Start, asked: Field
) -> None:
    query = query_for_stills()
    headquarters = asked.headquarters
    headquarters.publish(names.notice_topic("demo"), notice_of(asked.site, query, 2))
    process = start("run", "--config", asked.config(asked.looping("cam-1")))
    process.wait_event("ready")
    process.wait_event("epoch_announced")
    wait_until(lambda: names_of(asked, "live"), "somebody to be seen")
    wanted = names_of(asked, "live")[0]
    topic = names.stills_topic("demo", "box-1")
    assert all(where != topic for where, _ in headquarters.raw), "nothing leaves unasked"
    headquarters._session.publish(
        names.still_requests_topic("demo", "box-1"), request(query, wanted), timeout_s=60
    )
    wait_until(lambda: any(where == topic for where, _ in list(headquarters.raw)), "an answer")
    data = next(payload for where, payload in list(headquarters.raw) if where == topic)
    _, answer = open_answer(data, asked.site.directory)
    assert (answer.outcome, answer.name) == ("sent", wanted), answer.reason
    still = answer.open("ana", s.sealing_key("ana")).to_bytes()
    announcements = headquarters.payloads("cam-1")[:1]
    jpeg = asked.site.open_still(still, announcements)
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.std() > 10
    (logged,) = process.events("stills_answered")
    assert (logged["officer"], logged["sent"]) == ("ana", 1)
    process.send(signal.SIGTERM)
    assert process.end() == 0, "".join(process.lines)
    assert _no_picture_in(asked.folder / "state")


def test_where_the_policy_permits_none_there_is_nothing_to_be_asked_for(
    start: Start, asked: Field
) -> None:
    process = start("run", "--config", asked.config(asked.looping("cam-1")))
    process.wait_event("ready")
    process.wait_event("epoch_announced")
    wait_until(lambda: names_of(asked, "live"), "somebody to be seen")
    process.send(signal.SIGTERM)
    assert process.end() == 0
    stills = asked.folder / "state" / "stills.sqlite"
    assert not stills.exists() or stills.stat().st_size < 100_000
    assert "still_not_kept" not in "".join(process.lines)


def _no_picture_in(folder: Path) -> bool:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name.startswith("stills.sqlite") for path in files)
    return all(b"JFIF" not in path.read_bytes() for path in files)
