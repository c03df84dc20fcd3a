"""The pages of boxes and cameras, by headquarters' word (`officers.desk.fleet`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from starlette.exceptions import HTTPException
from starlette.responses import Response

from officers.desk.fleet import BoxNow, Fleet, State, camera_states, fleet
from officers.desk.fleet_history import box_history
from officers.desk.site_map import site_map
from officers.pages.at import At, at
from officers.pages.map import MapView, map_view
from protocol.names import NAME_PATTERN

router = APIRouter()
Here = Annotated[At, Depends(at)]
Look = Literal["table", "map"]
Filter = Annotated[str, Query(max_length=64)]
Only = Literal["", "trouble"]


@router.get("/fleet")
def show(here: Here, look: Look = "table", text: Filter = "", only: Only = "") -> Response:
    """Show all boxes and their cameras, those in trouble first."""
    with here.session() as session:
        found = fleet(session)
    wanted = text.strip().lower()
    shown = [
        box
        for box in found.boxes
        if _says(box, wanted) and (not only or box.state in {State.TROUBLE, State.DOWN})
    ]
    return here.page(
        "fleet/home.html",
        title=here.text("Cameras and boxes"),
        found=found,
        shown=shown,
        hidden=len(found.boxes) - len(shown),
        look=look,
        text=text,
        only=only,
        view=_map(here, found, shown) if look == "map" else None,
        **_names(here),
    )


@router.get("/fleet/{name}")
def box(here: Here, name: Annotated[str, Path(pattern=NAME_PATTERN)]) -> Response:
    """Show one box: how it is, and how it was over the last seven days."""
    with here.session() as session:
        found = fleet(session)
        one = next((box for box in found.boxes if box.name == name), None)
        if one is None:
            raise HTTPException(404)
        cameras = [camera.name for camera in one.cameras]
        history = box_history(session, name, cameras, here.words.zone)
    return here.page(
        "fleet/box.html", title=name, found=found, box=one, history=history, **_names(here)
    )


def _says(box: BoxNow, wanted: str) -> bool:
    """Tell whether a box or one of its cameras is called so, or is of that version or group."""
    names = (box.name, box.version, box.group, *(camera.name for camera in box.cameras))
    return any(wanted in name.lower() for name in names)


def _map(here: At, found: Fleet, shown: list[BoxNow]) -> MapView:
    cameras = camera_states(Fleet(tuple(shown), found.told_ms))
    states = _state_words(here)
    return map_view(
        site_map(here.officer),
        language=here.words.language,
        states={name: camera.state.value for name, camera in cameras.items()},
        words={
            name: here.text("{state}: {why}", state=states[camera.state], why=camera.words[0])
            if camera.words
            else states[camera.state]
            for name, camera in cameras.items()
        },
        urls={name: f"/fleet/{camera.box}" for name, camera in cameras.items()},
        only=sorted(cameras),
    )


def _state_words(here: At) -> dict[State, str]:
    return {
        State.WELL: here.text("well"),
        State.TROUBLE: here.text("trouble"),
        State.DOWN: here.text("silent"),
        State.OFF: here.text("revoked"),
    }


def _names(here: At) -> dict[str, Any]:
    """Return what every template of this section says with."""
    return {
        "state_words": _state_words(here),
        "State": State,
        "SHAPES": {
            State.WELL: "confirmed",
            State.TROUBLE: "blocked",
            State.DOWN: "refused",
            State.OFF: "waiting",
        },
    }
