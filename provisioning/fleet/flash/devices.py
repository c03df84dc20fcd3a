"""Finds the disks of this machine and what each is used for, from sysfs and procfs alone.

The three roots are parameters, so that tests look at made-up machines. Sources: the kernel's
Documentation/ABI/stable/sysfs-block and Documentation/filesystems/proc.rst (mountinfo).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SECTOR = 512
_NO_DISKS = re.compile(r"(ram|zram|dm-|md|sr|fd|nbd|mtdblock|loop)\d|mmcblk\d+(boot\d|rpmb)")
_LOOP = re.compile(r"loop\d+")
_OCTAL = re.compile(r"\\([0-7]{3})")
_SYSTEM_PLACES = ("/", "/boot", "/usr", "/var", "/home", "/etc")
_TRANSPORTS = (
    (re.compile(r"usb\d+"), "usb"),
    (re.compile(r"mmc\d+|mmc_host"), "mmc"),
    (re.compile(r"nvme\d*"), "nvme"),
    (re.compile(r"ata\d+"), "sata"),
    (re.compile(r"virtio\d+"), "virtio"),
)


@dataclass(frozen=True, slots=True)
class Device:
    """A whole disk, and what uses it.

    Attributes:
        name: the kernel's, such as "sdb".
        number: major and minor number, as "8:16".
        size: in bytes; 0 when a reader holds no card.
        model: maker and model, as far as the device tells.
        serial: its serial number, if it tells.
        sequence: grows whenever a medium is put in or a device appears; None on old kernels.
        transport: "usb", "mmc", "sata", "nvme", "virtio", "loop" or "".
        removable: whether the medium or the card is made to be taken out.
        read_only: the write-protect switch is on, or the device never takes writes.
        mounted: where it, or what lies on it, is mounted.
        swap: whether the system swaps to it.
        holders: other block devices that are built on it (encryption, RAID, volumes).
        system: whether this machine runs from it.
    """

    name: str
    number: str
    size: int
    model: str
    serial: str
    sequence: int | None
    transport: str
    removable: bool
    read_only: bool
    mounted: tuple[str, ...]
    swap: bool
    holders: tuple[str, ...]
    system: bool

    @property
    def identity(self) -> tuple[object, ...]:
        """What must be the same for it to be the same card in the same reader."""
        return (self.name, self.number, self.size, self.model, self.serial, self.sequence)


@dataclass(frozen=True, slots=True)
class _Mount:
    number: str
    source: str
    place: str


class Machine:
    """The disks of a machine, as its kernel shows them."""

    def __init__(
        self, *, sys: Path = Path("/sys"), proc: Path = Path("/proc"), dev: Path = Path("/dev")
    ) -> None:
        """Look at these folders."""
        self._block = sys / "block"
        self._proc = proc
        self.dev = dev

    def devices(self, *, loops: bool = False) -> list[Device]:
        """Return the disks by name; loop devices that hold a file only if ``loops``."""
        mounts, swaps = self._mounts(), self._swaps()
        names = sorted(path.name for path in self._block.iterdir()) if self._block.is_dir() else []
        return [
            self._device(name, mounts, swaps)
            for name in names
            if not _NO_DISKS.match(name) or (loops and self._has_file(name))
        ]

    def device(self, name: str, *, loops: bool = False) -> Device | None:
        """Return the disk of that name, None when there is none."""
        return next((found for found in self.devices(loops=loops) if found.name == name), None)

    def _has_file(self, name: str) -> bool:
        return bool(_LOOP.fullmatch(name)) and (self._block / name / "loop").is_dir()

    def _device(self, name: str, mounts: list[_Mount], swaps: list[str]) -> Device:
        folder = self._block / name
        parts = sorted(path.parent for path in folder.glob("*/partition"))
        uses = {name: folder, **{part.name: part for part in parts}}
        holders = dict(self._holders(list(uses.values())))
        names = {*uses, *holders}
        numbers = {_read(path / "dev") for path in [*uses.values(), *holders.values()]} - {""}
        places = tuple(
            sorted(
                {
                    mount.place
                    for mount in mounts
                    if mount.number in numbers or self._names(mount.source) & names
                }
            )
        )
        transport = _transport(folder, name)
        swapped = any(self._names(path) & names for path in swaps)
        return Device(
            name=name,
            number=_read(folder / "dev"),
            size=_integer(_read(folder / "size")) * _SECTOR,
            model=_model(folder),
            serial=_read(folder / "device" / "serial"),
            sequence=_integer(_read(folder / "diskseq")) or None,
            transport=transport,
            removable=_removable(folder, transport),
            read_only=_read(folder / "ro") == "1",
            mounted=places,
            swap=swapped,
            holders=tuple(sorted(holders)),
            system=swapped or any(_is_system(place) for place in places),
        )

    def _holders(self, folders: list[Path]) -> Iterator[tuple[str, Path]]:
        """Yield every block device that is built on these, directly or through others."""
        waiting, seen = list(folders), set[str]()
        while waiting:
            holders = waiting.pop() / "holders"
            for name in sorted(path.name for path in holders.iterdir()) if holders.is_dir() else []:
                if name not in seen:
                    seen.add(name)
                    yield name, self._block / name
                    waiting.append(self._block / name)

    def _names(self, source: str) -> set[str]:
        """Return the kernel names that a path such as /dev/mapper/x may stand for."""
        if not source.startswith("/"):
            return set()
        path = Path(source)
        ours = self.dev / path.relative_to("/dev") if path.is_relative_to("/dev") else path
        return {path.name, ours.resolve().name}

    def _mounts(self) -> list[_Mount]:
        found = []
        for line in _read(self._proc / "self" / "mountinfo").splitlines():
            fields, _, rest = line.partition(" - ")
            front, back = fields.split(" "), rest.split(" ")
            if len(front) >= 5 and len(back) >= 2:
                found.append(_Mount(front[2], _plain(back[1]), _plain(front[4])))
        return found

    def _swaps(self) -> list[str]:
        lines = _read(self._proc / "swaps").splitlines()[1:]
        return [_plain(line.split()[0]) for line in lines if line.split()]


def _transport(folder: Path, name: str) -> str:
    if _LOOP.fullmatch(name):
        return "loop"
    for part in reversed(folder.resolve().parts):
        for pattern, transport in _TRANSPORTS:
            if pattern.fullmatch(part):
                return transport
    return ""


def _removable(folder: Path, transport: str) -> bool:
    """Tell whether the medium is made to be taken out; built-in SD readers do not say so."""
    if transport == "mmc":
        return _read(folder / "device" / "type") == "SD"
    return _read(folder / "removable") == "1"


def _model(folder: Path) -> str:
    device = folder / "device"
    parts = [_read(device / "vendor"), _read(device / "model")]
    text = " ".join(part for part in parts if part and not part.startswith("0x"))
    name = _read(device / "name")
    backing = _read(folder / "loop" / "backing_file")
    return text or (f"SD card {name}" if name else backing)


def _is_system(place: str) -> bool:
    return place in _SYSTEM_PLACES or place.startswith(("/boot/", "/usr/", "/run/live/"))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _integer(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _plain(text: str) -> str:
    r"""Undo the kernel's octal escapes (a space in a mount point is \040)."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)
