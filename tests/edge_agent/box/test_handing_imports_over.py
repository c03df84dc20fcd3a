"""An importer beside a running agent: what it asks through the socket, and who may not."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from edge_site import EPOCH, MODEL, NOON_MS, SLOT, Box, make_sighting, wait_until

from edge_agent.footage import seconds as s
from edge_agent.footage.desk import ImportDesk, ImportRefused, Quarter
from edge_agent.footage.handover import (
    SOCKET_FILE,
    AgentDesk,
    ImportDoor,
    NoAgent,
)
from edge_agent.footage.ledger import Ledger
from edge_agent.footage.wire import read_sighting, short_name, sighting_value
from protocol.encoding import encode
from protocol.errors import MalformedMessage
from protocol.keytree import FACE
from protocol.names import SLOT_MS, SLOTS_PER_EPOCH
from protocol.v2.header import STAMPED
from protocol.v2.rows import SLOT_S
from runtime.lifecycle import Stop

NUMBER = EPOCH * SLOTS_PER_EPOCH + SLOT - 8


@pytest.fixture
def door(box: Box) -> Iterator[Path]:
    """The folder of an agent whose door is open."""
    ledger = Ledger(box.folder / "imports.sqlite", box.site.board)
    desk = ImportDesk(
        site="demo", box="box-1", trust=box.trust, keyring=box.keyring, board=box.site.board,
        models={FACE: MODEL}, outbox=box.outbox, ledger=ledger, keys_wait_s=0.0, now_ms=box.clock,
    )  # fmt: skip
    stop = Stop()
    thread = threading.Thread(target=ImportDoor(desk, box.folder, stop).run, daemon=True)
    thread.start()
    wait_until((box.folder / SOCKET_FILE).exists)
    wait_until(lambda: (box.folder / SOCKET_FILE).stat().st_mode & 0o777 == 0o600)
    yield box.folder
    stop.set("the test is over")
    thread.join(60)
    assert not thread.is_alive()
    assert not (box.folder / SOCKET_FILE).exists()
    ledger.close()


def quarter(*seeds: int, camera: str = "cam-1") -> Quarter:
    seen = [make_sighting(NUMBER * SLOT_MS + 60_000 + 100 * n, seed=n) for n in seeds]
    return Quarter(camera, NUMBER, STAMPED, seen, bytes([6]) * SLOT_S)


@pytest.mark.slow
def test_what_an_importer_hands_over_is_sealed_by_the_agent(door: Path, box: Box) -> None:
    with AgentDesk(door) as desk:
        assert desk.standing([EPOCH]).days == {EPOCH}
        one = quarter(1, 2)
        row = one.sightings[0].templates[FACE].row
        assert desk.seal(one, floor=NUMBER) == 2
        assert not row.any(), "what was handed over is left in the importer's memory"
        assert desk.told("cam-1", NUMBER, NUMBER) == ({}, {NUMBER: s.WHOLE})
        assert desk.elsewhere("cam-1", NUMBER, NUMBER) is None
        assert desk.known("cam-1", b"\1" * 32) is None
        desk.note_film("cam-1", b"\1" * 32, began_ms=NOON_MS)
        known = desk.known("cam-1", b"\1" * 32)
        assert known is not None
        assert known.began_ms == NOON_MS
    (sealed,) = box.opened()
    assert sealed.ids == [1, 2]
    assert [one.nearest_m for one in sealed.sightings] == [[1.5], [1.5]]


@pytest.mark.slow
def test_a_quarter_hour_with_many_people_is_handed_over_in_parts(door: Path, box: Box) -> None:
    with AgentDesk(door) as desk:
        assert desk.seal(quarter(*range(600)), floor=NUMBER) == 600
    assert sorted(seed for one in box.opened() for seed in one.ids) == list(range(600))


@pytest.mark.slow
def test_a_refusal_is_told_and_the_next_question_answered(door: Path) -> None:
    with AgentDesk(door) as desk:
        with pytest.raises(ImportRefused, match="sealtrace box recordings"):
            desk.seal(quarter(1, camera="cellar"), floor=0)
        assert desk.seal(quarter(1), floor=0) == 1


@pytest.mark.slow
def test_one_importer_at_a_time(door: Path) -> None:
    with AgentDesk(door) as desk, AgentDesk(door) as second:
        desk.standing([])
        with pytest.raises(ImportRefused, match="another import runs"):
            second.standing([])
        desk.standing([])
    wait_until(lambda: _answers(door))


@pytest.mark.slow
def test_a_box_without_descriptors_lets_an_importer_in_when_it_has_some_again(door: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    folder = os.open(door, os.O_RDONLY | os.O_DIRECTORY)
    with (
        contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as caller,
        structlog.testing.capture_logs() as logged,
    ):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            caller.connect(f"/proc/self/fd/{folder}/{SOCKET_FILE}")
            wait_until(lambda: bool(logged))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            os.close(folder)
    assert logged[0]["event"] == "importer_not_let_in"
    wait_until(lambda: _answers(door))


def _answers(folder: Path) -> bool:
    try:
        with AgentDesk(folder) as again:
            again.standing([])
    except (ImportRefused, NoAgent):
        return False
    return True


def raw(folder: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    one.settimeout(10)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        one.connect(f"/proc/self/fd/{handle}/{SOCKET_FILE}")
    finally:
        os.close(handle)
    return one


def message(value: Any) -> bytes:
    data = value if isinstance(value, bytes) else encode(value)
    return struct.pack(">I", len(data)) + data


@pytest.mark.slow
@pytest.mark.parametrize(
    "said",
    [
        struct.pack(">I", 1 << 30),
        message(b""),
        message(b"\xff\xff"),
        message({"ask": "everything"}),
        message({"ask": "seal", "camera": "../x"}),
        message({"ask": "hold", "sightings": [1]}),
        message({"ask": "standing", "days": [{"a": 1}]}),
        message([1]),
        b"\0\0",
        b"",
    ],
)
def test_nonsense_at_the_door_harms_nobody(door: Path, said: bytes) -> None:
    with raw(door) as caller:
        caller.sendall(said)
        caller.shutdown(socket.SHUT_WR)
        caller.recv(1 << 16)
    wait_until(lambda: _answers(door))


@pytest.mark.parametrize("spoilt", [0, 1, 2, 3])
def test_a_sighting_is_read_as_it_was_handed_over_or_not_at_all(spoilt: int) -> None:
    one = make_sighting(NOON_MS, seed=5)
    value = sighting_value(one)
    again = read_sighting(value)
    assert again.row.to_bytes() == one.row.to_bytes()
    assert (again.templates[FACE].row == one.templates[FACE].row).all()
    value[spoilt] = b"x" if spoilt < 3 else {FACE: [b"\1", 7.0]}
    with pytest.raises(MalformedMessage):
        read_sighting(value)


def test_where_no_agent_runs_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoAgent, match="as the user that it runs as"):
        AgentDesk(tmp_path)


def test_an_agent_that_ends_meanwhile_is_told_as_that(tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_name(tmp_path) as name:
        listening.bind(f"{name}/{SOCKET_FILE}")
    listening.listen()
    with AgentDesk(tmp_path) as desk:
        caller, _ = listening.accept()
        caller.close()
        with pytest.raises(NoAgent, match="run the same command again"):
            desk.standing([])
    listening.close()
