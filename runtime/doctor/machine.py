"""How the machine is: versions, its clock, swap and core dumps, disks."""

from __future__ import annotations

import ctypes
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from runtime.doctor.findings import Findings
from runtime.text import quoted

MIB, GIB = 1 << 20, 1 << 30
FREE_WARN, FREE_WRONG = 0.10, 0.02
LEAST_WARN_BYTES, LEAST_WRONG_BYTES = GIB, 128 * MIB
_OLDEST_PYTHON = (3, 11)
_STA_UNSYNC, _TIME_ERROR = 0x40, 5
_ENCRYPTED = "CRYPT-"


def look_at_machine(found: Findings, *, root: Path = Path("/")) -> None:
    """Look at what every role needs of its machine.

    Args:
        found: takes what is found.
        root: where ``proc`` and ``sys`` are; another in tests.
    """
    with found.looking("version"):
        _look_at_versions(found)
    with found.looking("clock"):
        _look_at_synchronisation(found)
    with found.looking("swap"):
        _look_at_swap(found, root)
    with found.looking("core dumps"):
        _look_at_core_dumps(found, root)


def _look_at_versions(found: Findings) -> None:
    ours = f"{version('sealtrace')}, on Python {platform.python_version()}"
    if sys.version_info < _OLDEST_PYTHON:
        found.wrong("version", ours, "install Python 3.11 or newer")
    else:
        found.well("version", ours)


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2) up to its status, and more room than the rest takes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    )


def synchronised() -> bool | None:
    """Tell whether the kernel's clock is steered by NTP (adjtimex(2)); None where nobody knows."""
    try:
        told = _Timex()
        state = int(ctypes.CDLL(None).adjtimex(ctypes.byref(told)))
    except (AttributeError, OSError):
        return None
    if state < 0:
        return None
    return state != _TIME_ERROR and not told.status & _STA_UNSYNC


def _look_at_synchronisation(found: Findings) -> None:
    known = synchronised()
    if known is None:
        found.warn("clock", "whether it is synchronised is not known here", "timedatectl")
    elif known:
        found.well("clock", "synchronised")
    else:
        found.warn(
            "clock", "not synchronised: no NTP service steers it", "sudo timedatectl set-ntp true"
        )


def _look_at_swap(found: Findings, root: Path) -> None:
    lines = (root / "proc/swaps").read_text().splitlines()[1:]
    names = [line.split()[0] for line in lines if line.split()]
    plain = [name for name in names if not _keeps_nothing(root, name)]
    if plain:
        found.warn(
            "swap",
            f"{', '.join(plain)}: what is in memory, keys too, may be written to a disk in the"
            " clear (the units forbid it to the services, nobody to a shell)",
            "sudo swapoff -a, and take it out of /etc/fstab; or have it encrypted",
        )
    else:
        found.well("swap", "none in the clear" if names else "none")


def _keeps_nothing(root: Path, name: str) -> bool:
    """Tell whether a swap device is memory, or encrypted."""
    device = Path(name).resolve().name
    if device.startswith("zram"):
        return not _backed(root / "sys/block" / device / "backing_dev")
    try:
        uuid = (root / "sys/block" / device / "dm/uuid").read_text()
    except OSError:
        return False
    return uuid.startswith(_ENCRYPTED)


def _backed(path: Path) -> bool:
    try:
        return path.read_text().strip() not in {"", "none"}
    except OSError:
        return False


def _look_at_core_dumps(found: Findings, root: Path) -> None:
    pattern = (root / "proc/sys/kernel/core_pattern").read_text().strip()
    if int((root / "proc/sys/fs/suid_dumpable").read_text()) == 1:
        found.wrong(
            "core dumps",
            "fs.suid_dumpable is 1: processes that forbid their dump are dumped all the same",
            "sudo sysctl fs.suid_dumpable=0",
        )
        return
    found.well("core dumps", f"services forbid theirs; others go to {pattern or 'nowhere'}")


def look_at_disk(found: Findings, folder: Path, about: str = "disk", *, most: int = 0) -> None:
    """Look at the room on a folder's disk.

    Args:
        found: takes what is found.
        folder: is looked at, or the next above it that is there.
        about: what it is called.
        most: bytes that the configuration lets be kept there; 0: no limit.
    """
    with found.looking(about):
        there = next((one for one in (folder, *folder.parents) if one.exists()), Path("/"))
        usage = shutil.disk_usage(there)
        what = f"{folder}: {usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free"
        share = usage.free / max(1, usage.total)
        next_step = f"free space: sudo du -xh --max-depth=2 {quoted(there)} | sort -h | tail"
        if usage.free < LEAST_WRONG_BYTES or share < FREE_WRONG:
            found.wrong(about, what, next_step)
        elif usage.free < LEAST_WARN_BYTES or share < FREE_WARN:
            found.warn(about, what, next_step)
        elif most > usage.free:
            found.warn(
                about,
                f"{what}, and up to {most / GIB:.1f} GiB may be kept there by the configuration",
                "lower that limit in the configuration, or give it a larger disk",
            )
        else:
            found.well(about, what)
