"""Coming in and locking: the one-time start, the lock, and signs of the officer being there."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import PlainTextResponse, Response

from officers.pages.at import At, Wrong, local, unlocked_or_not
from officers.pages.door import StartRefused
from officers.pages.guard import set_session, start_path
from officers.pages.house import TooSoon
from runtime.keyfiles import WrongPassphrase

router = APIRouter()
_MAX_PASSPHRASE = 1024
Here = Annotated[At, Depends(unlocked_or_not)]


@router.get("/start")
def start(request: Request, here: Here, token: str = "") -> Response:
    """Begin a session with the token that `sealtrace desk` printed, once."""
    if "prefetch" in request.headers.get("sec-purpose", ""):
        return PlainTextResponse("", 503)
    if not token:
        if request.state.session:
            return here.to("/")
        return here.page("frame/start.html", refused="", status=401)
    try:
        session = here.house.door.enter(token)
    except StartRefused as error:
        if request.state.session:  # the back button, or a reload
            return here.to("/")
        return here.page("frame/start.html", refused=str(error), status=401)
    response = here.to("/lock" if here.house.locked else "/")
    set_session(response, here.house.port, session)
    return response


@router.post("/door")
def door(request: Request, here: Here) -> Response:
    """Give a second `sealtrace desk` of the same officer a new start address."""
    try:
        token = here.house.door.new_start_for(request.headers.get("authorization", ""))
    except StartRefused as error:
        return PlainTextResponse(str(error), 403)
    return PlainTextResponse(start_path(token))


@router.get("/lock")
def lock_page(here: Here, back: str = "/") -> Response:
    """Show the lock; an open desk stays open until it is told to lock."""
    if not here.house.locked:
        return here.to(local(back))
    return here.page("frame/lock.html", back=local(back))


@router.post("/lock")
def lock(here: Here) -> Response:
    """Forget the keys, and all that was opened with them."""
    here.house.lock()
    return here.to("/lock")


@router.post("/unlock")
def unlock(
    here: Here,
    passphrase: Annotated[str, Form(max_length=_MAX_PASSPHRASE)] = "",
    back: Annotated[str, Form()] = "/",
) -> Response:
    """Open the officer's keys."""
    try:
        here.house.unlock(passphrase.encode())
    except WrongPassphrase:
        words = here.text("This passphrase does not open your keys. Check it and try again.")
        return here.page("frame/lock.html", errors=[Wrong("passphrase", words)], back=local(back))
    except TooSoon as error:
        wrong = [Wrong("passphrase", here.say(error))]
        return here.page("frame/lock.html", errors=wrong, back=local(back), status=429)
    return here.to(local(back))


@router.post("/stay")
def stay(here: Here) -> Response:
    """Note that the officer is there."""
    if not here.house.locked:
        here.house.awake()
    return Response(status_code=204)
