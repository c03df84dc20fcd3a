"""What is kept of stills has bounds in bytes, hours and numbers, and outlives a damaged file."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.stills.ring import (
    HOUR_MS,
    MIGRATIONS,
    Kept,
    NoMoreStills,
    RequestSeen,
    StillRing,
)
from protocol.encoding import encode
from protocol.names import SIGHTING_ID_BYTES, SLOT_MS, SightingName, slot_start_ms
from protocol.v2.evidence import SealedStill
from runtime.database import StorageError, open_database

EPOCH = 20_700
NOW_MS = slot_start_ms(EPOCH, 40)
QUERY = bytes(32)


def name(number: int, slot: int = 40) -> SightingName:
    return SightingName("box-1", "cam-1", EPOCH, 7, slot, number.to_bytes(8, "big"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stills.sqlite"


@pytest.fixture
def ring(path: Path) -> Iterator[StillRing]:
    one = StillRing(path, max_bytes=100_000, hours=72)
    yield one
    one.close()


def ask(ring: StillRing, nonce: int, request: bytes = b"one", now_ms: int = NOW_MS) -> None:
    ring.note_asked(
        "ana",
        bytes([nonce]),
        request,
        now_ms=now_ms,
        since_ms=now_ms - 600_000,
        most=2,
    )


def test_the_oldest_make_room_and_are_said_to_have(ring: StillRing) -> None:
    for number in range(40):
        ring.put(name(number, slot=number), os.urandom(10_000))
    assert ring.bytes_kept <= 100_000
    assert ring.kept == 9
    assert ring.find(name(39, slot=39)) is not None
    assert ring.find(name(0, slot=0)) is None
    now_ms = slot_start_ms(EPOCH, 41)
    assert ring.why_gone(name(0, slot=0), now_ms) == "no-room"
    assert ring.why_gone(name(99, slot=38), now_ms) == "unknown"


def test_the_file_grows_no_further_than_its_bound(ring: StillRing, path: Path) -> None:
    for number in range(300):
        ring.put(name(number), os.urandom(5_000))
    ring.close()
    assert path.stat().st_size < 200_000


def test_what_is_older_than_its_hours_is_deleted(ring: StillRing) -> None:
    ring.put(name(1), b"sealed")
    ring.put(name(2), b"", reason="no-body")
    ring.purge(NOW_MS + 72 * HOUR_MS)
    assert ring.kept == 1
    later_ms = NOW_MS + 72 * HOUR_MS + 1
    ring.purge(later_ms)
    assert (ring.kept, ring.bytes_kept) == (0, 0)
    assert ring.find(name(1)) is ring.find(name(2)) is None
    assert ring.why_gone(name(1), later_ms) == "kept-no-longer"


def test_a_policy_keeps_them_shorter_never_longer(ring: StillRing) -> None:
    ring.put(name(1), b"sealed")
    ring.purge(NOW_MS + 25 * HOUR_MS, hours=1000)
    assert ring.kept == 1
    ring.purge(NOW_MS + 25 * HOUR_MS, hours=24)
    assert ring.kept == 0


def test_what_a_wrong_clock_dated_ahead_is_not_kept_for_ever(ring: StillRing) -> None:
    ring.put(name(1), b"sealed")
    ring.purge(NOW_MS - 48 * HOUR_MS)
    assert ring.kept == 0


def test_where_stills_are_permitted_no_more_all_are_deleted(ring: StillRing, path: Path) -> None:
    ring.put(name(1), os.urandom(3000))
    looking = open_database(path, MIGRATIONS)
    (written,) = looking.conn.execute("SELECT sealed FROM still").fetchone()
    looking.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    looking.conn.close()
    assert written[:64] in path.read_bytes()
    ring.clear()
    assert ring.find(name(1)) is None
    ring.close()
    assert written[:64] not in path.read_bytes(), "overwritten, not only let go of"


def test_a_still_is_replaced_by_its_own_name_and_counted_once(ring: StillRing) -> None:
    ring.put(name(1), bytes(1000))
    ring.put(name(1), bytes(2000))
    assert (ring.kept, ring.bytes_kept) == (1, 2000 + 28 + 256)


def test_a_damaged_file_is_begun_anew(path: Path) -> None:
    first = StillRing(path, max_bytes=100_000, hours=72)
    for number in range(10):
        first.put(name(number), bytes(4000))
    first.close()
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(bytes(data))
    again = StillRing(path, max_bytes=100_000, hours=72)
    assert again.find(name(1)) is None
    again.put(name(1), b"sealed")
    assert again.kept == 1
    again.close()


def test_where_the_file_cannot_be_opened_it_is_said_at_once_and_tried_again_later(
    tmp_path: Path,
) -> None:
    ring = StillRing(tmp_path / "not-there" / "stills.sqlite", max_bytes=100_000, hours=72)
    for _ in range(2):
        with pytest.raises(StorageError):
            ring.put(name(1), b"sealed")


def test_a_query_has_so_many_sightings_and_the_same_one_counts_once(ring: StillRing) -> None:
    until_ms = NOW_MS + HOUR_MS
    for number in (1, 2, 1, 2):
        ring.count_sent(QUERY, name(number), most=2, until_ms=until_ms)
    with pytest.raises(NoMoreStills):
        ring.count_sent(QUERY, name(3), most=2, until_ms=until_ms)
    assert ring.count_sent(b"\1" * 32, name(3), most=2, until_ms=until_ms) == 1


def test_what_was_sent_is_known_after_a_start_and_after_the_still_has_gone(
    ring: StillRing, path: Path
) -> None:
    ring.count_sent(QUERY, name(1), most=1, until_ms=NOW_MS + 100 * HOUR_MS)
    ring.purge(NOW_MS + 80 * HOUR_MS)
    ring.close()
    again = StillRing(path, max_bytes=100_000, hours=72)
    with pytest.raises(NoMoreStills):
        again.count_sent(QUERY, name(2), most=1, until_ms=NOW_MS)
    again.close()


def test_a_request_may_come_again_a_few_times_and_another_never_under_its_number(
    ring: StillRing,
) -> None:
    ask(ring, 1)
    ask(ring, 1)
    with pytest.raises(RequestSeen):
        ask(ring, 1)
    ask(ring, 2)
    with pytest.raises(RequestSeen):
        ask(ring, 2, b"another")


def test_requests_are_remembered_as_long_as_they_are_young(ring: StillRing, path: Path) -> None:
    ask(ring, 1)
    ask(ring, 1)
    ring.close()
    again = StillRing(path, max_bytes=100_000, hours=72)
    with pytest.raises(RequestSeen):
        ask(again, 1, now_ms=NOW_MS + 600_000)
    ask(again, 1, now_ms=NOW_MS + 600_001 + SLOT_MS)
    again.close()


def test_no_sightings_name_stands_in_the_file(ring: StillRing, path: Path) -> None:
    names = [
        SightingName("box-1", "cam-1", EPOCH, 7, 40, os.urandom(SIGHTING_ID_BYTES)) for _ in "abc"
    ]
    still = SealedStill("demo", names[0], bytes(12), os.urandom(500))
    ring.put(names[0], still.to_bytes())
    ring.put(names[1], b"", reason="no-body")
    ring.count_sent(QUERY, names[2], most=5, until_ms=NOW_MS)
    assert ring.find(names[0]) == Kept(still.to_bytes())
    ring.close()
    written = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert all(one.sighting_id not in written for one in names)
    assert still.sealed[:32] not in written


def test_names_that_an_older_version_wrote_are_forgotten(path: Path) -> None:
    kept = SightingName("box-1", "cam-1", EPOCH, 7, 40, os.urandom(SIGHTING_ID_BYTES))
    sealed = SealedStill("demo", kept, bytes(12), os.urandom(500)).to_bytes()
    older = open_database(path, MIGRATIONS[:1])
    encoded = encode(kept.to_value())
    older.conn.execute("INSERT INTO still VALUES (?, ?, ?, '')", (encoded, NOW_MS, sealed))
    older.conn.execute("INSERT INTO sent VALUES (?, ?, ?)", (QUERY, encoded, NOW_MS))
    older.conn.close()
    ring = StillRing(path, max_bytes=100_000, hours=72)
    assert ring.find(kept) == Kept(sealed)
    assert ring.count_sent(QUERY, kept, most=1, until_ms=NOW_MS) == 1
    ring.close()
    assert all(kept.sighting_id not in file.read_bytes() for file in path.parent.iterdir())


def test_a_ring_larger_than_the_boxs_memory_is_upgraded_still_by_still(path: Path) -> None:
    older = open_database(path, MIGRATIONS[:1])
    for number in range(24):
        still = (encode(name(number).to_value()), NOW_MS, bytes(1 << 20))
        older.conn.execute("INSERT INTO still VALUES (?, ?, ?, '')", still)
    older.conn.close()
    tracemalloc.start()
    try:
        open_database(path, MIGRATIONS).conn.close()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 << 20
    ring = StillRing(path, max_bytes=1 << 30, hours=72)
    assert ring.find(name(23)) == Kept(bytes(1 << 20))
    ring.close()


def test_a_still_that_was_altered_on_the_disk_is_refused(ring: StillRing, path: Path) -> None:
    ring.put(name(1), b"sealed")
    other = open_database(path, MIGRATIONS)
    other.conn.execute("UPDATE still SET sealed = zeroblob(length(sealed))")
    other.conn.close()
    with pytest.raises(StorageError, match="not what was put there"):
        ring.find(name(1))
