"""`sealtrace flash`: write an image to a card, safely, and verify what was written."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from provisioning.fleet.flash.choice import (
    described,
    find_device,
    refusal,
    require_same,
    require_usable,
    size_text,
)
from provisioning.fleet.flash.devices import Device, Machine
from provisioning.fleet.flash.errors import DeviceChanged, DeviceRefused, FlashError
from provisioning.fleet.flash.medium import Medium, opened
from provisioning.fleet.flash.write import Flashing, SourceImage, flash, holds_already, opened_image
from provisioning.fleet.image.build import show_image
from provisioning.fleet.image.errors import ImageError
from provisioning.fleet.image.progress import bars
from runtime.errors import OperationError
from runtime.terminal import note, plain_table, reported, say, show_table, warn

app = typer.Typer(
    name="flash",
    add_completion=False,
    help="Write an image to a card, safely, and verify what was written.",
)
_Image = Annotated[
    Path | None, typer.Option(metavar="IMG", help="The image, from `sealtrace image build`.")
]
_DevicePath = Annotated[
    Path | None, typer.Option(metavar="/dev/sdX", help="The card: a whole device.")
]
_UNTOUCHED = "stopped; nothing was written"
_INCOMPLETE = (
    "stopped: the card is incomplete. It has no partition table, so no box starts from it; flash "
    "it again"
)


@app.command(
    epilog="Example:  sealtrace flash --list; "
    "sudo sealtrace flash --image box-7.img --device /dev/sdb"
)
def write(
    *,
    image: _Image = None,
    device: _DevicePath = None,
    listing: Annotated[
        bool, typer.Option("--list", help="List removable devices, write nothing.")
    ] = False,
    yes_device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Confirm the device by name, such as sdb: do not ask."),
    ] = None,
    if_needed: Annotated[
        bool, typer.Option("--if-needed", help="First look whether the card holds the image.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to a file instead of a card.")
    ] = None,
    usb_disks: Annotated[
        bool, typer.Option("--usb-disks", help="Allow disks on USB that are not removable media.")
    ] = False,
    loop_devices: Annotated[
        bool, typer.Option("--loop-devices", help="Allow loop devices, for trying out.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --list: print JSON.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would be done.")
    ] = False,
) -> None:
    """Write an image to a removable device, read it back and verify it.

    Refuses the disk that this machine runs from, and whatever is mounted, in use, not removable,
    write-protected or too small. Asks for the device's name before it writes. Interrupted at any
    moment, it leaves a card without partitions, which does not boot.
    """
    machine = Machine()
    if listing:
        with reported():
            _list(machine, image, usb_disks=usb_disks, loops=loop_devices, as_json=as_json)
        return
    if image is None or (device is None) == (file is None):
        raise typer.BadParameter(
            "give --image IMG, and --device /dev/sdX or --file FILE; --list shows the devices"
        )
    with reported(_UNTOUCHED), opened_image(image, bars) as source:
        if file is not None:
            _write_file(source, file, if_needed=if_needed, dry_run=dry_run)
            return
        chosen = find_device(machine, Path(str(device)), loops=loop_devices)
        require_usable(chosen, source.size, usb_disks=usb_disks)
        _announce(source, chosen)
        if dry_run:
            say(f"{chosen.name} may be written (--dry-run: nothing was)")
            return
        if if_needed and _holds(source, machine, chosen, loops=loop_devices):
            say(f"{chosen.name} holds the image already, byte for byte; nothing was written")
            return
        _confirm(chosen, yes_device)
        require_same(machine, chosen, loops=loop_devices)
        with opened(machine.dev / chosen.name) as medium:
            _require_chosen(medium, chosen)
            _flash(source, medium)
    say(f"{chosen.name} is written and verified. Take it out, and start the box from it.")


def _list(
    machine: Machine, image: Path | None, *, usb_disks: bool, loops: bool, as_json: bool
) -> None:
    size = image.stat().st_size if image is not None and image.is_file() else 0
    devices = machine.devices(loops=loops)
    shown = [found for found in devices if found.removable or found.transport in {"usb", "loop"}]
    states = [refusal(found, size, usb_disks=usb_disks) for found in shown]
    if as_json:
        rows = [
            {"path": str(machine.dev / found.name), **asdict(found), "refused": state}
            for found, state in zip(shown, states, strict=True)
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    if not shown:
        say("there is no removable device here: put the card into its reader, and list again")
        return
    table = plain_table("device", "size", "model", "on", "state")
    for found, state in zip(shown, states, strict=True):
        table.add_row(
            str(machine.dev / found.name),
            size_text(found.size) if found.size else "",
            found.model,
            found.transport,
            state or "can be written",
        )
    show_table(table)
    others = len(devices) - len(shown)
    if others:
        note(f"({others} built-in disk{'s' if others > 1 else ''} not shown: never written to)")


def _announce(source: SourceImage, chosen: Device) -> None:
    mapped = source.block_map.mapped_bytes
    say(f"image   {source.path}: {size_text(source.size)}, {size_text(mapped)} of it data")
    try:
        about, _ = show_image(source.path)
    except (ImageError, OperationError):
        warn("this is not an image from `sealtrace image build`; it is written as it is")
    else:
        hours = (about.claim_expires_at - datetime.now(UTC)).total_seconds() / 3600
        say(f"        for {about.box} of site {about.site}, to start within {hours:.0f} h")
        if hours <= 0:
            warn("the claim in it has run out: the box could not join; build the image again")
    say(f"device  {chosen.name}: {described(chosen)}, on {chosen.transport or 'this machine'}")


def _confirm(chosen: Device, yes_device: str | None) -> None:
    if yes_device is None:
        warn(f"everything on {chosen.name} ({described(chosen)}) will be lost")
        given = typer.prompt(f"Type the device's name ({chosen.name}) to write to it")
    else:
        given = yes_device
    if given.strip().removeprefix("/dev/") != chosen.name:
        raise DeviceRefused(
            f"'{given}' is not {chosen.name}: nothing was written; choose the device again"
        )


def _require_chosen(medium: Medium, chosen: Device) -> None:
    """Check that what was opened is what was chosen, not a newcomer of the same name."""
    if (medium.number, medium.size) != (chosen.number, chosen.size):
        raise DeviceChanged(
            f"{medium.path} is another device than the one that was chosen; nothing was written: "
            "list the devices again"
        )


def _holds(source: SourceImage, machine: Machine, chosen: Device, *, loops: bool) -> bool:
    require_same(machine, chosen, loops=loops)
    with opened(machine.dev / chosen.name) as medium, bars() as progress:
        _require_chosen(medium, chosen)
        return holds_already(source, medium, progress)


def _write_file(source: SourceImage, file: Path, *, if_needed: bool, dry_run: bool) -> None:
    if file.exists() and file.samefile(source.path):
        raise FlashError(f"{file} is the image itself; name another --file")
    if dry_run:
        say(f"would write {source.path} ({size_text(source.size)}) to {file}")
        return
    with opened(file, file_bytes=source.size) as medium:
        if if_needed:
            with bars() as progress:
                same = holds_already(source, medium, progress)
            if same:
                say(f"{file} holds the image already, byte for byte; nothing was written")
                return
        _flash(source, medium)
    say(f"{file} is written and verified")


def _flash(source: SourceImage, medium: Medium) -> None:
    state = Flashing()
    began = time.monotonic()
    try:
        with bars() as progress:
            flash(source, medium, state, progress)
    except KeyboardInterrupt:
        note(_INCOMPLETE if state.touched and not state.complete else _UNTOUCHED)
        raise typer.Exit(130) from None
    seconds = max(time.monotonic() - began, 1e-3)
    skipped = source.size - state.written_bytes
    say(
        f"{size_text(state.written_bytes)} written ({size_text(skipped)} of holes skipped), read "
        f"back and compared: {seconds:.0f} s, {source.size / 1e6 / seconds:.0f} MB/s over all"
    )
