"""The desk's settings: language, theme, sound, keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form
from starlette.responses import Response

from officers.pages.at import At, Wrong, at, local
from officers.pages.settings import SettingInvalid
from protocol.directory import APPROVER, AUDITOR, INVESTIGATOR
from runtime.fsio import FileProblem

router = APIRouter()
Here = Annotated[At, Depends(at)]
Text = Annotated[str, Form(max_length=64)]


@router.get("/settings")
def show(here: Here, saved: str = "") -> Response:
    """Show the settings."""
    if saved:
        here.notice(here.text("Saved."))
    return _page(here)


@router.post("/settings")
def change(
    here: Here,
    language: Text = "",
    theme: Text = "",
    sound: Text = "",
    shortcuts: Text = "",
) -> Response:
    """Change all settings."""
    changes = {
        "language": language,
        "theme": theme,
        "sound": sound == "yes",
        "shortcuts": shortcuts == "yes",
    }
    return _changed(here, "/settings?saved=1", changes)


@router.post("/settings/sound")
def change_sound(here: Here, sound: Text = "", back: Annotated[str, Form()] = "/") -> Response:
    """Turn the sound on or off."""
    return _changed(here, local(back), {"sound": sound == "on"})


@router.post("/settings/language")
def change_language(
    here: Here, language: Text = "", back: Annotated[str, Form()] = "/"
) -> Response:
    """Change the language."""
    return _changed(here, local(back), {"language": language})


def _changed(here: At, to: str, changes: dict[str, Any]) -> Response:
    try:
        here.house.settings.change(**changes)
    except (SettingInvalid, FileProblem) as error:
        wrong = [Wrong("", here.say(error.args[0]))]
        return _page(here, wrong)
    return here.to(to)


def _page(here: At, wrong: Sequence[Wrong] = ()) -> Response:
    words = {
        INVESTIGATOR: here.text("investigator"),
        APPROVER: here.text("approver"),
        AUDITOR: here.text("auditor"),
    }
    duties = [words.get(one, one) for one in sorted(here.duties)]
    title = here.text("Settings")
    return here.page("frame/settings.html", errors=wrong, title=title, duty_words=duties)
