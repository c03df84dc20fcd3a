"""`sealtrace box`: bring an edge box into the site, list them, swap a dead one, revoke one.

Where the site has a registrar, boxes come in with `box claim` and `box join`, and are
revoked and swapped through it; `box add` makes a box's folder by hand, with the offline authority.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.markup import escape

from provisioning.authority import box_directory_cli, box_office_cli, boxes, proposals
from provisioning.authority.box_office_cli import Cameras, revoke_here, swap_here
from provisioning.authority.known_boxes import known_boxes, through_registrar
from provisioning.authority.terminal import Answers, Push, ago, carry_out, days
from provisioning.box import box_side_cli
from provisioning.formats.boxstate import BoxState
from provisioning.formats.options import (
    OfficerFile,
    PassphraseFile,
    SiteFolder,
    cameras_of,
    reported,
)
from provisioning.formats.plan_boxes import BoxPlan, CameraPlan, anchored_camera
from runtime.errors import OperationError
from runtime.redaction import redact
from runtime.terminal import DryRun, plain_table, say, show_table

app = typer.Typer(
    name="box",
    no_args_is_help=True,
    add_completion=False,
    help="Claim, admit, list, swap and revoke the edge boxes of a site.",
)
app.add_typer(box_office_cli.app)
app.add_typer(box_side_cli.app)
app.add_typer(box_directory_cli.app)


@app.command(
    epilog="Examples:  sealtrace box add north box-7 --camera door=rtsp://10.0.0.7/stream1 --push"
    "   |   sealtrace box add north station-1 --recordings door --recordings hall --push"
)
def add(
    folder: SiteFolder,
    name: Annotated[str, typer.Argument(help="Name of the new box.")],
    *,
    camera: Cameras = None,
    recordings: Annotated[
        list[str] | None,
        typer.Option(
            "--recordings",
            metavar="CAMERA",
            help="A camera, of whichever box, whose films it may import. May be repeated; without "
            "--camera the box is an import station.",
        ),
    ] = None,
    push: Push = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Make a folder for a new box and list it in a new version of the directory."""
    cameras = _cameras(camera)
    if not cameras and not recordings:
        raise typer.BadParameter(
            "give at least one NAME=URL, or --recordings for an import station",
            param_hint="--camera",
        )
    with reported():
        proposal = proposals.add_box(folder, _box_plan(name, cameras, tuple(recordings or ())))
        carry_out(proposal, Answers(passphrase_file, push, officer, dry_run))


@app.command(epilog="Example:  sealtrace box swap north box-7 box-7b --push")
def swap(
    folder: SiteFolder,
    old: Annotated[str, typer.Argument(help="The dead box; it is revoked.")],
    new: Annotated[str, typer.Argument(help="Name of the box in its place.")],
    *,
    camera: Cameras = None,
    push: Push = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Put a new box in the place of a dead one, with its cameras and their set-up.

    Through the registrar, if OLD came in by it: NEW gets a claim.
    """
    cameras = _cameras(camera)
    with reported():
        if through_registrar(folder, old):
            swap_here(folder, old, new, camera, passphrase_file, dry_run=dry_run)
            return
        proposal = proposals.swap_box(folder, old, new, cameras)
        carry_out(proposal, Answers(passphrase_file, push, officer, dry_run))


@app.command(epilog="Example:  sealtrace box revoke north box-7 --push")
def revoke(
    folder: SiteFolder,
    name: Annotated[str, typer.Argument(help="The box that is lost, stolen or out of use.")],
    *,
    push: Push = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
    dry_run: DryRun = False,
) -> None:
    """Put a box out of the site: broker, aggregator and custodians refuse it.

    What it sent before stays. Run it again at any time, for example to reach who was down. Through
    the registrar, if the box came in by it: everybody is told at once.
    """
    with reported():
        if through_registrar(folder, name):
            revoke_here(folder, name, passphrase_file, dry_run=dry_run)
            return
        proposal = proposals.revoke_box(folder, name)
        carry_out(proposal, Answers(passphrase_file, push, officer, dry_run))


@app.command("list", epilog="Example:  sealtrace box list north --live")
def list_boxes(
    folder: SiteFolder,
    live: Annotated[
        bool, typer.Option("--live", help="Ask the aggregator when each was last seen.")
    ] = False,
    aggregator: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask this aggregator instead.")
    ] = None,
    officer: OfficerFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the boxes: cameras, days left of the certificate, and (live) when last seen, gaps."""
    with reported():
        states, ask = known_boxes(folder, officer, aggregator)
        seen: dict[str, dict[str, Any]] = {}
        problem = ""
        if live or aggregator:
            try:
                seen = {str(row.get("box", row.get("name"))): row for row in ask()}
            except OperationError as error:
                problem = str(error)
        listed = [boxes.with_live(entry, seen.get(entry.name)) for entry in states]
        if as_json:
            typer.echo(json.dumps([entry.to_json() for entry in listed], indent=2))
        else:
            show_boxes(listed, live=live or bool(aggregator))
        if problem:
            raise OperationError(f"the aggregator did not tell: {problem}")


def show_boxes(listed: list[BoxState], *, live: bool) -> None:
    """Print boxes as a table."""
    if not listed:
        say("the site has no boxes yet; sealtrace box add DIR NAME --camera NAME=URL adds one")
        return
    told: tuple[str, ...] = ()
    if live:
        told = ("last seen", "state", "version", "protocol", "gaps")
    if live or any(entry.trouble for entry in listed):
        told += ("trouble",)
    table = plain_table(
        "box", "cameras", "certificate", *told, whole={"box", "certificate", *told} - {"trouble"}
    )
    for entry in listed:
        cameras = [name if live else _camera(entry, name) for name in entry.cameras]
        if entry.recordings:
            cameras.append(f"films of {', '.join(entry.recordings)}")
        state = days(entry.certificate_days)
        if entry.revoked_at is not None:
            state = f"[red]revoked {entry.revoked_at:%Y-%m-%d}[/]"
        row = [entry.name, ", ".join(cameras), state]
        if live:
            row += [
                ago(entry.last_seen),
                _state(entry),
                escape(entry.version),
                _protocol(entry),
                "" if entry.gaps is None else str(entry.gaps),
            ]
        if "trouble" in told:
            row.append(escape("; ".join(entry.trouble)))
        table.add_row(*row)
    show_table(table)


def _state(entry: BoxState) -> str:
    if entry.revoked_at is not None:
        return "[red]revoked[/]"
    if entry.online is None or entry.online:
        return "online" if entry.online else ""
    # A station that imports films now and then is not away: nobody expects it between them.
    return "[red]offline[/]" if entry.cameras else "between imports"


def _protocol(entry: BoxState) -> str:
    """Say in which version of the protocol a box seals, and whether it may still in the first."""
    if entry.protocol is None:
        return ""
    return f"{entry.protocol}{'' if entry.version_1_until is None else ' alone'}"


def _camera(entry: BoxState, name: str) -> str:
    if name not in entry.sources:
        return name
    return f"{name} ({escape(redact(entry.sources[name]))})"


def _cameras(options: list[str] | None) -> tuple[CameraPlan, ...]:
    return tuple(anchored_camera(camera, Path.cwd()) for camera in cameras_of(options))


def _box_plan(
    name: str, cameras: tuple[CameraPlan, ...], recordings: tuple[str, ...] = ()
) -> BoxPlan:
    try:
        return BoxPlan(name=name, cameras=cameras, recordings=recordings)
    except ValidationError as error:
        raise OperationError(f"'{name}' cannot be added: {_reason(error)}") from None


def _reason(error: ValidationError) -> str:
    return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
