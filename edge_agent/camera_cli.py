"""`sealtrace camera`: find cameras, judge their picture, measure the ground in front of them."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from edge_agent.camera_setup import boxfile, discovery
from edge_agent.camera_setup import calibrate as fitting
from edge_agent.camera_setup import still as stills
from edge_agent.camera_setup.advice import advise
from edge_agent.camera_setup.calibrate import GroundPoint
from edge_agent.camera_setup.choosing import (
    DEFAULT_CONFIG,
    camera_of,
    choose,
    finder_for,
    look_at,
    password_of,
    refuse_still,
    vision_of,
    with_login,
)
from edge_agent.camera_setup.onvif import OnvifCamera
from edge_agent.camera_setup.printing import (
    ground_in_words,
    show_calibration,
    show_found,
    show_result,
)
from edge_agent.config import BoxConfig, CameraConfig, load_box
from edge_agent.sources import SourceError, parse_source_url
from runtime.terminal import err, note, out, plain_table, reported, say, show_table, warn

app = typer.Typer(
    name="camera",
    no_args_is_help=True,
    help="Find cameras, judge their picture, and measure the ground in front of them.",
)

_COLOURS = {"good": "green", "note": "yellow", "poor": "red"}
_GRID_S = 4.0
"""How long to watch for a picture of the ground: who walks through is taken out of it."""

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The box's configuration.", show_default=True)
]
CameraOption = Annotated[
    str | None, typer.Option("--camera", help="Name of a camera in it; may be left out for one.")
]
BundleOption = Annotated[
    Path | None, typer.Option(help="Model bundle, instead of the configuration's.")
]
TrustedOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY",
        help="One more public key (64 hexadecimal digits) that may vouch for the bundle.",
    ),
]
StillOption = Annotated[
    Path | None,
    typer.Option(help="Keep a picture in this file (.png, .jpg), readable by you alone."),
]
ShowFacesOption = Annotated[
    bool, typer.Option("--show-faces", help="Do not hide faces in that picture.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the picture if it exists.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(
    epilog="Examples:  sealtrace camera probe rtsp://10.0.0.11/stream1 --user viewer   |   "
    "sealtrace camera probe --config box.toml --camera door --still door.png   |   "
    "sealtrace camera probe v4l2:/dev/video0 --seconds 10"
)
def probe(
    *,
    url: Annotated[
        str | None,
        typer.Argument(
            help="rtsp://HOST/PATH, http://HOST/PATH, v4l2:/dev/video0, file:PATH or folder:PATH."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The box's configuration.")
    ] = None,
    camera: CameraOption = None,
    user: Annotated[
        str | None,
        typer.Option(
            help="User at the camera; you are asked for the password (or it is read from a pipe)."
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.5, max=120, help="How long to look, in seconds.")
    ] = 5.0,
    still: StillOption = None,
    show_faces: ShowFacesOption = False,
    force: ForceOption = False,
    bundle: BundleOption = None,
    trusted: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at a camera for a few seconds and say whether it will do, and what to change.

    Nothing is kept, unless --still names a file on this machine; faces in it are hidden.
    """
    with reported("stopped; nothing was kept"):
        settings, chosen = choose(url, config, camera)
        source = chosen.source if chosen is not None else str(url)
        vision = vision_of(settings, chosen)
        finder = finder_for(settings, bundle, trusted or [], vision)
        if still is not None:
            stills.check_target(still, force=force)
            if finder is None and not show_faces:
                refuse_still()
        source = with_login(source, user)
        seen = look_at(source, seconds, finder)
        try:
            if still is not None:
                drawn = stills.with_detections(seen.picture, finder, show_faces=show_faces)
                try:
                    stills.save(still, drawn, force=force)
                finally:
                    drawn.fill(0)
        finally:
            seen.wipe()
        advice = advise(seen.result, vision)
        if as_json:
            advised = [dataclasses.asdict(each) for each in advice]
            say(json.dumps({**dataclasses.asdict(seen.result), "advice": advised}, default=str))
        else:
            show_result(seen.result)
            for each in advice:
                line = f"{each.level}: {each.text}"
                out.print(
                    line, style=_COLOURS[each.level], markup=False, highlight=False, soft_wrap=True
                )
        if still is not None:
            note(f"{still}: written, readable by you alone")
            warn(stills.WARNING)


@app.command(
    epilog="Examples:  sealtrace camera calibrate --camera door --still grid.png   |   "
    "sealtrace camera calibrate --camera door --point 310,700=0,0 --point 980,690=3,0 "
    "--point 820,420=3,6 --point 450,425=0,6 --point 640,520=1.5,3 --dry-run   |   "
    "sealtrace camera calibrate --camera door --points door.csv"
)
def calibrate(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    camera: CameraOption = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PX,PY=X,Y",
            help="A place on the ground: pixels in the picture = metres on site. Four or more.",
        ),
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help="CSV file of points instead: px, py, x, y in each line.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="The picture's size, instead of asking the camera."),
    ] = None,
    still: StillOption = None,
    show_faces: ShowFacesOption = False,
    force: ForceOption = False,
    bundle: BundleOption = None,
    trusted: TrustedOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be changed.")
    ] = False,
) -> None:
    """Fit the ground in front of a camera to measured points and write it into box.toml.

    Without points, --still makes a picture with a grid to read pixels from. The file's comments
    and all else in it stay; the file as it was is kept as box.toml.bak.
    """
    with reported("stopped; box.toml is as it was"):
        given = [fitting.parse_point(text) for text in point or []]
        if points is not None:
            given += fitting.read_points(points)
        if not given and still is None:
            raise typer.BadParameter(
                "give four or more --point PX,PY=X,Y or --points FILE, or --still FILE to get a "
                "picture with a grid to read pixels from"
            )
        settings = load_box(config)
        chosen = camera_of(settings, camera, config)
        frame_size = _size(size) if size is not None else None
        if still is not None:
            frame_size = _grid(
                settings, chosen, still, given,
                show_faces=show_faces, force=force, bundle=bundle, trusted=trusted or [],
            )  # fmt: skip
        if not given:
            return
        if frame_size is None:
            frame_size = _ask_size(chosen)
        found = fitting.calibrate(tuple(given), frame_size)
        show_calibration(found)
        change = boxfile.plan_ground(config, chosen.name, given)
        if not change.needed:
            say(f"{config} has these points already; nothing is changed")
        elif dry_run:
            say(change.diff())
            say(f"{config} is as it was (--dry-run)")
        else:
            backup = change.write()
            say(f"{config}: the ground of {chosen.name} is in it; before: {backup}")
            say("restart the agent to use it; measure again if the camera is moved or zoomed")


@app.command(
    epilog="Examples:  sealtrace camera show   |   "
    "sealtrace camera show --config box.toml --camera door --json"
)
def show(
    config: ConfigOption = DEFAULT_CONFIG,
    camera: CameraOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the cameras of a box and how their ground is known; nothing is opened."""
    with reported():
        settings = load_box(config)
        chosen = (
            settings.cameras if camera is None else (camera_of(settings, camera, config),)
        )  # fmt: skip
        rows = []
        for each in chosen:
            vision = each.vision(settings.vision)
            rows.append(
                {
                    "camera": each.name,
                    "source": str(parse_source_url(each.source)),
                    "detect_fps": vision.detect_fps,
                    "working_size": f"{vision.detect_width}x{vision.detect_height}",
                    "ground": ground_in_words(vision.encounters.ground),
                }
            )
        if as_json:
            say(json.dumps(rows))
            return
        table = plain_table("camera", "source", "looks/s", "at size", "ground")
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        show_table(table)


@app.command(
    epilog="Examples:  sealtrace camera discover   |   "
    "sealtrace camera discover --interface 10.0.0.5 --timeout 10 --json   |   "
    "sealtrace camera discover --address 10.0.7.11"
)
def discover(
    *,
    timeout: Annotated[
        float, typer.Option(min=0.2, max=60, help="How long to wait for answers, in seconds.")
    ] = 3.0,
    interface: Annotated[
        str | None, typer.Option(help="This machine's IPv4 address on the network to ask.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST[:PORT]", help="Ask one camera only, also on another network."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the ONVIF cameras on this network.

    What they say of themselves is not verified. Some answer only after ONVIF, or "discovery", has
    been switched on in their settings; cameras without it have to be entered by hand.
    """
    with reported():
        target = _host_port(address) if address is not None else None
        with err.status(f"asking for cameras, {timeout:g} s"):
            found = discovery.discover(timeout_s=timeout, interface=interface, address=target)
        if as_json:
            say(json.dumps([dataclasses.asdict(each) for each in found]))
        else:
            show_found(found)


@app.command(
    epilog="Examples:  sealtrace camera streams 10.0.0.11 --user viewer   |   "
    "sealtrace camera streams http://10.0.0.11:8000/onvif/device_service"
)
def streams(
    address: Annotated[
        str, typer.Argument(help="The camera's IP address, or its ONVIF address from `discover`.")
    ],
    user: Annotated[
        str | None,
        typer.Option(
            help="User at the camera; you are asked for the password (or it is read from a pipe)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask one ONVIF camera for the addresses of its streams.

    A digest of the password goes to the machine you name, and to no other; name only a camera.
    """
    with reported():
        password = password_of(user)
        with OnvifCamera(address, user, password) as camera, err.status("asking the camera"):
            found = camera.streams()
        if as_json:
            say(json.dumps([dataclasses.asdict(each) for each in found]))
            return
        table = plain_table("stream", "codec", "size", "fps", "address")
        for each in found:
            fps = f"{each.fps:g}" if each.fps else ""
            table.add_row(*(each.profile, each.codec, f"{each.width}x{each.height}", fps, each.url))
        show_table(table)
        login = f" --user {shlex.quote(user)}" if user else ""
        note(f"next: sealtrace camera probe {shlex.quote(found[0].url)}{login}")


# -- parts of the commands ------------------------------------------------------------------------


def _grid(
    settings: BoxConfig,
    camera: CameraConfig,
    still: Path,
    given: list[GroundPoint],
    *,
    show_faces: bool,
    force: bool,
    bundle: Path | None,
    trusted: list[str],
) -> tuple[int, int]:
    """Keep a picture with a grid, and the points so far, in it; the picture's (height, width)."""
    stills.check_target(still, force=force)
    finder = finder_for(settings, bundle, trusted, vision_of(settings, camera))
    if finder is None and not show_faces:
        refuse_still()
    seen = look_at(camera.source, _GRID_S, None)
    view = stills.without_passers_by(seen.pictures)
    seen.wipe()
    try:
        drawn = stills.hidden(view, finder, show_faces=show_faces)
    finally:
        view.fill(0)
    try:
        stills.draw_grid(drawn, [(each.px, each.py) for each in given])
        stills.save(still, drawn, force=force)
    finally:
        drawn.fill(0)
    note(f"{still}: {seen.result.width}x{seen.result.height}, readable by you alone")
    warn(stills.WARNING)
    if not given:
        note(
            "next: read the pixels of four or more marks on the ground from it, measure the same "
            "marks in metres, and give each as --point PX,PY=X,Y"
        )
    return seen.result.height, seen.result.width


def _ask_size(camera: CameraConfig) -> tuple[int, int] | None:
    try:
        seen = look_at(camera.source, 0.5, None)
    except SourceError as error:
        warn(f"the picture's size is not known: {error}")
        return None
    seen.wipe()
    return seen.result.height, seen.result.width


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text, re.ASCII)
    if match is None or not int(match[1]) or not int(match[2]):
        raise typer.BadParameter(f"--size {text}: write the width and height, as in 1920x1080")
    return int(match[2]), int(match[1])


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    if not host or (port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)):
        raise typer.BadParameter(f"--address {text}: write HOST or HOST:PORT")
    return host, int(port or 3702)


__all__ = ["app"]
