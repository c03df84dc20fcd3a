"""Decides whether a device may be overwritten; when in doubt, it may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from provisioning.fleet.flash.devices import Device, Machine
from provisioning.fleet.flash.errors import DeviceChanged, DeviceRefused


def find_device(machine: Machine, given: Path, *, loops: bool = False) -> Device:
    """Return the whole disk that a path such as ``/dev/sdb`` or ``/dev/disk/by-id/...`` names.

    Raises:
        DeviceRefused: there is none, or it is a partition.
    """
    name = given.resolve().name if given.is_symlink() else given.name
    found = machine.device(name, loops=loops)
    if found is not None:
        return found
    for device in machine.devices(loops=loops):
        if name.startswith(device.name) and name != device.name:
            raise DeviceRefused(
                f"{given} is a partition; name the whole device: {machine.dev / device.name}"
            )
    raise DeviceRefused(
        f"there is no disk {given}; put the card in, and see `sealtrace flash --list`"
    )


def refusal(device: Device, image_bytes: int = 0, *, usb_disks: bool = False) -> str:
    """Return why a device may not be overwritten, and what to do; empty when it may.

    Args:
        image_bytes: what it has to hold.
        usb_disks: take disks on USB too, although they are not removable media.
    """
    return next(_objections(device, image_bytes, usb_disks=usb_disks), "")


def _objections(device: Device, image_bytes: int, *, usb_disks: bool) -> Iterator[str]:
    """Yield what speaks against writing to a device, the gravest first."""
    if device.system:
        where = ", ".join(device.mounted) or "swap"
        yield f"this machine runs from it ({where}); choose the card"
    if device.size == 0:
        yield "there is no card in it; put one in"
    if device.mounted:
        places = " ".join(_quoted(place) for place in device.mounted)
        yield f"it is mounted at {', '.join(device.mounted)}; unmount it first: umount {places}"
    if device.holders:
        yield f"{', '.join(device.holders)} is built on it; close that first"
    fixed = not device.removable and device.transport != "loop"
    if fixed and device.transport != "usb":
        yield "it is not removable; choose the card"
    if fixed and not usb_disks:
        yield "it is a USB disk, not a card or stick; if it is for a box, add --usb-disks"
    if device.read_only:
        yield "it is write-protected; move the switch on the card, or use another"
    if device.size < image_bytes:
        yield (
            f"it is too small ({size_text(device.size)} for an image of "
            f"{size_text(image_bytes)}); use a larger one"
        )


def require_usable(device: Device, image_bytes: int, *, usb_disks: bool = False) -> None:
    """Check that a device may be overwritten.

    Raises:
        DeviceRefused: it may not.
    """
    reason = refusal(device, image_bytes, usb_disks=usb_disks)
    if reason:
        raise DeviceRefused(f"{device.name} ({described(device)}) is not written: {reason}")


def require_same(machine: Machine, chosen: Device, *, loops: bool = False) -> None:
    """Check that the same card is still in the same reader.

    Raises:
        DeviceChanged: it is not.
    """
    now = machine.device(chosen.name, loops=loops)
    if now is None or now.identity != chosen.identity:
        raise DeviceChanged(
            f"{chosen.name} is no longer the device that was chosen ({described(chosen)}"
            f"{f'; now: {described(now)}' if now else '; it is gone'}); nothing was written: list "
            "the devices again"
        )


def described(device: Device) -> str:
    """Return a device's model and size for people."""
    return f"{device.model or 'unknown model'}, {size_text(device.size)}"


def size_text(size: int) -> str:
    """Return a size as it is printed on cards: decimal, three digits."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"


def _quoted(place: str) -> str:
    return f"'{place}'" if " " in place else place
