"""An object that is not what was written is named in an error, and nothing of it is given."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_site import PackedSite
from sealed_boxes import DAY

from aggregator.store import SegmentRun
from aggregator.store.packed.checking import damage_of
from aggregator.store.packed.format import (
    INDEX,
    PARTS,
    PREFIX_BYTES,
    NotAnObject,
    read_index,
    write,
)
from aggregator.store.packed.place import ObjectsPlace
from aggregator.store.packs import PackName
from protocol.keytree import APPEARANCE, FACE
from runtime.database import StorageDamaged, StorageError, damaged_files, forget_damage

NAME = PackName(DAY, 0, 1)
ENDINGS = (*PARTS, INDEX)


@pytest.fixture
def site(tmp_path: Path) -> PackedSite:
    site = PackedSite(tmp_path)
    site.fill((4, 5))
    site.pack()
    return site


def file_of(site: PackedSite, ending: str) -> Path:
    return site.folder / "segments" / f"{NAME.path}.{ending}"


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda _: None,
    "empty": lambda _: b"",
    "cut off": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "one bit of the magic": lambda data: flip(data, 0),
    "of a version to come": lambda data: flip(data, 9),
    "another digest": lambda data: flip(data, 40),
    "one bit in the middle": lambda data: flip(data, len(data) // 2),
    "its last bit": lambda data: flip(data, len(data) - 1),
    "as if it was sound": lambda data: sound(flip(data, len(data) - 1)),
}


def sound(data: bytes) -> bytes:
    """Return a file with the digest of what is in it now."""
    content = data[PREFIX_BYTES:]
    return data[: PREFIX_BYTES - 32] + hashlib.sha256(content).digest() + content


def read_everything(site: PackedSite) -> None:
    """Read a camera's day in every way that there is."""
    box, reader = site.boxes[0], site.store.segments
    list(reader.scan(site.scope(box), modalities=(FACE, APPEARANCE)))
    for part in reader.runs(site.scope(box), modalities=(FACE, APPEARANCE)):
        assert isinstance(part, SegmentRun)
    list(reader.told(site.scope(box), through=1 << 40))
    for number in (1, 4):
        for read in (reader.header, reader.meta, reader.cover, reader.envelope):
            read(number)


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending != APPEARANCE])
def test_a_damaged_file_is_met_by_an_error_that_names_the_object(
    site: PackedSite, ending: str
) -> None:
    file = file_of(site, ending)
    name, whole = str(file), file.read_bytes()
    for damage in DAMAGE.values():
        site.reopen()
        spoilt = damage(whole)
        file.unlink()
        if spoilt is not None:
            file.write_bytes(spoilt)
        with pytest.raises(StorageDamaged, match=rf"/{NAME.path}.{ending} is damaged.*backup"):
            read_everything(site)
        assert name in damaged_files()
        file.write_bytes(whole)
        read_everything(site)
        assert name not in damaged_files(), "the file was put back"


def test_the_object_of_another_hour_in_its_place_is_met_by_an_error(site: PackedSite) -> None:
    site.fill((8, 9))
    site.pack()
    for ending in ENDINGS:
        other = site.folder / "segments" / f"{PackName(DAY, 0, 2).path}.{ending}"
        file_of(site, ending).write_bytes(other.read_bytes())
    with pytest.raises(StorageDamaged, match=NAME.path):
        read_everything(site)
    forget_damage(str(file_of(site, INDEX)))


def test_a_file_that_is_cut_off_while_it_is_read_ends_no_process(site: PackedSite) -> None:
    scope = site.scope(site.boxes[0])
    list(site.store.segments.scan(scope, modalities=(FACE,)))
    with file_of(site, FACE).open("r+b") as file:
        file.truncate(PREFIX_BYTES)
    with pytest.raises(StorageDamaged, match="cut off"):
        list(site.store.segments.scan(scope, modalities=(FACE,)))
    forget_damage(str(file_of(site, FACE)))


@pytest.mark.parametrize("ending", [INDEX, FACE])
@pytest.mark.timeout(20)
def test_a_pipe_or_folder_in_a_files_place_is_met_as_a_missing_file_and_not_waited_for(
    site: PackedSite, ending: str
) -> None:
    file = file_of(site, ending)
    whole = file.read_bytes()
    file.unlink()
    for make, remove in ((os.mkfifo, os.unlink), (os.mkdir, os.rmdir)):
        make(file)
        site.reopen()
        with pytest.raises(StorageDamaged, match=rf"/{NAME.path}.{ending} is damaged.*is missing"):
            read_everything(site)
        remove(file)
    file.write_bytes(whole)
    read_everything(site)


def test_a_file_that_cannot_be_read_is_named_by_whoever_only_checks_it(site: PackedSite) -> None:
    file = file_of(site, FACE)
    file.unlink()
    file.symlink_to(file)  # is there, and opens as little as on a disk that fails
    (pack,) = site.store.ledger.packs_on(DAY)
    with pytest.raises(StorageError, match=f"cannot read .*{NAME.path}"):
        site.store.segments.vouch(1)
    with pytest.raises(StorageError, match=f"cannot read .*{NAME.path}"):
        damage_of(ObjectsPlace(str(site.folder / "segments")).open(), pack)


def index_of(site: PackedSite) -> bytes:
    return file_of(site, INDEX).read_bytes()


@given(st.data())
@settings(max_examples=examples(300))
def test_an_index_of_any_bytes_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    spoilt = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(PREFIX_BYTES, len(spoilt) - 1))
        spoilt[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(spoilt), len(spoilt) - 3, PREFIX_BYTES + 2]))
    made = sound(bytes(spoilt[:end]))
    try:
        index = read_index(NAME, made, digest=hashlib.sha256(made).digest())
    except NotAnObject:
        return
    assert index.name == NAME
    assert all((starts >= PREFIX_BYTES).all() for starts in index.starts.values())


def _sound_index() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        site = PackedSite(Path(folder))
        site.fill((4, 5))
        (hour,) = site.hours()
        files = write(NAME, site.store.ledger.hot_segments(hour))
        site.store.close()
        return files[INDEX]


SOUND = _sound_index()
