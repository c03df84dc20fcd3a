"""A role whose database is spoilt says so and stops; a box saves what it can and goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from puppet_box import PuppetBox, person, seen, slots_ago
from running_site import SERVERS, RunningSite, plan_with_dan
from waiting import wait_for

from edge_agent.outbox import Outbox, SlotName
from protocol.names import epoch_of, slot_of
from runtime.integrity import EXIT_DAMAGED

DATABASES = (
    ("c1", "state/custodian.db"),
    ("c2", "state/audit.db"),
    ("c3", "state/witness.db"),
    ("aggregator", "state/aggregator.db"),
    ("aggregator", "state/audit.db"),
    ("aggregator", "state/witness.db"),
    ("registrar", "state/enrolment.db"),
)
GARBAGE = b"\x5a\xa5garbage!"
ENDS_WITHIN_S = 40.0
MESSAGES = 60


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, model_bundle_path: Path
) -> Iterator[RunningSite]:
    """A site whose every role has run, and was stopped in good order: no role runs."""
    made = RunningSite(
        plan_with_dan(
            {"cam-1": {"source": "file:none.mp4"}},
            bundle=model_bundle_path,
            box_settings={"health_s": 1},
        ),
        tmp_path_factory.mktemp("spoilt"),
    )
    try:
        made.start(*SERVERS, "registrar")
        made.stop()
        yield made
    finally:
        made.stop()


def spoil(path: Path, content: bytes, *, first: int = 1) -> bytes:
    """Write over every second page from ``first`` (0: the header) on; return the file as it was."""
    with closing(sqlite3.connect(path)) as database:
        size = int(database.execute("PRAGMA page_size").fetchone()[0])
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    spoilt = bytearray(whole)
    for start in range(first * size, len(whole), 2 * size):
        spoilt[start : start + size] = (content * size)[:size]
    path.write_bytes(spoilt)
    return whole


def assert_stops_saying_what(site: RunningSite, role: str, path: Path) -> None:
    before = path.read_bytes()
    service = site.local.services[role]
    service.start()
    try:
        assert service.wait(ENDS_WITHIN_S) == EXIT_DAMAGED, service.tail()
    finally:
        service.kill()
    assert f"{path} is damaged or not a database" in service.output()
    assert "put it aside and restore it from a backup" in service.output()
    assert not service.events("ready")
    assert "Traceback" not in service.output()
    assert path.read_bytes() == before


@pytest.mark.parametrize(("role", "file"), DATABASES, ids=lambda value: Path(value).stem)
def test_a_role_does_not_start_over_a_spoilt_database(
    site: RunningSite, role: str, file: str
) -> None:
    path = site.folder(role) / file
    whole = spoil(path, bytes(1) if role == "aggregator" else GARBAGE)
    try:
        assert_stops_saying_what(site, role, path)
    finally:
        path.write_bytes(whole)


def test_a_file_that_is_no_database_any_more_is_told_as_well(site: RunningSite) -> None:
    path = site.folder("c1") / "state" / "audit.db"
    whole = spoil(path, GARBAGE, first=0)
    try:
        assert_stops_saying_what(site, "c1", path)
    finally:
        path.write_bytes(whole)


def test_a_box_delivers_what_can_be_read_of_its_spoilt_outbox(site: RunningSite) -> None:
    site.start(*SERVERS)  # from the files that were put back
    path = site.folder("box-1") / "state" / "outbox.sqlite"
    path.parent.mkdir(exist_ok=True)
    with closing(Outbox(path, max_bytes=1 << 30, memory_bytes=1 << 20)) as outbox:
        fill(outbox, PuppetBox(site, "box-1"))
    spoil_one_page(path)
    spoilt = path.read_bytes()
    site.start("box-1")
    stored = site.wait_stored("cam-1", MESSAGES * 3 // 4)
    box = site.local.services["box-1"]
    assert box.events("outbox_damaged")
    assert set(stored) <= set(range(MESSAGES + 1))
    assert [aside.read_bytes() for aside in path.parent.glob("outbox.sqlite.damaged-*")] == [spoilt]
    wait_for(
        lambda: figures_of(site, "box-1").get("count.outboxes_damaged") == 1,
        "headquarters to hear of it",
    )
    assert box.running


def fill(outbox: Outbox, box: PuppetBox) -> None:
    """Keep an announcement and sealed segments as a box does that cannot reach anybody."""
    slot_ms = slots_ago(2)
    epoch = epoch_of(slot_ms)
    outbox.begin_camera(box.camera)
    announcement = box.announcement(epoch)
    outbox.announce(
        box.camera, epoch, now_ms=box.now_ms, build=lambda _generation, _sequence: announcement
    )
    name = SlotName(epoch, box.generation, slot_of(slot_ms))
    for seed in range(MESSAGES):
        sealed = box.envelope([seen(person(seed), slot_ms + 60_000)] * 8, slot_ms).to_bytes()

        def build(_sequence: int, _replaces: Sequence[int], sealed: bytes = sealed) -> bytes:
            return sealed

        outbox.add_segment(box.camera, name, 8, build)


def spoil_one_page(path: Path) -> None:
    """Write over a page in the middle of a database that nobody has open."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 4096 // 2 * 4096)
        file.write(GARBAGE * 400)


def figures_of(site: RunningSite, box: str) -> dict[str, float]:
    figures: dict[str, float] = site.boxes()[box]["figures"]
    return figures
