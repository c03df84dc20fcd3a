"""`sealtrace query places`: the site's register of places, and the options that choose by place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from officers import desk
from officers.desk.place_list import placed_values
from officers.keyboard import AsJson, at_desk
from runtime.officer_options import OfficerFile, PassphraseFile
from runtime.terminal import plain_table, say, show_table

CameraNames = Annotated[
    list[str] | None,
    typer.Option(
        "--camera",
        help="A camera to look at, or a pattern of names or places such as 'cam-*' or "
        "'station/*'; may be given several times.",
    ),
]
PlaceNames = Annotated[
    list[str] | None,
    typer.Option(
        "--place",
        metavar="PLACE",
        help="All cameras of a place, by any of its names in the register of places, or of a "
        "room: 'Lobby', '로비', 'Lobby/Hall A'; may be given several times.",
    ),
]
AreaFile = Annotated[
    Path | None,
    typer.Option(
        "--area",
        metavar="FILE",
        help="All cameras in an area that was drawn on a map: a GeoJSON file with a Polygon.",
    ),
]


def places(
    *,
    camera: CameraNames = None,
    place: PlaceNames = None,
    area: AreaFile = None,
    as_json: AsJson = False,
    officer: OfficerFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """List where the site's cameras are: all, or those that a query would take.

    From the register of places that the site's directory names.
    """
    with at_desk(officer, passphrase_file) as (session, _):
        listed = desk.placed_cameras(
            session.officer, camera or [], places=place or [], area=area, tell=session.tell
        )
        if as_json:
            say(json.dumps([placed_values(one) for one in listed], indent=2, ensure_ascii=False))
        elif listed:
            show_table(_table(listed))
        else:
            say("the site has no cameras yet")


EXAMPLES = (
    "Examples:  sealtrace query places   |   sealtrace query places --place 'station/*'"
    "   |   sealtrace query places --area harbour.geojson --json"
)


def _table(listed: tuple[desk.Placed, ...]) -> Table:
    """Lay the cameras out by place; what the register says of none has no column."""
    rows = [_row(one) for one in listed]
    heads = [head for head in rows[0] if head in {"place", "camera"} or any(r[head] for r in rows)]
    table = plain_table(*heads, whole={"camera"})
    for row in rows:
        table.add_row(*(row[head] for head in heads))
    return table


def _row(one: desk.Placed) -> dict[str, str]:
    place = one.place
    if place is None:
        return dict.fromkeys(("place", "also called", "room", "camera"), "") | {
            "place": "(not in the register)",
            "camera": one.camera,
            "where": "",
            "view": "",
            "note": "" if one.in_force else "no box in force",
        }
    indoor = {None: "", True: "indoors", False: "outdoors"}[place.indoor]
    names = dict.fromkeys(name for name in place.names.values() if name != place.place)
    return {
        "place": place.place,
        "also called": ", ".join(names),
        "room": place.room or "",
        "camera": one.camera,
        "where": ", ".join(part for part in (indoor, place.address) if part),
        "view": place.view or "",
        "note": "" if one.in_force else "no box in force",
    }
