"""One camera of a shard read after another gives what it gives alone, and nothing that is old."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from boxes_v2 import BoxOfVersion2, person, strangers
from packed_site import RNG, PackedSite
from sealed_boxes import DAY, DIMENSION, MODEL, unit_vector

from aggregator.store import SegmentReader, SegmentRun
from aggregator.store.packed.objects import FetchedFile
from aggregator.store.packed.place import Objects, ObjectsPlace
from aggregator.store.packed.reading import PackedReader
from protocol.grant import Scope
from protocol.keytree import APPEARANCE, FACE
from protocol.sealing import nonce_of, nonces_of
from protocol.sightings import quantise_template
from protocol.v2.blocks import Space
from runtime.database import StorageDamaged

ASKED = (APPEARANCE, FACE)
BOTH = {FACE: Space(MODEL), APPEARANCE: Space(f"clothes-{DIMENSION}@00000007")}
SLOTS = (4, 5, 7, 9, 40, 95)
Said = tuple[object, ...]


@pytest.fixture
def site(tmp_path: Path) -> PackedSite:
    """Two cameras of one shard, packed: in one quarter hour both have clothes as well."""
    made = PackedSite(tmp_path)
    dressed = person(None, templates={APPEARANCE: quantise_template(unit_vector(RNG))})
    for number, slot in enumerate(SLOTS):
        for box in made.boxes:
            seen = strangers(2 + number, RNG)
            if slot == 9:
                made.keep(box, box.segment([*seen, dressed], slot=slot, spaces=BOTH))
            else:
                made.keep(box, box.segment(seen, slot=slot))
    made.pack()
    return made


def read(reader: SegmentReader, scope: Scope, *, after: int = 0) -> Said:
    """Return all that runs and what is told say of a scope, in their order."""
    said: list[object] = []
    for run in reader.runs(scope, modalities=ASKED, after=after):
        assert isinstance(run, SegmentRun)
        said += zip(run.numbers.tolist(), run.slots.tolist(), run.sequences.tolist(), strict=True)
        said.append(run.salts)
        for of in run.blocks:
            edges = (of.offsets - of.offsets[0]).tolist()
            sealed = bytes(of.sealed[int(of.offsets[0]) : int(of.offsets[-1])])
            said += [of.models.tolist(), edges, sealed]
    return (*said, *reader.told(scope, after=after, through=reader.newest()))


def alone(site: PackedSite, box: BoxOfVersion2, **slots: int) -> Said:
    """Return what a process says that reads nothing else."""
    site.reopen()
    return read(site.store.segments, site.scope(box, **slots))


def laid_out(reader: SegmentReader) -> bool:
    assert isinstance(reader, PackedReader)
    return reader._days._last.keys() == {ASKED, ()}


def both(site: PackedSite) -> Sequence[Said]:
    """Have one process read both cameras, then the first again."""
    one, other = site.boxes
    return [read(site.store.segments, site.scope(box)) for box in (one, other, one)]


def test_a_camera_read_after_another_gives_what_it_gives_alone(site: PackedSite) -> None:
    one, other = (alone(site, box) for box in site.boxes)
    assert not laid_out(site.store.segments), "one camera is read object by object"
    assert one != other
    site.reopen()
    assert both(site) == [one, other, one]
    assert laid_out(site.store.segments)


@pytest.mark.parametrize(("first", "last"), [(5, 95), (0, 39), (4, 7), (8, 90)])
def test_so_it_is_of_a_part_of_the_day(site: PackedSite, first: int, last: int) -> None:
    expected = [alone(site, box, first=first, last=last) for box in site.boxes]
    site.reopen()
    reader = site.store.segments
    for _ in range(2):
        scopes = [site.scope(box, first=first, last=last) for box in site.boxes]
        assert [read(reader, scope) for scope in scopes] == expected


def test_after_a_cursor_comes_only_what_came_later(site: PackedSite) -> None:
    both(site)
    reader, scope = site.store.segments, site.scope(site.boxes[0])
    for after in (1, 3, 2 * len(SLOTS)):
        numbers = [
            number
            for run in reader.runs(scope, modalities=ASKED, after=after)
            if isinstance(run, SegmentRun)
            for number in run.numbers.tolist()
        ]
        assert numbers == [n for n in range(1, 2 * len(SLOTS), 2) if n > after]


def test_a_segment_that_comes_late_is_given_in_its_row_and_once_it_is_packed(
    site: PackedSite,
) -> None:
    both(site)
    late = site.boxes[1]
    site.keep(late, late.segment(strangers(4, RNG), slot=6))
    number = site.store.segments.newest()
    for _ in range(2):
        for box in site.boxes:
            found = read(site.store.segments, site.scope(box))
            rows = [one for one in found if isinstance(one, tuple) and one[0] == number]
            assert len(rows) == (2 if box is late else 0), "in a run, and told"
        site.pack()
    expected = [alone(site, box) for box in site.boxes]
    site.reopen()
    assert list(both(site)[:2]) == expected


def test_a_day_whose_objects_are_dropped_is_gone(site: PackedSite) -> None:
    both(site)
    with site.store.writing() as unit:
        unit.ledger.drop_packs(before_epoch=DAY + 1, most=1 << 20)
    assert both(site) == [(), (), ()]


def test_a_file_that_is_cut_off_is_named_and_read_again_once_it_is_put_back(
    site: PackedSite,
) -> None:
    expected = both(site)
    (path,) = (site.folder / "segments").rglob("10.face")
    content = path.read_bytes()
    path.write_bytes(content[:100])
    with pytest.raises(StorageDamaged, match=r"10\.face is damaged"):
        both(site)
    path.write_bytes(content)
    assert both(site) == expected


def test_what_is_told_is_checked_against_the_digest_of_its_file(site: PackedSite) -> None:
    (path,) = (site.folder / "segments").rglob("10.cover")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    site.reopen()
    reader = site.store.segments
    for box in site.boxes:
        with pytest.raises(StorageDamaged, match=r"10\.cover is damaged"):
            list(reader.told(site.scope(box), through=reader.newest()))


def test_nonces_made_together_are_those_made_one_by_one() -> None:
    sequences = np.array([0, 1, 255, 1 << 16, (1 << 63) - 1], np.int64)
    salts = [RNG.bytes(8) for _ in sequences]
    together = nonces_of(b"".join(salts), sequences)
    assert together == [
        nonce_of(salt, n) for salt, n in zip(salts, sequences.tolist(), strict=True)
    ]
    assert nonces_of(b"", sequences[:0]) == []


class Bucket(Objects):
    """The objects of a folder as an S3 has them: each file comes whole."""

    def __init__(self, folder: Objects) -> None:
        super().__init__(ObjectsPlace("s3://bucket/segments"))
        self._folder = folder

    def get(self, path: str, *, most: int) -> memoryview | None:
        return self._folder.get(path, most=most)


def test_what_a_day_was_laid_out_of_is_fetched_within_the_same_bounds(
    site: PackedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [alone(site, box) for box in site.boxes]
    site.reopen()
    reader = site.store.segments
    assert isinstance(reader, PackedReader)
    shelf = reader._shelf
    shelf.objects = Bucket(shelf.objects)
    for box in site.boxes:
        list(reader.told(site.scope(box), through=reader.newest()))
    day = reader._days._last[()]
    bound = shelf._fetched
    monkeypatch.setattr("aggregator.store.packed.objects._FETCHED_BYTES", bound)
    found = [read(reader, site.scope(box)) for box in site.boxes]
    kept = [file for one in day.objects for file in one._files.values()]
    sizes = [len(file._data) for file in kept if isinstance(file, FetchedFile)]
    assert sum(sizes) <= max(bound, shelf._fetched)
    assert found == said
