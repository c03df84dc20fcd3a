"""The part of `sealtrace box` at headquarters that goes through the registrar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from protocol.textformats import parse_json, parse_toml
from provisioning.authority.consequences import of_darkness
from provisioning.authority.terminal import say_consequences
from provisioning.box.firstboot.steps import read_request, write_exchange
from provisioning.formats.claimfile import ClaimFile
from provisioning.formats.options import PassphraseFile, reported, split_camera
from provisioning.formats.plan_boxes import CameraPlan
from provisioning.registrar import office
from provisioning.registrar.publish import publish_now
from provisioning.registrar.registrar import Registrar
from runtime.errors import OperationError
from runtime.fsio import read_file
from runtime.peers import Told
from runtime.terminal import DryRun, say
from runtime.text import quoted

app = typer.Typer()
_MAX_BYTES = 1 << 20
OfficeFolder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The registrar's folder, or its site's.")
]
Cameras = Annotated[
    list[str] | None,
    typer.Option(
        "--camera",
        metavar="NAME=URL",
        help="A camera and where it is: rtsp://..., http://..., v4l2:/dev/video0, a file; may be "
        "repeated.",
    ),
]


@app.command(
    epilog="Examples:  sealtrace box claim north box-7 --camera door=rtsp://10.0.0.7/stream1"
    "   |   sealtrace box claim north box-7 --cameras-file cameras.toml --out box-7.claim.toml"
    "   |   sealtrace box claim north station-1 --station"
)
def claim(
    folder: OfficeFolder,
    name: Annotated[str, typer.Argument(help="Name of the box.")],
    *,
    camera: Cameras = None,
    cameras_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Cameras with all their settings: TOML with [[cameras]], as in box.toml.",
        ),
    ] = None,
    station: Annotated[
        bool, typer.Option("--station", help="An import station: it has no cameras.")
    ] = False,
    hours: Annotated[
        int | None, typer.Option(min=1, max=24 * 90, help="How long it is good. Default: 72.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write. Default: NAME.claim.toml.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Announce a box and write its one-time claim, which `sealtrace image build` puts on its card.

    Run it again for a box that did not come in time: the earlier claim is void then.
    """
    with reported():
        tables = camera_tables(camera, cameras_file)
        target = out or Path(f"{name}.claim.toml")
        with office.opened(folder) as registrar:
            if dry_run:
                names = "an import station" if station else _names(tables)
                say(f"would claim {name} and write {target}: {names}")
                return
            made = registrar.claim(name, tables, hours=hours, station=station)
        write_claim(made, target)
        if station:
            say("When it is admitted, say of which cameras it imports films:")
            say(f"  sealtrace box recordings DIR {name} --camera NAME --push")


@app.command(epilog="Example:  sealtrace box admit north /media/usb/box-7.request --out /media/usb")
def admit(
    folder: OfficeFolder,
    request: Annotated[Path, typer.Argument(help="The file of `sealtrace box request`.")],
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder or file for the answer.")],
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Admit a box that has no network here: read its request from a USB stick, write the answer."""
    with reported():
        asked = read_request(request)
        target = out / f"{asked.box}.admission" if out.is_dir() else out
        if dry_run:
            say(f"would admit {asked.box} of site {asked.site} and write {target}")
            return
        with office.opened(folder, signing=True, passphrase_file=passphrase_file) as registrar:
            answer = office.admit(registrar, asked)
            write_exchange(target, answer.to_bytes())
            say(f"{asked.box} is admitted; take {target} to it and run there:")
            say(f"  sealtrace box install {quoted(target.name)} --folder FOLDER")
            show_told(publish_now(registrar), registrar)


def revoke_here(folder: Path, name: str, passphrase_file: Path | None, *, dry_run: bool) -> None:
    """Revoke a box as the registrar, and tell everybody at once."""
    with office.opened(folder) as registrar:
        principal = registrar.directory.principals.get(name)
    if principal is not None:
        say_consequences(of_darkness(principal))
    if dry_run:
        say(f"would revoke {name}, its certificates and claims")
        return
    with office.opened(folder, signing=True, passphrase_file=passphrase_file) as registrar:
        new = registrar.revoke(name)
        say(f"{name} {'is revoked' if new else 'was revoked before'}")
        show_told(publish_now(registrar), registrar)


def swap_here(
    folder: Path,
    old: str,
    new: str,
    cameras: list[str] | None,
    passphrase_file: Path | None,
    *,
    dry_run: bool,
) -> None:
    """Revoke a box and claim another in its place, as the registrar."""
    tables = camera_tables(cameras, None)
    if dry_run:
        say(f"would revoke {old} and claim {new} in its place, with its cameras")
        return
    with office.opened(folder, signing=True, passphrase_file=passphrase_file) as registrar:
        principal = registrar.directory.principals.get(old)
        made = registrar.swap(old, new, tables)
        say(f"{old} is revoked")
        write_claim(made, Path(f"{new}.claim.toml"))
        show_told(publish_now(registrar), registrar)
    if principal is not None and principal.recordings:
        films = " ".join(f"--camera {camera}" for camera in principal.recordings)
        say(f"{old} might import films, and {new} may not yet. When it is admitted:")
        say(f"  sealtrace box recordings DIR {new} {films}")


def camera_tables(options: list[str] | None, file: Path | None) -> list[dict[str, Any]]:
    """Read cameras from ``--camera`` options and a file; nothing is silently dropped.

    Raises:
        OperationError: one is not a camera.
    """
    values: list[Any] = []
    if file is not None:
        try:
            text = read_file(file, _MAX_BYTES).decode()
            values += parse_toml(text)["cameras"] if file.suffix == ".toml" else parse_json(text)
        except (ValueError, KeyError, TypeError) as error:
            raise OperationError(f"{file} lists no cameras ([[cameras]] in TOML)") from error
    for name, source in map(split_camera, options or ()):
        values.append({"name": name, "source": source})
    cameras = TypeAdapter(list[CameraPlan])
    try:
        found = cameras.validate_python(values)
    except ValidationError as error:
        raise OperationError(f"a camera cannot be used: {error.errors()[0]['msg']}") from None
    # As JSON has them: TOML knows dates, and configurations are kept and signed without.
    tables: list[dict[str, Any]] = cameras.dump_python(found, mode="json")
    return tables


def write_claim(made: ClaimFile, target: Path) -> None:
    """Write a claim file and say what to do with it; an older one of the same box is replaced."""
    made.write(target, overwrite=True)
    say(f"{made.box} is announced; its claim is in {target}, good until")
    say(f"  {made.expires_at:%Y-%m-%d %H:%M} UTC. Whoever has the file can join as {made.box}.")
    say(f"Next: sealtrace image build --base IMG --claim {quoted(target)} ...")
    say(f"  or on the box itself: sealtrace box join --claim-file {quoted(target.name)}")


def show_told(told: list[Told], registrar: Registrar) -> None:
    """Say who knows of the newest admissions; who does not is told by the running service."""
    say(f"admissions version {registrar.trust.admissions_version}:")
    for one in told:
        say(f"  {'✗' if one.problem else '✓'} {one.name}: {one.problem or 'has it'}")
    if any(one.problem for one in told):
        say("The running registrar (`sealtrace registrar serve`) tries the rest again.")


def _names(tables: list[dict[str, Any]]) -> str:
    return ", ".join(str(table["name"]) for table in tables) or "with the cameras known"
