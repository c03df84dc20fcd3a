"""`sealtrace footage`: what recordings are there, and when they were made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path
from typing import Annotated

import typer

from edge_agent.footage.clocks import offset_of, zone_of
from edge_agent.footage.found import FoundFile, ScanOptions
from edge_agent.video.url import SourceError
from runtime.terminal import progress, reported, say
from runtime.text import counted

app = typer.Typer(
    name="footage",
    no_args_is_help=True,
    help="Recordings: what a folder holds, and how it becomes sealed sightings.",
)

_TELL_EVERY_S = 1.0
_DEFAULT_CONFIG = Path("box.toml")

FolderArgument = Annotated[
    Path, typer.Argument(help="Folder of recordings, with all folders in it; or one file.")
]
PatternOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help="How the files are named, when it is no usual recorder's way: {camera}, * for "
        "anything, and the start as %Y %m %d %H %M %S, as in '{camera}_%Y%m%d_%H%M%S'. With / "
        "the folders above are part of it.",
    ),
]
ZoneOption = Annotated[
    str | None,
    typer.Option(
        "--time-zone",
        metavar="ZONE",
        help="Zone of the recorders' clocks: Asia/Seoul, or +09:00. Default: the site's in "
        "box.toml, else this machine's.",
    ),
]
OffsetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--clock-offset",
        metavar="CAMERA=+3m20s",
        help="What to add to a camera's times: + if its clock was slow. May be repeated.",
    ),
]
CameraOption = Annotated[
    list[str] | None,
    typer.Option(
        "--camera",
        metavar="[CHANNEL=]CAMERA",
        help="Whose recordings these are, for a folder of one camera; or what the site calls the "
        "camera that names or folders call CHANNEL. May be repeated.",
    ),
]
ListOption = Annotated[
    Path | None,
    typer.Option(
        "--list",
        metavar="CSV",
        help="Table with the columns file (or camera) and start, which is believed above all.",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="The box's configuration, for the site's zone. Default: box.toml."
    ),
]


@app.callback()
def footage() -> None:
    """Recordings: what is there, whose, and when it was made."""


@app.command(
    epilog="Examples:  sealtrace footage scan /media/usb   |   "
    "sealtrace footage scan lobby/ --camera cam-lobby --clock-offset cam-lobby=+3m20s   |   "
    "sealtrace footage scan export/ --camera ch1=cam-lobby --camera ch2=cam-door --json"
)
def scan(
    folder: FolderArgument,
    *,
    pattern: PatternOption = None,
    time_zone: ZoneOption = None,
    clock_offset: OffsetOption = None,
    camera: CameraOption = None,
    list_file: ListOption = None,
    config: ConfigOption = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Believe stated lengths; do not go through whole files."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what recordings are there: whose, from when to when, gaps, and what cannot be read.

    Nothing is decoded but the first picture of each file, nothing is kept, and nothing is changed.
    Links are not followed.
    """
    # A second of imports, which --help saves.
    from edge_agent.footage.apart import looking_apart  # noqa: PLC0415
    from edge_agent.footage.printing import as_document, show_scan  # noqa: PLC0415
    from edge_agent.footage.scan import scan_folder  # noqa: PLC0415

    with reported("stopped; a scan changes nothing"):
        options = options_of(
            pattern=pattern,
            time_zone=time_zone,
            clock_offset=clock_offset,
            camera=camera,
            list_file=list_file,
            config=config,
            quick=quick,
        )
        with progress("scanning") as notify, looking_apart() as look:
            found = scan_folder(folder, options=options, tell=telling(notify), look=look)
        if as_json:
            say(json.dumps(as_document(found, options)))
        else:
            show_scan(found, folder, options)
        if not any(file.usable for file in found.files):
            raise typer.Exit(1)


def options_of(
    *,
    pattern: str | None = None,
    time_zone: str | None = None,
    clock_offset: list[str] | None = None,
    camera: list[str] | None = None,
    list_file: Path | None = None,
    config: Path | None = None,
    quick: bool = False,
) -> ScanOptions:
    """Return a scan's options from what was written on the command line.

    Raises:
        OperationError: one does not fit.
    """
    alone: str | None = None
    cameras: dict[str, str] = {}
    for text in camera or ():
        said, equals, name = text.rpartition("=")
        if not name.strip() or (equals and not said.strip()):
            raise SourceError(f"--camera {text!r} is neither CAMERA nor CHANNEL=CAMERA.")
        if equals:
            cameras[said.strip()] = name.strip()
        elif alone is not None:
            raise SourceError(
                f"--camera {alone} and --camera {name}: whose is which? Write CHANNEL=CAMERA."
            )
        else:
            alone = name.strip()
    return ScanOptions(
        zone=zone_of(time_zone) if time_zone is not None else zone_of_site(config),
        pattern=pattern,
        offsets_s=dict(offset_of(text) for text in clock_offset or ()),
        camera=alone,
        cameras=cameras,
        list_file=list_file,
        quick=quick,
    )


def zone_of_site(config: Path | None) -> tzinfo | None:
    """Return the zone that a box's configuration names; None where there is none of either.

    Raises:
        OperationError: the configuration is wrong, or one was named that is not there.
    """
    if config is None and not _DEFAULT_CONFIG.is_file():
        return None
    from edge_agent.config import load_box  # noqa: PLC0415 - a second of imports

    named = getattr(load_box(config or _DEFAULT_CONFIG), "time_zone", None)
    return None if named is None else zone_of(named)


def telling(notify: Callable[[str], None]) -> Callable[[FoundFile], None]:
    """Return what tells of a scan's progress, once a second."""
    files, told_s = 0, time.monotonic()

    def tell(file: FoundFile) -> None:
        nonlocal files, told_s
        files += 1
        if time.monotonic() - told_s >= _TELL_EVERY_S:
            told_s = time.monotonic()
            notify(f"{counted(files, 'file')}, {file.path.name}")

    return tell
