"""The outbox survives being killed and a full disk, and holds nothing plain."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from edge_site import DIMENSION, Box, Site, make_sighting

from edge_agent.outbox import Outbox, SlotName
from edge_agent.outbox_recovery import mark_damaged, open_outbox
from protocol.keytree import FACE

_WRITER = """
import sys
from pathlib import Path
from edge_agent.outbox import Outbox, SlotName

outbox = Outbox(Path(sys.argv[1]), max_bytes=1 << 30, memory_bytes=1 << 20)
outbox.begin_camera("cam-1")
slot = 0
while True:
    for _ in range(3):
        name = SlotName(1, 1, slot)
        outbox.add_live("cam-1", name, 1, lambda n: n.to_bytes(4, "big") * 500)
        print(outbox.next_sequence("cam-1") - 1, flush=True)
    taken = outbox.take(2)
    for message in taken:
        outbox.acknowledged("cam-1", message.sequence)
    slot += 1
"""


@pytest.mark.processes
def test_nothing_stored_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    told = -1
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(25):
            told = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        # The last line may be cut in two by the kill; the one before it was whole.
        told = max([told, *map(int, rest[:-1])])
    outbox = Outbox(path, max_bytes=1 << 30, memory_bytes=1 << 20)
    kept = outbox.take(1_000_000)
    assert [m.sequence for m in kept] == list(range(len(kept)))
    assert len(kept) > told
    assert all(m.payload == m.sequence.to_bytes(4, "big") * 500 for m in kept)
    assert outbox.next_sequence("cam-1") == len(kept)
    outbox.close()


def full_outbox(folder: Path, memory_bytes: int = 1 << 20) -> Outbox:
    """An outbox whose disk has room for a few messages only."""
    outbox = Outbox(
        folder / "outbox.sqlite", max_bytes=1 << 30, memory_bytes=memory_bytes, max_pages=40
    )
    outbox.begin_camera("cam-1")
    return outbox


def add(outbox: Outbox, slot: int) -> None:
    name = SlotName(1, 1, slot)
    outbox.add_segment("cam-1", name, 2, lambda n, _: n.to_bytes(4, "big") * 2500)


def test_with_a_full_disk_messages_wait_in_memory_and_are_not_published(tmp_path: Path) -> None:
    outbox = full_outbox(tmp_path)
    for slot in range(30):
        add(outbox, slot)
    stats = outbox.stats()
    assert stats.disk_full
    assert stats.in_memory > 0
    assert stats.counters["disk_full"] == stats.in_memory
    on_disk = outbox.take(100)
    assert len(on_disk) + stats.in_memory == 30
    assert [m.sequence for m in on_disk] == list(range(len(on_disk)))
    # Headquarters takes what is on the disk: room for the others, in order.
    outbox.receipt("cam-1", stored_through=len(on_disk) - 1, missing=(), issued_at_ms=1)
    seen = len(on_disk)
    while seen < 30:
        outbox.upkeep()
        taken = outbox.take(100)
        assert [m.sequence for m in taken] == list(range(seen, seen + len(taken)))
        assert taken, "freed room was not used"
        seen += len(taken)
        outbox.receipt("cam-1", stored_through=seen - 1, missing=(), issued_at_ms=seen)
    outbox.upkeep()
    assert not outbox.stats().disk_full
    assert outbox.idle(receipted=True)
    outbox.close()


def test_what_was_only_in_memory_gives_its_number_to_the_next_run(tmp_path: Path) -> None:
    outbox = full_outbox(tmp_path)
    for slot in range(30):
        add(outbox, slot)
    on_disk = len(outbox.take(100))
    # No close: as if killed. Nobody has seen the numbers after those on the disk.
    again = Outbox(tmp_path / "outbox.sqlite", max_bytes=1 << 30, memory_bytes=1 << 20)
    assert again.next_sequence("cam-1") == on_disk
    again.close()


def test_memory_is_bounded_while_the_disk_is_full(tmp_path: Path) -> None:
    outbox = full_outbox(tmp_path, memory_bytes=50_000)
    for slot in range(60):
        add(outbox, slot)
    stats = outbox.stats()
    assert stats.in_memory * 10_000 <= 50_000
    assert stats.counters["dropped_segment"] > 0
    assert stats.counters["dropped_segment_sightings"] == 2 * stats.counters["dropped_segment"]
    outbox.close()


def test_a_segment_in_memory_still_replaces_unseen_live_envelopes_on_disk(tmp_path: Path) -> None:
    outbox = full_outbox(tmp_path)
    while not outbox.stats().disk_full:
        name = SlotName(1, 1, 7)
        outbox.add_live("cam-1", name, 1, lambda n: n.to_bytes(4, "big") * 2500)
    add(outbox, 7)
    outbox.upkeep()
    taken = outbox.take(100)
    assert [(m.sequence, m.kind) for m in taken] == [(0, "segment")]
    outbox.close()


def test_sealing_goes_on_and_keys_are_dropped_while_the_disk_is_full(
    new_box: Callable[..., Box], site: Site
) -> None:
    box = new_box(max_pages=30)
    for seed in range(200):
        box.see(*range(seed * 50, seed * 50 + 50))
        box.to_next_slot()
        if box.outbox.stats().in_memory > 3:
            break
    stats = box.outbox.stats()
    assert stats.disk_full
    assert box.sealer.stats().held == 0
    payloads: list[bytes] = []
    while not box.outbox.idle(receipted=True):
        box.outbox.upkeep()
        taken = box.outbox.take(100)
        payloads += [m.payload for m in taken]
        last = taken[-1].sequence
        box.outbox.receipt("cam-1", stored_through=last, missing=(), issued_at_ms=last)
    opened = site.open(payloads)
    assert sum(len(one.sightings) for one in opened) == (seed + 1) * 50


@pytest.mark.slow
def test_a_damaged_file_is_put_aside_and_the_box_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    for content in (b"not a database at all" * 500, b""):
        path.write_bytes(content)
        outbox = open_outbox(path, max_bytes=1 << 20, memory_bytes=1 << 20)
        outbox.begin_camera("cam-1")
        assert outbox.next_sequence("cam-1") == 0
        assert outbox.stats().counters.get("outboxes_damaged", 0) == (1 if content else 0)
        outbox.close()
        path.unlink()
    aside = list(tmp_path.glob("outbox.sqlite.damaged-*"))
    assert [one.read_bytes()[:3] for one in aside] == [b"not"]


def spoil(path: Path, pages: Sequence[int], content: bytes) -> None:
    """Write over pages (counted from 0) of a database that nobody has open."""
    with closing(sqlite3.connect(path)) as file:
        size = int(file.execute("PRAGMA page_size").fetchone()[0])
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as raw:
        for page in pages:
            raw.seek(page * size)
            raw.write((content * size)[:size])


@pytest.mark.parametrize("content", [bytes(1), b"\x5a\xa5garbage"], ids=["zeros", "garbage"])
@pytest.mark.parametrize("where", [0.2, 0.5, 0.8])
def test_what_can_be_read_of_a_spoilt_outbox_is_still_delivered(
    tmp_path: Path, where: float, content: bytes
) -> None:
    path = tmp_path / "outbox.sqlite"
    with closing(Outbox(path, max_bytes=1 << 30, memory_bytes=1 << 20)) as outbox:
        outbox.begin_camera("cam-1")
        for slot in range(300):
            add(outbox, slot)
    pages = path.stat().st_size // 4096
    spoil(path, [int(pages * where), int(pages * where) + 1], content)
    outbox = open_outbox(path, max_bytes=1 << 30, memory_bytes=1 << 20)
    outbox.begin_camera("cam-1")
    assert outbox.next_sequence("cam-1") == 300
    taken = [message.sequence for message in outbox.take(1000)]
    assert taken == sorted(set(taken))
    assert 280 <= len(taken) <= 300
    counters = outbox.stats().counters
    assert (counters["outboxes_damaged"], counters["salvaged_messages"]) == (1, len(taken))
    outbox.close()
    assert list(tmp_path.glob("outbox.sqlite.damaged-*"))


def test_an_outbox_found_spoilt_while_running_is_put_aside_at_the_next_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "outbox.sqlite"
    with closing(Outbox(path, max_bytes=1 << 30, memory_bytes=1 << 20)) as outbox:
        outbox.begin_camera("cam-1")
        add(outbox, 1)
    mark_damaged(path)
    for _ in range(2):
        with closing(open_outbox(path, max_bytes=1 << 30, memory_bytes=1 << 20)) as outbox:
            outbox.begin_camera("cam-1")
            assert outbox.stats().counters["outboxes_damaged"] == 1
            assert outbox.next_sequence("cam-1") == 1


def test_the_file_shrinks_after_a_backlog_has_been_delivered(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    outbox = Outbox(path, max_bytes=1 << 30, memory_bytes=1 << 20)
    outbox.begin_camera("cam-1")
    for slot in range(400):
        add(outbox, slot)
    large = path.stat().st_size
    outbox.receipt("cam-1", stored_through=399, missing=(), issued_at_ms=1)
    for _ in range(20):
        outbox.upkeep()
    outbox.close()
    assert path.stat().st_size < large / 2


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_the_files_hold_no_plain_template(
    new_box: Callable[..., Box], site: Site, suffix: str
) -> None:
    box = new_box()
    for seed in range(10):
        box.see(*range(seed * 10, seed * 10 + 10))
        box.live_now()
    box.sealer.finish()
    path = box.folder / f"outbox.sqlite{suffix}"
    data = path.read_bytes()
    assert site.board.signer.encode() in data or suffix == "", "the file has our messages at all"
    for seed in range(100):
        sighting = make_sighting(0, seed=seed)
        row = sighting.templates[FACE].row
        assert row.size == DIMENSION
        assert row.tobytes()[:8] not in data
        assert sighting.sighting_id not in data
