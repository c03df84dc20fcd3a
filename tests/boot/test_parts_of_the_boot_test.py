"""What `make boot-test` judges a card by, on small disks and wheels: it sees what is there."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from release_desk import make_wheel
from stock_image import EFI_FILES, SECTOR, StockImage, make_stock_image

from runtime.errors import OperationError
from tests.boot import disk, stock
from tests.boot.mirror import other_version

SECRET = b"a claim that nobody may find 0123456789"
_SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@pytest.fixture
def card(tmp_path: Path) -> StockImage:
    """A small card as UEFI machines boot it, with an ext4 root."""
    if any(shutil.which(tool, path=_SBIN) is None for tool in ("mke2fs", "debugfs")):
        pytest.skip("e2fsprogs is not installed (Debian: apt install e2fsprogs)")
    return make_stock_image(tmp_path / "card", files=EFI_FILES, table="gpt", fat32=False)


def write_at(card: Path, at: int, data: bytes) -> None:
    """Write into the raw image."""
    with card.open("r+b") as stream:
        stream.seek(at)
        stream.write(data)


def debugfs(card: StockImage, *requests: str) -> None:
    """Change the root file system of the card, as the system on it would."""
    orders = card.path.with_name("orders")
    orders.write_text("\n".join(requests) + "\n")
    subprocess.run(
        ["debugfs", "-w", "-f", str(orders), f"{card.path}?offset={card.root_offset}"],
        check=True, capture_output=True, env={**os.environ, "PATH": _SBIN},
    )  # fmt: skip


@pytest.mark.processes
def test_a_text_is_found_wherever_it_lies_on_the_card(card: StockImage, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.write_bytes(b"x" * 5000 + SECRET)
    debugfs(card, "mkdir /etc", f"write {inside} /etc/kept", f"write {inside} /gone")
    debugfs(card, "rm /gone")
    write_at(card.path, card.boot_offset + card.boot_bytes - SECTOR, SECRET)
    write_at(card.path, 100 * SECTOR, SECRET)
    found = disk.search(card.path, {"claim": SECRET, "other": b"not there at all"})
    assert {place.what for place in found} == {"claim"}
    assert sorted(place.file for place in found) == [
        "/etc/kept",
        "outside the partitions",
        "partition 1, no file",
        "partition 2",
    ]


@pytest.mark.processes
def test_holes_hide_nothing_that_lies_beside_them(card: StockImage) -> None:
    size = card.path.stat().st_size
    with card.path.open("r+b") as stream:
        stream.truncate(size + (64 << 20))
    write_at(card.path, size + (40 << 20), SECRET)
    assert [place.at for place in disk.search(card.path, {"claim": SECRET})] == [size + (40 << 20)]


@pytest.mark.processes
def test_a_file_system_that_was_cut_off_is_told_from_a_clean_one(card: StockImage) -> None:
    assert disk.is_clean(card.path) == (True, True)
    write_at(card.path, card.boot_offset + 37, b"\x01")
    assert disk.is_clean(card.path) == (True, False)
    write_at(card.path, card.root_offset + 1024 + 58, b"\x00\x00")
    assert disk.is_clean(card.path) == (False, False)


def test_another_version_of_a_wheel_is_whole(tmp_path: Path) -> None:
    made = other_version(make_wheel(tmp_path, "0.1.0"), "0.1.1", tmp_path / "dist")
    assert made.name == "sealtrace-0.1.1-py3-none-any.whl"
    with zipfile.ZipFile(made) as archive:
        info = "sealtrace-0.1.1.dist-info"
        assert b"Version: 0.1.1\n" in archive.read(f"{info}/METADATA")
        rows = list(csv.reader(archive.read(f"{info}/RECORD").decode().splitlines()))
        assert sorted(row[0] for row in rows) == sorted(archive.namelist())
        for name, digest, _size in rows[:-1]:
            wanted = hashlib.sha256(archive.read(name)).digest()
            assert digest == "sha256=" + base64.urlsafe_b64encode(wanted).rstrip(b"=").decode()


def test_a_wheel_that_cannot_be_broken_as_meant_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "0.1.0")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("edge_agent/outbox.py", "pass\n")
    with pytest.raises(OperationError, match="where it was looked for"):
        other_version(wheel, "0.1.2", tmp_path / "dist", broken=True)


def test_each_release_of_debian_has_a_recipe_of_its_own() -> None:
    assert len({stock.recipe(suite) for suite in stock.PYTHONS}) == len(stock.PYTHONS)
