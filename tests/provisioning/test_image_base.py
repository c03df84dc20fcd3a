"""Stock images are unpacked whole, or refused with what to do: packed, damaged, exchanged."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stock_image import packed

from provisioning.fleet.image.base import BLOCK, Checksum, Unpacked, data_runs, unpack
from provisioning.fleet.image.errors import BaseImageUnusable, ChecksumMismatch


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a long hole, data, a short hole at the end."""
    path = tmp_path_factory.mktemp("base") / "stock.img"
    noise = secrets.token_bytes(5 << 19)
    path.write_bytes(noise + bytes(9 << 20) + noise[: 3 * BLOCK] + bytes(5 * BLOCK))
    return path


def unpacked(base: Path, target: Path, checksum: Checksum | None) -> Unpacked:
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        return unpack(base, descriptor, checksum)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> Checksum:
    return Checksum("sha256", hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", ".xz", ".zst", ".gz"])
def test_an_image_is_unpacked_byte_for_byte_with_its_holes(
    raw: Path, tmp_path: Path, ending: str
) -> None:
    base = packed(raw, ending) if ending else raw
    done = unpacked(base, tmp_path / "out", sha256(base))
    assert (tmp_path / "out").read_bytes() == raw.read_bytes()
    assert done == Unpacked(sha256(base).digest, raw.stat().st_size)
    assert (tmp_path / "out").stat().st_blocks * 512 < 4 << 20


@pytest.mark.parametrize("ending", ["", ".xz", ".zst", ".gz"])
def test_another_file_than_the_checksum_says_is_refused(
    raw: Path, tmp_path: Path, ending: str
) -> None:
    base = packed(raw, ending) if ending else raw
    for checksum in (Checksum("sha256", "0" * 64), Checksum("sha512", "0" * 128)):
        with pytest.raises(ChecksumMismatch, match="download it again"):
            unpacked(base, tmp_path / "out", checksum)


def test_sha512_is_checked_too(raw: Path, tmp_path: Path) -> None:
    digest = hashlib.sha512(raw.read_bytes()).hexdigest()
    assert unpacked(raw, tmp_path / "out", Checksum.parse(digest)).sha256 == sha256(raw).digest


@pytest.mark.parametrize("ending", [".xz", ".zst", ".gz"])
def test_a_cut_short_image_is_refused_whatever_its_checksum(
    raw: Path, tmp_path: Path, ending: str
) -> None:
    base = packed(raw, ending)
    cut = tmp_path / f"cut{ending}"
    cut.write_bytes(base.read_bytes()[:-200_000])
    with pytest.raises(BaseImageUnusable, match="damaged or cut short"):
        unpacked(cut, tmp_path / "out", sha256(cut))
    with pytest.raises(ChecksumMismatch):
        unpacked(cut, tmp_path / "out", sha256(base))


@pytest.mark.parametrize(
    ("ending", "place"), [(".xz", 200_000), (".xz", 14), (".zst", 200_000), (".gz", 200_000)]
)
def test_a_damaged_image_is_refused(raw: Path, tmp_path: Path, ending: str, place: int) -> None:
    data = bytearray(packed(raw, ending).read_bytes())
    data[place] ^= 0xFF
    bad = tmp_path / f"bad{ending}"
    bad.write_bytes(data)
    for checksum in (None, sha256(bad)):
        with pytest.raises(BaseImageUnusable, match="damaged or cut short"):
            unpacked(bad, tmp_path / "out", checksum)


@pytest.mark.parametrize(
    ("start", "word"),
    [(b"QFI\xfb", "QCOW2"), (b"PK\x03\x04", "ZIP"), (b"BZh9", "bzip2"), (b"?", "no disk image")],
)
def test_other_kinds_of_files_are_told_by_name(tmp_path: Path, start: bytes, word: str) -> None:
    base = tmp_path / "stock"
    base.write_bytes(start + bytes(1000))
    with pytest.raises(BaseImageUnusable, match=word):
        unpacked(base, tmp_path / "out", None)


def test_checksums_are_found_in_lists_of_either_form(tmp_path: Path) -> None:
    wanted = Checksum("sha256", "ab" * 32)
    sums = tmp_path / "SHA256SUMS"
    for line in (
        f"{'AB' * 32} *stock.img.xz",
        f"{'ab' * 32}  ./images/stock.img.xz",
        f"SHA256 (stock.img.xz) = {'ab' * 32}",
    ):
        sums.write_text(f"{'cd' * 32}  other.img.xz\n{line}\n")
        assert Checksum.from_list(sums, "stock.img.xz") == wanted
        assert Checksum.beside(tmp_path / "stock.img.xz") == wanted
    sums.write_text(f"{'ab' * 32}\n")
    assert Checksum.from_list(sums, "stock.img.xz") == wanted
    sums.write_text(f"{'ab' * 32}  other.img.xz\n")
    with pytest.raises(ChecksumMismatch, match="no checksum for stock"):
        Checksum.from_list(sums, "stock.img.xz")
    assert Checksum.beside(tmp_path / "stock.img.xz") is None


@pytest.mark.parametrize("text", ["", "abc", "zz" * 32, "ab" * 33])
def test_what_is_no_checksum_is_refused(text: str) -> None:
    with pytest.raises(ChecksumMismatch, match="64 hexadecimal"):
        Checksum.parse(text)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3)), max_size=6), st.integers(0, BLOCK - 1))
def test_runs_cover_all_data_and_only_whole_blocks(
    pieces: list[tuple[bool, int]], extra: int
) -> None:
    data = b"".join(b"\x01" * BLOCK * n if used else bytes(BLOCK * n) for used, n in pieces)
    data += b"\x02" * extra
    rebuilt = bytearray(len(data))
    for start, stop in data_runs(data):
        assert start % BLOCK == 0
        rebuilt[start:stop] = data[start:stop]
    assert rebuilt == data
    covered = sum(stop - start for start, stop in data_runs(data))
    assert covered == sum(BLOCK * n for used, n in pieces if used) + extra
