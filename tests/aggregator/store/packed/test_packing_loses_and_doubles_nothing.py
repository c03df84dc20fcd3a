"""Whatever ends a packer, and whoever packs beside it, each segment is in store once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from packed_site import RNG, WAIT_MS, PackedSite, end_of_hour_ms
from sealed_boxes import DAY, sighting, unit_vector
from site_v1 import SiteV1
from store_backends import FAR_MS, every_backend, forget, stream_of
from store_file import altering

from aggregator.store import open_store
from aggregator.store.packed import objects
from aggregator.store.packed.format import PARTS
from aggregator.store.packed.packing import MARK, Packer
from aggregator.store.packed.store import PackedStore, PackedUnit
from aggregator.store.packs import PLACED, WRITING, HotSegment, PackLost
from aggregator.store.retention import purge
from protocol.names import EPOCH_MS
from runtime.database import StorageError

STEPS_OF_AN_OBJECT = 8
"""The intent, six files, placed."""


@pytest.fixture
def site(tmp_path: Path) -> PackedSite:
    return PackedSite(tmp_path)


@pytest.fixture(params=every_backend("sqlite", "postgresql"))
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PackedSite]:
    """A site over each ledger."""
    site = PackedSite(tmp_path, backend=request.param)
    yield site
    site.store.close()
    forget(tmp_path)


def test_segments_that_are_packed_come_back_as_they_came(site: PackedSite) -> None:
    site.fill()
    site.live(5)
    done = site.pack()
    assert (done.objects, done.segments, done.waiting) == (2, 9, 0)
    assert {name.rsplit(".", 1)[0] for name in site.files()} == {
        f"{DAY}/0000/01",
        f"{DAY}/0000/02",
    }
    site.require_all()
    site.reopen()
    site.require_all()
    assert site.pack().objects == 0


@pytest.mark.parametrize("killed_after", range(1, STEPS_OF_AN_OBJECT + 1))
def test_a_packer_that_ends_after_any_step_leaves_each_segment_once(
    either: PackedSite, killed_after: int
) -> None:
    site = either
    site.fill((4, 5))
    site.packer().round()  # nothing of it is due twice
    site.fill((6, 7))
    (hour,) = site.hours()
    steps = site.packer().steps(hour)
    for _ in range(killed_after):
        next(steps)
    site.require_all()
    site.reopen()
    site.require_all()
    site.pack()
    site.require_all()
    assert not site.hours()
    assert not site.store.ledger.unsettled_packs()
    names = {name.rsplit(".", 1)[0] for name in site.files()}
    packs = site.store.ledger.packs_of(site.boxes[0].address, DAY)
    assert names == {pack.name.path for pack in packs}, "what was given up is gone"
    assert len(site.files()) == 6 * len(packs)
    assert len(packs) == 2


@pytest.mark.processes
def test_a_packer_that_is_killed_between_two_files_leaves_each_segment_once(
    site: PackedSite,
) -> None:
    site.fill()
    site.store.close()
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from packed_site import PackedSite\n"
        "site = PackedSite(Path(sys.argv[1]))\n"
        "steps = site.packer().steps(site.hours()[0])\n"
        "for _ in range(4):\n"
        "    next(steps)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    support = Path(__file__).parents[3] / "support"
    ended = subprocess.run(
        [sys.executable, "-c", program, str(site.folder)],
        env=os.environ | {"PYTHONPATH": str(support)},
        timeout=60,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    site.reopen()
    assert [pack.state for pack in site.store.ledger.unsettled_packs()] == [WRITING]
    assert len(site.files()) == 3
    site.pack()
    site.require_all()


def test_of_two_packers_of_one_hour_one_places_it_and_the_other_changes_nothing(
    either: PackedSite,
) -> None:
    site = either
    site.fill((4,))
    (hour,) = site.hours()
    slow, fast = site.packer().steps(hour), site.packer().steps(hour)
    for _ in range(STEPS_OF_AN_OBJECT - 1):
        next(slow)
    assert list(fast)[-1].segments == 3
    with pytest.raises(PackLost, match="no rows any more"):
        list(slow)
    site.require_all()
    site.pack()
    assert not site.store.ledger.unsettled_packs()
    site.require_all()


def test_what_another_has_given_up_is_not_placed(either: PackedSite) -> None:
    site = either
    site.fill((4,))
    (hour,) = site.hours()
    slow = site.packer().steps(hour)
    for _ in range(STEPS_OF_AN_OBJECT - 1):
        next(slow)
    site.pack()
    with pytest.raises(PackLost, match="given up"):
        list(slow)
    site.require_all()
    (pack,) = site.store.ledger.packs_of(site.boxes[0].address, DAY)
    assert pack.name.part == 2, "no name is used twice, whoever still writes under it"


def test_what_another_places_while_it_is_to_be_given_up_is_kept(either: PackedSite) -> None:
    site = either
    site.fill((4,))
    (hour,) = site.hours()
    steps = site.packer().steps(hour)
    for _ in range(STEPS_OF_AN_OBJECT - 1):
        next(steps)
    others = [steps]

    class PlacedMeanwhile(PackedStore):
        """The store of another packer, which the first overtakes before its first transaction."""

        @contextmanager
        def writing(self, *, durable: bool = False, beside: bool = False) -> Iterator[PackedUnit]:
            while others:
                assert list(others.pop())[-1].segments == 3
            with super().writing(durable=durable, beside=beside) as unit:
                yield unit

    site.store.__class__ = PlacedMeanwhile
    site.pack()
    site.reopen()
    site.require_all()


def test_an_hour_larger_than_memory_is_read_and_packed_object_by_object(
    either: PackedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = either
    site.fill((4, 5, 6, 7))
    monkeypatch.setattr("aggregator.store.packed.packing._OBJECT_BYTES", 1)
    read = []
    split = HotSegment._make

    def counted(values: Iterable[Any]) -> HotSegment:
        read.append(1)
        return split(values)

    monkeypatch.setattr(HotSegment, "_make", counted)
    (hour,) = site.hours()
    steps = site.packer().steps(hour)
    for _ in range(STEPS_OF_AN_OBJECT):
        next(steps)
    assert len(read) <= 2, "of a large hour no more is in memory than one object"
    placed = [pack for pack in steps if pack.segments]
    assert len(placed) == 11
    site.require_all()
    assert not site.hours()


def test_an_hour_is_packed_when_it_is_over_and_boxes_have_had_time(site: PackedSite) -> None:
    site.fill((4, 8))
    end_ms = end_of_hour_ms(1)
    assert site.pack(now_ms=end_ms + WAIT_MS - 1).objects == 0
    assert site.pack(now_ms=end_ms + WAIT_MS).segments == 3
    assert [hour.hour for hour in site.hours()] == [2]


def test_late_arrivals_wait_for_one_another_and_become_another_object(either: PackedSite) -> None:
    site = either
    site.fill((4,))
    site.pack()
    awake = [0]
    packer = site.packer(awake_ms=lambda: awake[0])
    site.fill((5,))
    assert packer.round().objects == 0
    awake[0] = 29 * 60_000
    site.fill((6,))
    assert packer.round().objects == 0
    awake[0] = 30 * 60_000
    assert packer.round().segments == 6
    packs = site.store.ledger.packs_of(site.boxes[0].address, DAY)
    assert [pack.name.path for pack in packs] == [f"{DAY}/0000/01", f"{DAY}/0000/01.2"]
    site.require_all()


def test_live_envelopes_stay_rows_and_go_by_todays_rules_though_their_segment_is_packed(
    either: PackedSite,
) -> None:
    site = either
    old, new = site.old, site.boxes[0]
    site.live(4)
    number = next(iter(site.kept))
    assert site.pack().objects == 0
    site.keep(new, new.segment([], slot=4, replaces=((0, 0),)))
    site.pack()
    assert site.numbers() == [number + 1]
    late = new.live([], slot=4, sequence=0)
    site.keep(new, late)
    assert site.numbers() == [number + 1], "that was listed by the segment"
    site.keep(old, old.segment([sighting(unit_vector(RNG)) for _ in range(2)], slot=4))
    site.pack()
    with site.store.writing() as unit:
        stream, slot = stream_of(unit, old.address), (DAY, old.generation, 4)
    site.keep(old, old.live([sighting(unit_vector(RNG)) for _ in range(2)], slot=4))
    with site.store.writing() as unit:
        assert unit.segments.drop_replaced_live(stream, *slot) == 1
    site.keep(old, old.live([sighting(unit_vector(RNG)) for _ in range(3)], slot=4))
    with site.store.writing() as unit:
        assert unit.segments.drop_replaced_live(stream, *slot) == 0, "one sighting would be lost"


def test_a_row_that_somebody_edited_stays_a_row_and_holds_up_no_other(site: PackedSite) -> None:
    site.fill((4,))
    with altering(site.store.inner) as file:
        file.execute("UPDATE envelopes SET salt = x'00' WHERE id = 2")
    assert site.pack().segments == 2
    assert [hour.segments for hour in site.hours()] == [1]


def test_a_day_past_its_retention_goes_with_its_folder(either: PackedSite) -> None:
    site = either
    site.fill((4, 8))
    (site.folder / "segments" / str(DAY - 1) / "0000").mkdir(parents=True)
    lost = site.folder / "segments" / str(DAY - 1) / "0000" / "00.idx"
    lost.write_bytes(b"of a ledger that was put back to an older one")
    before = dict(site.kept)
    site.fill((4,), day=DAY + 1)
    site.pack()
    half_written = site.folder / "segments" / str(DAY) / "0000" / "02.face#1"
    half_written.write_bytes(b"by a packer that was killed")
    gone = purge(site.store, now_ms=(DAY + 16) * EPOCH_MS, retention_days=14)
    assert gone.envelopes == len(before)
    assert site.numbers() == []
    with pytest.raises(KeyError):
        site.store.segments.meta(1)
    assert any(name.startswith(f"{DAY}/") for name in site.files()), "files go with the next round"
    site.pack()
    assert {name.split("/")[0] for name in site.files()} == {str(DAY + 1)}
    days = [path.name for path in (site.folder / "segments").iterdir() if path.is_dir()]
    assert days == [str(DAY + 1)]
    assert not lost.exists(), "nor does what no ledger knows outlive its day"
    assert len(site.numbers(DAY + 1)) == len(site.kept) - len(before)
    assert not site.store.ledger.unsettled_packs()


def test_a_reader_that_met_an_object_before_its_day_was_dropped_goes_on(site: PackedSite) -> None:
    site.fill((4, 8))
    site.pack()
    rows = site.store.segments.scan(site.scope(site.boxes[0]), modalities=("face",))
    first = next(rows)
    purge(site.store, now_ms=(DAY + 16) * EPOCH_MS, retention_days=14)
    site.pack()
    assert first.slot == 4
    assert list(rows) == [], "what is gone is gone, and no damage"


def test_nothing_is_packed_into_the_place_of_another_ledger(
    site: PackedSite, tmp_path: Path
) -> None:
    site.fill((4,))
    site.pack()
    (tmp_path / "other").mkdir()
    other = PackedSite(tmp_path / "other", site.store.objects.place)
    other.fill((4,))
    with pytest.raises(StorageError, match="of another ledger"):
        other.pack()
    assert len(site.files()) == 6
    other.require_all()


def test_nothing_is_packed_where_the_place_is_not_mounted(site: PackedSite) -> None:
    site.fill((4,))
    site.pack()
    place = site.folder / "segments"
    place.rename(site.folder / "unmounted")
    place.mkdir()
    site.fill((8,))
    with pytest.raises(StorageError, match=rf"has lost its file {MARK}"):
        site.pack()
    place.rmdir()
    (site.folder / "unmounted").rename(place)
    site.pack()
    site.require_all()


@pytest.mark.slow
def test_objects_of_many_segments_are_small_and_few_of_them_are_kept_opened(
    site: PackedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.fill(range(0, 32))
    monkeypatch.setattr("aggregator.store.packed.packing._OBJECT_SEGMENTS", 6)
    monkeypatch.setattr(objects, "_OPENED_SEGMENTS", 20)
    site.pack()
    site.require_all()
    shelf = site.store._shelf
    assert {len(one.index.rows) for one in shelf._opened.values()} == {6}
    assert len(shelf._opened) == 3
    assert shelf._segments == 18


def test_objects_hold_few_descriptors_however_many_are_read(
    site: PackedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_DESCRIPTORS", 3)
    site.fill((4, 8, 12, 16))
    site.pack()
    site.reopen()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(2):
        site.require_all()
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 3 + len(PARTS)


def test_a_site_of_the_first_release_packs_what_it_has(tmp_path: Path) -> None:
    old = SiteV1.unpack(tmp_path)
    with closing(old.store()) as kept:
        before = [envelope.to_bytes() for envelope in old.envelopes(kept)]
    assert before
    path = old.root / "aggregator" / "state" / "aggregator.db"
    with closing(open_store(path)) as store:
        assert isinstance(store, PackedStore)
        waiting = sum(hour.segments for hour in store.ledger.waiting_hours(over_slot=1 << 40))
        packer = Packer(store, store.objects, wait_ms=WAIT_MS, now_ms=lambda: FAR_MS)
        assert packer.round().segments == waiting > 0
        numbers = range(1, store.segments.newest() + 1)
        after = []
        for number in numbers:
            with suppress(KeyError):
                after.append(store.segments.envelope(number).to_bytes())
    assert after == before


def test_a_ledger_put_back_to_an_older_one_packs_again_what_it_has(site: PackedSite) -> None:
    site.fill((4,))
    site.pack()
    site.fill((8,))
    site.store.close()
    ledger = site.folder / "aggregator.db"
    older = ledger.read_bytes()
    site.reopen()
    site.pack()
    site.store.close()
    ledger.write_bytes(older)
    site.reopen()
    site.require_all()
    assert site.pack().segments == 3
    site.require_all()


def test_the_files_of_objects_are_readable_by_the_service_alone(site: PackedSite) -> None:
    site.fill((4,))
    site.pack()
    folder = site.folder / "segments"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {(folder / name).stat().st_mode & 0o777 for name in site.files()} == {0o600}


def test_counts_and_cursors_go_over_rows_and_objects(either: PackedSite) -> None:
    site = either
    site.fill((4,))
    cursor = site.store.segments.newest()
    site.fill((8,))
    site.pack(now_ms=end_of_hour_ms(1) + WAIT_MS)
    box = site.boxes[0]
    for _ in range(2):
        reader = site.store.segments
        assert reader.newest() == site.store.ledger.newest_envelope() == 6
        assert reader.count(site.scope(box)) == 2
        assert reader.count(site.scope(box), after=cursor) == 1
        assert reader.count(site.scope(box, last=4)) == 1
        assert len(site.store.ledger.arrived_since(cursor)) == 3
        held = site.store.ledger.count_scope(
            [box.camera], from_ms=DAY * EPOCH_MS, to_ms=(DAY + 1) * EPOCH_MS
        )
        assert held.segments == 2
        site.pack()
    states = {pack.state for pack in site.store.ledger.packs_of(box.address, DAY)}
    assert states == {PLACED}
