"""The one page on which everything is signed: the statement, then a passkey or the passphrase."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form
from starlette.responses import Response

from officers.pages.at import At, Wrong, at
from officers.pages.house import TooSoon
from officers.pages.signatures import (
    MAX_ASSERTION_TEXT,
    MOST_BY_PASSKEY,
    ShownIsNotSigned,
    Signing,
    by_passkey,
    by_passphrase,
    passkeys_here,
)
from protocol.errors import ProtocolError, SignatureInvalid
from runtime.errors import OperationError
from runtime.keyfiles import WrongPassphrase

router = APIRouter()
Here = Annotated[At, Depends(at)]


@router.get("/sign/{number}")
def show(number: str, here: Here) -> Response:
    """Show what would be signed; once it is, the receipt."""
    signing = here.house.signatures.find(number)
    return here.to(signing.receipt) if signing.receipt else _page(here, number, signing)


@router.post("/sign/{number}")
def sign(
    number: str,
    here: Here,
    digest: Annotated[str, Form(max_length=128)] = "",
    passphrase: Annotated[str, Form(max_length=1024)] = "",
    assertion: Annotated[str, Form(max_length=MAX_ASSERTION_TEXT)] = "",
) -> Response:
    """Sign what was shown and hand it in, once."""
    house = here.house
    signing = house.signatures.find(number)
    if assertion:
        make = by_passkey(here.officer, house.origin, assertion)
    else:
        make = by_passphrase(here.officer, passphrase.encode() if house.asks_passphrase else None)
    try:
        receipt = house.signatures.sign(
            signing, digest, lambda one: house.try_passphrase(lambda: make(one))
        )
    except ShownIsNotSigned:
        raise
    except WrongPassphrase:
        words = here.text("This passphrase does not open your keys. Nothing was signed.")
        return _page(here, number, signing, Wrong("passphrase", words))
    except TooSoon as error:
        return _page(here, number, signing, Wrong("passphrase", here.say(error.args[0])))
    except (OperationError, ProtocolError) as error:
        if signing.signed:  # what was signed is kept, and can be handed in again
            return _page(here, number, signing, Wrong("", here.say(error.args[0])))
        if not isinstance(error, SignatureInvalid):
            raise
        words = here.text("The passkey's signature is not taken: {why}", why=error.args[0])
        return _page(here, number, signing, Wrong("", words))
    return here.to(receipt)


def _page(here: At, number: str, signing: Signing, wrong: Wrong | None = None) -> Response:
    few = len(signing.unsigned) <= MOST_BY_PASSKEY
    return here.page(
        "frame/sign.html",
        errors=[] if wrong is None else [wrong],
        title=here.text("Sign"),
        number=number,
        signing=signing,
        passkeys=passkeys_here(here.officer, here.house.origin) if few else (),
    )
