"""Which devices may be overwritten, on machines made up from sysfs and procfs files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.fleet.flash.choice import find_device, refusal, require_same, require_usable
from provisioning.fleet.flash.devices import Machine
from provisioning.fleet.flash.errors import DeviceChanged, DeviceRefused

GB = 10**9
USB = "devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0"


class MadeUp:
    """A machine whose disks are files in a folder."""

    def __init__(self, root: Path) -> None:
        self.sys, self.proc, self.dev = root / "sys", root / "proc", root / "dev"
        (self.sys / "block").mkdir(parents=True)
        (self.proc / "self").mkdir(parents=True)
        self.dev.mkdir()
        self.mounts: list[str] = []
        self.write_mounts()
        (self.proc / "swaps").write_text("Filename\tType\tSize\tUsed\tPriority\n")
        self.machine = Machine(sys=self.sys, proc=self.proc, dev=self.dev)

    def disk(
        self,
        name: str,
        place: str = USB,
        *,
        size: int = 32 * GB,
        parts: int = 1,
        removable: bool = True,
        **attributes: str,
    ) -> Path:
        real = self.sys / place / "block" / name
        number = len(list((self.sys / "block").iterdir())) + 8
        for folder in (real, real / "holders", real / "queue", self.sys / place):
            folder.mkdir(parents=True, exist_ok=True)
        (real / "device").symlink_to(self.sys / place)
        values = {
            "dev": f"{number}:0",
            "size": str(size // 512),
            "removable": str(int(removable)),
            "ro": "0",
            "diskseq": str(number),
        }
        for key, value in {**values, **attributes}.items():
            path = real / key.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")
        for index in range(1, parts + 1):
            joint = "p" if name[-1].isdigit() else ""
            part = real / f"{name}{joint}{index}"
            (part / "holders").mkdir(parents=True)
            (part / "partition").write_text(f"{index}\n")
            (part / "dev").write_text(f"{number}:{index}\n")
        (self.sys / "block" / name).symlink_to(real)
        (self.dev / name).touch()
        return real

    def mapped(self, name: str, number: str, *, on: Path) -> None:
        """A block device built on a partition or on another such device."""
        real = self.sys / "devices/virtual/block" / name
        (real / "holders").mkdir(parents=True)
        (real / "dev").write_text(number)
        (self.sys / "block" / name).symlink_to(real)
        (on / "holders" / name).symlink_to(real)

    def mount(self, number: str, place: str, source: str = "none", kind: str = "ext4") -> None:
        self.mounts.append(f"30 1 {number} / {place} rw,relatime shared:1 - {kind} {source} rw")
        self.write_mounts()

    def write_mounts(self) -> None:
        lines = ["22 27 0:21 / /proc rw - proc proc rw", *self.mounts]
        (self.proc / "self" / "mountinfo").write_text("\n".join(lines) + "\n")

    def why(self, name: str, size: int = 4 * GB, *, usb_disks: bool = False) -> str:
        device = self.machine.device(name)
        assert device is not None
        return refusal(device, size, usb_disks=usb_disks)


@pytest.fixture
def made(tmp_path: Path) -> MadeUp:
    """A laptop that runs from an NVMe disk."""
    made = MadeUp(tmp_path)
    made.disk(
        "nvme0n1", "devices/pci0000:00/0000:01:00.0/nvme/nvme0", size=512 * GB, removable=False
    )
    made.mount("8:1", "/", "/dev/nvme0n1p1")
    return made


def test_a_card_in_a_usb_reader_may_be_written(made: MadeUp) -> None:
    made.disk("sdb", device__vendor="Generic", device__model="STORAGE DEVICE", device__serial="77")
    device = made.machine.device("sdb")
    assert device is not None
    assert (device.model, device.transport, device.size) == (
        "Generic STORAGE DEVICE",
        "usb",
        32 * GB,
    )
    assert (device.removable, device.serial, device.mounted) == (True, "77", ())
    assert made.why("sdb") == ""


def test_a_card_in_a_built_in_reader_is_removable_whatever_it_says(made: MadeUp) -> None:
    made.disk(
        "mmcblk0", "devices/soc/mmc_host/mmc1/mmc1:aaaa", removable=False, device__type="SD",
        device__name="SC32G",
    )  # fmt: skip
    device = made.machine.device("mmcblk0")
    assert device is not None
    assert (device.transport, device.model) == ("mmc", "SD card SC32G")
    assert made.why("mmcblk0") == ""


def test_soldered_memory_is_no_card(made: MadeUp) -> None:
    made.disk("mmcblk1", "devices/soc/mmc_host/mmc0/mmc0:0001", removable=False, device__type="MMC")
    made.disk("mmcblk1boot0", "devices/soc/mmc_host/mmc0/mmc0:0001", parts=0)
    assert "not removable" in made.why("mmcblk1")
    assert made.machine.device("mmcblk1boot0") is None


def test_the_system_disk_is_refused_even_if_it_is_a_card(made: MadeUp) -> None:
    assert "runs from it" in made.why("nvme0n1")
    made.disk(
        "mmcblk0", "devices/soc/mmc_host/mmc1/mmc1:aaaa", removable=False, device__type="SD",
        parts=2, dev="179:0",
    )  # fmt: skip
    made.mount("179:1", "/boot/firmware", "/dev/mmcblk0p1", "vfat")
    (made.sys / "block/mmcblk0/mmcblk0p1/dev").write_text("179:1\n")
    assert "runs from it" in made.why("mmcblk0")


def test_a_root_behind_encryption_and_volumes_is_found(made: MadeUp) -> None:
    disk = made.disk("sda", "devices/pci0000:00/ata1/host0/target0:0:0/0:0:0:0")
    made.mapped("dm-0", "253:0", on=disk / "sda1")
    made.mapped("dm-1", "253:1", on=made.sys / "devices/virtual/block/dm-0")
    assert "dm-0, dm-1 is built on it" in made.why("sda")
    made.mount("253:1", "/", "/dev/mapper/vg-root")
    assert "runs from it" in made.why("sda")


def test_a_root_on_btrfs_is_found_by_its_source(made: MadeUp) -> None:
    made.disk("sdb")
    made.mount("0:35", "/", "/dev/sdb1", "btrfs")
    assert "runs from it" in made.why("sdb")


def test_a_disk_that_is_swapped_to_is_refused(made: MadeUp) -> None:
    made.disk("sdb")
    (made.proc / "swaps").write_text(
        "Filename Type Size Used Priority\n/dev/sdb1 partition 9 0 -2\n"
    )
    assert "swap" in made.why("sdb")


def test_a_mounted_card_is_refused_with_the_command_that_unmounts_it(made: MadeUp) -> None:
    made.disk("sdb", parts=2)
    number = (made.sys / "block/sdb/sdb2/dev").read_text().strip()
    made.mount(number, "/media/ana/MY\\040CARD", "/dev/sdb2")
    assert "umount '/media/ana/MY CARD'" in made.why("sdb")


def test_a_mount_that_the_reader_named_by_a_link_is_found(made: MadeUp) -> None:
    made.disk("sdb")
    links = made.dev / "disk/by-label"
    links.mkdir(parents=True)
    (made.dev / "sdb1").touch()
    (links / "CARD").symlink_to(made.dev / "sdb1")
    made.mount("0:77", "/media/card", "/dev/disk/by-label/CARD", "fuseblk")
    assert "mounted at /media/card" in made.why("sdb")


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"size": 0}, "no card in it"),
        ({"size": 2 * GB}, "too small (2 GB for an image of 4 GB)"),
        ({"ro": "1"}, "write-protected"),
        ({"removable": False}, "--usb-disks"),
    ],
)
def test_what_cannot_take_the_image_is_refused(
    made: MadeUp, changed: dict[str, object], word: str
) -> None:
    made.disk("sdb", **changed)  # type: ignore[arg-type]
    assert word in made.why("sdb")


def test_a_usb_disk_is_taken_only_when_that_is_wanted(made: MadeUp) -> None:
    made.disk("sdb", removable=False)
    made.disk("sdc", "devices/pci0000:00/ata2/host1/target1:0:0/1:0:0:0", removable=False)
    assert made.why("sdb", usb_disks=True) == ""
    assert "not removable" in made.why("sdc", usb_disks=True)


def test_a_disk_is_found_by_any_of_its_names_and_a_partition_is_not(made: MadeUp) -> None:
    made.disk("sdb")
    link = made.dev / "by-id"
    link.symlink_to(made.dev / "sdb")
    assert find_device(made.machine, link).name == "sdb"
    assert find_device(made.machine, Path("/dev/sdb")).name == "sdb"
    with pytest.raises(DeviceRefused, match="whole device"):
        find_device(made.machine, Path("/dev/sdb1"))
    with pytest.raises(DeviceRefused, match="no disk"):
        find_device(made.machine, Path("/dev/sdz"))


def test_another_card_in_the_same_reader_is_noticed(made: MadeUp) -> None:
    real = made.disk("sdb", device__serial="77")
    chosen = find_device(made.machine, Path("/dev/sdb"))
    require_same(made.machine, chosen)
    (real / "diskseq").write_text("99\n")
    with pytest.raises(DeviceChanged, match="no longer the device"):
        require_same(made.machine, chosen)
    (made.sys / "block/sdb").unlink()
    with pytest.raises(DeviceChanged, match="it is gone"):
        require_same(made.machine, chosen)


def test_ram_disks_and_such_are_never_offered(made: MadeUp) -> None:
    for name in ("zram0", "ram1", "loop3", "sr0", "md0", "nbd1"):
        made.disk(name, f"devices/virtual/{name}", parts=0)
    assert [device.name for device in made.machine.devices()] == ["nvme0n1"]
    loop = made.disk("loop4", "devices/virtual/loop4", parts=0, removable=False)
    (loop / "loop").mkdir()
    (loop / "loop" / "backing_file").write_text("/srv/card.img\n")
    offered = {device.name: device for device in made.machine.devices(loops=True)}
    assert offered["loop4"].transport == "loop"
    assert "loop3" not in offered
    require_usable(offered["loop4"], GB)


def test_a_machine_without_disks_has_none(tmp_path: Path) -> None:
    assert Machine(sys=tmp_path, proc=tmp_path, dev=tmp_path).devices() == []


@given(st.text(max_size=200))
def test_any_mountinfo_is_read(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as root:
        made = MadeUp(Path(root))
        made.disk("sdb")
        (made.proc / "self" / "mountinfo").write_text(text, errors="replace")
        (made.proc / "swaps").write_text(text, errors="replace")
        assert [device.name for device in made.machine.devices()] == ["sdb"]
