"""A card is whole and verified, or it does not boot: on files, and on loop devices as root."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stock_image import mbr

from provisioning.fleet.flash.errors import FlashError, ImageUnfit, VerificationFailed, WriteFailed
from provisioning.fleet.flash.medium import Medium, opened
from provisioning.fleet.flash.write import HEAD_BYTES, Flashing, flash, holds_already, opened_image
from provisioning.fleet.image.blockmap import map_image
from provisioning.fleet.image.errors import BlockMapInvalid
from provisioning.fleet.image.progress import Advance, Bars

pytestmark = pytest.mark.processes

MIB = 1 << 20
QUIET = Bars(None)


def make_image(path: Path, *, with_map: bool = True) -> Path:
    """An image of 24 MiB and a bit: table, data over the head's edge, a hole, data to the end."""
    data = bytearray(24 * MIB + 1536)
    data[:512] = mbr([(0x0C, 2048, 20000), (0x83, 24000, 20000)])
    data[MIB // 2 : 3 * MIB] = secrets.token_bytes(MIB * 5 // 2)
    data[12 * MIB : 13 * MIB] = secrets.token_bytes(MIB)
    data[-1536:] = secrets.token_bytes(1536)
    path.write_bytes(data)
    if with_map:
        found, digest = map_image(path)
        Path(f"{path}.bmap").write_bytes(found.to_xml())
        Path(f"{path}.sha256").write_text(f"{digest}  {path.name}\n")
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image with its block map."""
    return make_image(tmp_path / "box.img")


def write(image: Path, card: Path, state: Flashing | None = None, bars: Bars = QUIET) -> Flashing:
    state = state or Flashing()
    with (
        opened_image(image) as source,
        opened(card, file_bytes=max(source.size, card.stat().st_size)) as medium,
    ):
        flash(source, medium, state, bars)
    return state


def used_card(path: Path, size: int = 32 * MIB) -> Path:
    """A card full of somebody's old files."""
    path.write_bytes(secrets.token_bytes(size))
    return path


def test_a_used_card_equals_the_image_byte_for_byte(image: Path, tmp_path: Path) -> None:
    card = used_card(tmp_path / "card")
    state = write(image, card)
    assert state.complete
    assert card.read_bytes()[: image.stat().st_size] == image.read_bytes()


def test_a_second_partition_table_of_before_is_wiped(image: Path, tmp_path: Path) -> None:
    card = used_card(tmp_path / "card")
    write(image, card)
    assert card.read_bytes()[-33 * 512 :] == bytes(33 * 512)


def test_holes_are_not_written_where_the_card_is_blank(image: Path, tmp_path: Path) -> None:
    card = tmp_path / "card"
    card.touch()
    os.truncate(card, 32 * MIB)
    state = write(image, card)
    assert card.read_bytes()[: image.stat().st_size] == image.read_bytes()
    assert state.written_bytes < 5 * MIB
    assert card.stat().st_blocks * 512 < 6 * MIB


def test_a_card_that_holds_the_image_is_recognised(image: Path, tmp_path: Path) -> None:
    card = used_card(tmp_path / "card")
    write(image, card)
    for place in (None, 100, 8 * MIB, image.stat().st_size - 1):
        if place is not None:
            data = bytearray(image.read_bytes())
            data[place] ^= 1
            card.write_bytes(data)
        with (
            opened_image(image) as source,
            opened(card, file_bytes=card.stat().st_size) as medium,
        ):
            assert holds_already(source, medium, QUIET) is (place is None)


class Interrupting(Bars):
    """Somebody presses Ctrl-C once a stage has come so far."""

    def __init__(self, stage: str, after: int) -> None:
        super().__init__(None)
        self._stage, self._left = stage, after

    def stage(self, what: str, total: int) -> Advance:
        def advance(count: int) -> None:
            if what == self._stage:
                self._left -= count
                if self._left <= 0:
                    raise KeyboardInterrupt

        return advance


@settings(
    max_examples=examples(15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(stage=st.sampled_from(["writing", "reading back"]), after=st.integers(1, 24 * MIB))
def test_an_interrupted_card_has_no_partition_table(
    image: Path, tmp_path: Path, stage: str, after: int
) -> None:
    card = tmp_path / "card"
    shutil.copy(image, card)  # what was there before did boot
    state = Flashing()
    try:
        write(image, card, state, Interrupting(stage, after))
    except KeyboardInterrupt:
        assert state.touched
        assert not state.complete
        assert card.read_bytes()[:HEAD_BYTES] == bytes(HEAD_BYTES)
    else:
        assert state.complete
    write(image, card)
    assert card.read_bytes() == image.read_bytes()


class Failing(Medium):
    """A worn card: one place forgets what was written to it."""

    bad = 12 * MIB + 777

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(super().read(offset, length))
        if offset <= self.bad < offset + length:
            data[self.bad - offset] ^= 0xFF
        return bytes(data)


def medium_over(kind: type[Medium], path: Path, flags: int = os.O_RDWR) -> Medium:
    return kind(path, os.open(path, flags), None, path.stat().st_size)


@pytest.mark.parametrize("bad", [12 * MIB + 777, 100, 2 * MIB, 8 * MIB])
def test_a_card_that_forgets_is_found_out_and_does_not_boot(
    image: Path, tmp_path: Path, bad: int
) -> None:
    card = used_card(tmp_path / "card")
    medium = medium_over(Failing, card)
    assert isinstance(medium, Failing)
    medium.bad = bad
    state = Flashing()
    with opened_image(image) as source, pytest.raises(VerificationFailed, match="another one"):
        flash(source, medium, state, QUIET)
    medium.close()
    assert not state.complete
    assert card.read_bytes()[:HEAD_BYTES] == bytes(HEAD_BYTES)


def test_a_card_that_takes_no_writes_is_told(image: Path, tmp_path: Path) -> None:
    card = used_card(tmp_path / "card")
    medium = medium_over(Medium, card, os.O_RDONLY)
    with opened_image(image) as source, pytest.raises(WriteFailed, match="incomplete"):
        flash(source, medium, Flashing(), QUIET)
    medium.close()


def test_an_image_that_was_damaged_since_is_not_left_bootable(image: Path, tmp_path: Path) -> None:
    with image.open("r+b") as stream:
        stream.seek(12 * MIB + 5)
        stream.write(b"damage")
    card = tmp_path / "card"
    shutil.copy(image, card)
    with pytest.raises(ImageUnfit, match="build it again"):
        write(image, card)
    assert card.read_bytes()[:HEAD_BYTES] == bytes(HEAD_BYTES)


def test_without_a_map_the_checksum_beside_the_image_is_checked(
    image: Path, tmp_path: Path
) -> None:
    Path(f"{image}.bmap").unlink()
    card = used_card(tmp_path / "card")
    assert write(image, card).complete
    with image.open("r+b") as stream:
        stream.seek(8 * MIB)
        stream.write(b"damage")
    with pytest.raises(ImageUnfit, match="changed or damaged"):
        write(image, card)
    assert card.read_bytes()[: MIB // 2] != bytes(MIB // 2), "nothing was touched"


def test_maps_of_another_image_are_refused(image: Path, tmp_path: Path) -> None:
    with image.open("ab") as stream:
        stream.write(bytes(512))
    with pytest.raises(ImageUnfit, match="build the image again"), opened_image(image):
        pass
    Path(f"{image}.bmap").write_text("<bmap/>")
    with pytest.raises(BlockMapInvalid, match="delete it"), opened_image(image):
        pass


@pytest.mark.parametrize("content", [b"", b"\xfd7zXZ\x00" + bytes(5000), bytes(MIB)])
def test_what_is_no_card_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thing"
    path.write_bytes(content)
    with pytest.raises(ImageUnfit, match="not the raw image of a card"), opened_image(path):
        pass


def test_a_device_is_not_taken_for_a_file_nor_a_file_for_a_device(tmp_path: Path) -> None:
    path = tmp_path / "card"
    path.touch()
    with pytest.raises(FlashError, match="not a device"), opened(path):
        pass
    with pytest.raises(FlashError, match="it is gone"), opened(tmp_path / "none"):
        pass


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Makes loop devices over used cards, where that is allowed."""
    made: list[str] = []

    def attach() -> Path:
        card = used_card(tmp_path / f"loop-{len(made)}")
        tool = shutil.which("losetup") or "/usr/sbin/losetup"
        try:
            done = subprocess.run(
                [tool, "--find", "--show", str(card)], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("loop devices are not allowed here")
        made.append(done.stdout.strip())
        return Path(made[-1])

    yield attach
    for device in made:
        subprocess.run(["losetup", "--detach", device], check=False)


def test_a_block_device_is_written_and_verified(image: Path, loop: Callable[[], Path]) -> None:
    device = loop()
    state = Flashing()
    with opened_image(image) as source, opened(device) as medium:
        assert medium.size == 32 * MIB
        assert medium.number == f"7:{device.name.removeprefix('loop')}"
        flash(source, medium, state, QUIET)
        assert holds_already(source, medium, QUIET)
    assert state.complete
    with device.open("rb") as stream:
        assert stream.read(image.stat().st_size) == image.read_bytes()


def test_a_mounted_block_device_cannot_be_opened(
    image: Path, loop: Callable[[], Path], tmp_path: Path
) -> None:
    device = loop()
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("needs mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", "-F", str(device)], check=True, capture_output=True)
    place = tmp_path / "mounted"
    place.mkdir()
    if subprocess.run(["mount", str(device), str(place)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(FlashError, match="something uses it"), opened(device):
            pass
    finally:
        subprocess.run(["umount", str(place)], check=True)
