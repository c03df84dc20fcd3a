"""A card has room for its software, and holds no claim and no password once its box is in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from stock_image import (
    EFI_FILES,
    MIB,
    StockImage,
    make_claim,
    make_stock_image,
    read_fat_file,
    unpack_fat_folder,
)

from provisioning.fleet.image.build import BuildRequest, build_image, show_image
from provisioning.fleet.image.claim import read_claim
from provisioning.fleet.image.errors import BootPartitionFull, RootVolumeUnusable
from provisioning.fleet.image.firstboot_files import CARD_SCRIPT_PATH, system_files
from provisioning.fleet.image.progress import Bars
from provisioning.fleet.image.rootvolume import CARD_FOLDER, find_root
from provisioning.fleet.image.settings import CardFile, SystemSettings
from provisioning.formats.claimfile import load_claim
from provisioning.formats.plan_boxes import CameraPlan

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        shutil.which("mcopy") is None
        or shutil.which("debugfs", path=f"{os.defpath}:/sbin:/usr/sbin") is None,
        reason="needs mtools and e2fsprogs",
    ),
]
PASSWORD = "correct-horse-7"
CAMERA = CameraPlan(name="door", source=f"rtsp://u:{PASSWORD}@10.0.0.7/s1")
FSTAB = """\
# /etc/fstab
UUID=5e3d / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1
UUID=FDA2 BOOT vfat defaults 0 0
"""


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> StockImage:
    path = tmp_path_factory.mktemp("stock") / "debian.raw"
    return make_stock_image(
        path, files=EFI_FILES, table="gpt", fat32=False, boot_mib=8, root_mib=96, label="EFI"
    )


def built(
    stock: StockImage, folder: Path, sizes: Sequence[int], *, name: str = "box-7.img"
) -> Path:
    """Build an image with wheels of these sizes in bytes."""
    folder.mkdir(exist_ok=True)
    wheels = []
    for number, size in enumerate(sizes):
        path = folder / f"part{number}-1-py3-none-any.whl"
        if not path.exists():
            path.write_bytes(os.urandom(size))
        wheels.append(CardFile(path, hashlib.sha256(path.read_bytes()).hexdigest()))
    claim = folder / "box-7.claim"
    if not claim.exists():
        make_claim(folder)
    settings = SystemSettings(hostname="box-7", cameras=(CAMERA,), wheels=tuple(wheels))
    out = folder / name
    build_image(BuildRequest(stock.path, None, read_claim(claim), settings, out), Bars(None))
    return out


def test_software_that_the_boot_partition_has_no_room_for_goes_onto_the_root_file_system(
    debian: StockImage, tmp_path: Path
) -> None:
    sizes = [6 * MIB, 5 * MIB, 1000]
    image = built(debian, tmp_path, sizes)
    about, doubts = show_image(image)
    assert (about.place, doubts, len(about.wheels)) == ("root", [], 3)
    root = tmp_path / "root.ext4"
    with image.open("rb") as stream:
        stream.seek(debian.root_offset)
        root.write_bytes(stream.read(debian.root_bytes))
    tools = f"{os.environ['PATH']}:/sbin:/usr/sbin"
    checked = subprocess.run(
        ["e2fsck", "-fn", str(root)], env={"PATH": tools}, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    out = tmp_path / "unpacked"
    out.mkdir()
    subprocess.run(
        ["debugfs", "-R", f"rdump {CARD_FOLDER} {out}", str(root)],
        env={"PATH": tools}, capture_output=True, check=True,
    )  # fmt: skip
    summed = subprocess.run(
        ["sha256sum", "--strict", "--check", "../wheels.sha256"],
        cwd=out / "card" / "wheels", capture_output=True, check=False,
    )  # fmt: skip
    assert summed.returncode == 0, summed.stderr
    assert {path.stat().st_mode & 0o777 for path in (out / "card/wheels").iterdir()} == {0o644}
    again = built(debian, tmp_path, sizes, name="again.img")
    assert again.read_bytes() == image.read_bytes()


def test_a_wheel_that_was_changed_on_the_root_file_system_is_found(
    debian: StockImage, tmp_path: Path
) -> None:
    image = built(debian, tmp_path, [9 * MIB])
    root = find_root(image)
    assert root is not None
    wheel = (tmp_path / "part0-1-py3-none-any.whl").read_bytes()
    data = image.read_bytes()
    assert wheel[:4096] in data
    image.write_bytes(data.replace(wheel[:4096], bytes(4096)))
    assert show_image(image)[1] == ["wheels/part0-1-py3-none-any.whl is damaged"]


@pytest.mark.timeout(60)
def test_a_file_that_claims_to_be_larger_than_its_file_system_is_not_read_to_its_end(
    debian: StockImage, tmp_path: Path
) -> None:
    image = built(debian, tmp_path, [9 * MIB])
    name = "part0-1-py3-none-any.whl"
    subprocess.run(
        [
            "debugfs", "-w", "-R", f"sif {CARD_FOLDER}/wheels/{name} size {1 << 42}",
            f"{image}?offset={debian.root_offset}",
        ],
        env={"PATH": f"{os.environ['PATH']}:/sbin:/usr/sbin"}, capture_output=True, check=True,
    )  # fmt: skip
    assert show_image(image)[1] == [f"wheels/{name} is damaged"]


def test_what_fits_nowhere_is_told_in_numbers(debian: StockImage, tmp_path: Path) -> None:
    with pytest.raises(BootPartitionFull) as told:
        built(debian, tmp_path, [40 * MIB])
    assert "boot partition has 8.3 MB free, the root file system" in str(told.value)
    assert "software and models need 41.9 MB" in str(told.value)
    assert not (tmp_path / "box-7.img").exists()


def test_a_root_file_system_that_was_not_unmounted_is_left_alone(
    debian: StockImage, tmp_path: Path
) -> None:
    data = bytearray(debian.path.read_bytes())
    data[debian.root_offset + 1024 + 58] = 0  # s_state: not clean
    data[debian.root_offset + 1024 + 1020 : debian.root_offset + 1024 + 1024] = bytes(4)
    dirty = tmp_path / "dirty.raw"
    dirty.write_bytes(data)
    stock = StockImage(dirty, debian.boot_offset, debian.boot_bytes, debian.root_offset, 0)
    with pytest.raises(RootVolumeUnusable, match="the root file system"):
        built(stock, tmp_path / "work", [9 * MIB])


class Box:
    """A box's disk: its boot partition as the kernel shows it, /etc and /var in folders.

    A file is one inode however often it is opened: a second name keeps what the kernel would have
    in that file's clusters, also after the first name is gone. `settle` puts it there.
    """

    def __init__(self, image: Path, folder: Path) -> None:
        self.image, self.boot = image, folder / "boot"
        self.etc, self.var, self.kept = folder / "etc", folder / "var", folder / "kept"
        for made in (self.boot, self.etc / "cloud", self.var, self.kept):
            made.mkdir(parents=True)
        unpack_fat_folder(image, MIB, "sealtrace", self.boot)
        data = image.read_bytes()
        self.places = {}
        for name in ("claim.toml", "cameras.json"):
            content = (self.boot / "sealtrace" / name).read_bytes()
            self.places[name] = data.index(content)
            os.link(self.boot / "sealtrace" / name, self.kept / name)
        self.fstab = self.etc / "fstab"
        self.fstab.write_text(FSTAB.replace("BOOT", str(self.boot)))
        self.mounts = folder / "mounts"
        self.mounts.write_text(f"/dev/sda15 {self.boot} vfat rw,relatime 0 0\n")
        self.calls = folder / "calls"
        self.mount = folder / "mount"
        self.mount.write_text(
            f'#!/bin/sh\necho "$@" >>{self.calls}\ncase "$2" in remount,*) way=${{2#remount,}};; '
            f"*) way=ro;; esac\necho /dev/sda15 {self.boot} vfat $way,relatime 0 0 >{self.mounts}\n"
        )
        self.mount.chmod(0o755)
        claim = read_claim(image.parent / "box-7.claim")
        files = {file.path: file for file in system_files(claim, SystemSettings(hostname="box-7"))}
        self.script = folder / "sealtrace-card"
        self.script.write_text(files[CARD_SCRIPT_PATH].text)

    def run(self, *words: str, tools: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(self.script), *words],
            env={
                "PATH": f"{tools}:{os.environ['PATH']}",
                "SEALTRACE_SYSTEM_ETC": str(self.etc),
                "SEALTRACE_VAR": str(self.var),
                "SEALTRACE_BOOT": str(self.boot),
                "SEALTRACE_MOUNT": str(self.mount),
                "SEALTRACE_UMOUNT": "false",
                "SEALTRACE_MOUNTS": str(self.mounts),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def settle(self) -> bytes:
        """Write to the disk what was written to its files; return the whole disk."""
        data = bytearray(self.image.read_bytes())
        for name, place in self.places.items():
            content = (self.kept / name).read_bytes()
            data[place : place + len(content)] = content
        return bytes(data) + b"".join(
            path.read_bytes()
            for folder in (self.boot, self.etc, self.var)
            for path in folder.rglob("*")
            if path.is_file()
        )


@pytest.fixture
def box(debian: StockImage, tmp_path: Path) -> Box:
    return Box(built(debian, tmp_path, [1000]), tmp_path / "box")


def secrets(box: Box) -> list[bytes]:
    claim = load_claim(box.image.parent / "box-7.claim")
    return [claim.claim.encode(), claim.secret, PASSWORD.encode()]


def test_nothing_that_cloud_init_is_told_is_secret(box: Box) -> None:
    for name in ("user-data", "meta-data", "network-config"):
        told = read_fat_file(box.image, MIB, name)
        assert not [secret for secret in secrets(box) if secret in told]


def test_after_admission_no_byte_of_claim_and_passwords_is_on_the_disk(box: Box) -> None:
    claim, raw, password = secrets(box)
    before = box.settle()
    assert claim in before
    assert password in before
    assert box.run().returncode == 0
    assert box.settle().count(claim) == before.count(claim), "the box is not in yet"
    (box.var / "admitted").touch()
    (box.var / "card" / "wheels").mkdir(parents=True)
    done = box.run()
    assert done.returncode == 0, done.stderr
    after = box.settle()
    assert not [secret for secret in (claim, raw, password) if secret in after]
    assert not list(box.boot.rglob("*.toml"))
    assert not (box.var / "card").exists()
    assert (box.etc / "cloud" / "cloud-init.disabled").exists()
    assert " ro," in box.mounts.read_text()
    calls = box.calls.read_text()
    assert box.run().returncode == 0
    assert box.calls.read_text() == calls, "the second time nothing is opened"


@pytest.mark.parametrize("tool", ["dd", "rm", "sync"])
def test_a_cut_in_the_middle_is_made_good_at_the_next_start(
    box: Box, tmp_path: Path, tool: str
) -> None:
    (box.var / "admitted").touch()
    dying = tmp_path / "dying"
    dying.mkdir()
    (dying / tool).write_text("#!/bin/sh\nkill -9 $PPID\n")
    (dying / tool).chmod(0o755)
    assert box.run(tools=str(dying)).returncode != 0
    assert not (box.var / "wiped").exists()
    assert box.run().returncode == 0
    after = box.settle()
    assert not [secret for secret in secrets(box) if secret in after]


def test_the_boot_partition_is_read_only_and_roots_alone_but_for_the_moment_of_writing(
    box: Box,
) -> None:
    assert box.run("mount").returncode == 0
    lines = box.fstab.read_text().splitlines()
    assert lines[:2] == FSTAB.splitlines()[:2]
    assert lines[2] == f"UUID=FDA2 {box.boot} vfat ro,umask=0077 0 0"
    assert box.calls.read_text() == f"-o remount,ro {box.boot}\n"
    before = box.fstab.stat().st_ino
    assert box.run("mount").returncode == 0
    assert box.fstab.stat().st_ino == before
    assert box.run("open").returncode == 0
    assert " rw," in box.mounts.read_text()
    assert box.run("close").returncode == 0
    assert " ro," in box.mounts.read_text()
