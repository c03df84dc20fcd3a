"""The officer's passkeys: those that the directory lists, and a new one in three steps.

The browser makes it, the new passkey signs the offer, then the key file does. The file that comes
of it goes to the office; until the directory lists the passkey, it signs nothing that counts.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Depends, Form
from starlette.responses import Response

from officers import desk
from officers.desk.passkeys import CHALLENGE_BYTES, RP_ID
from officers.desk.phrases import phrase, words_of
from officers.pages.at import At, Wrong, at
from officers.pages.signatures import read_assertion
from protocol.errors import SignatureInvalid
from protocol.passkeys import Passkey
from protocol.signing import Signed, Unsigned
from protocol.textformats import parse_json

router = APIRouter()
Here = Annotated[At, Depends(at)]
_BASE = "/settings/passkeys"


@dataclass
class Making:
    """The passkey that is being made at this desk, one at a time; memory alone."""

    challenge: bytes = b""
    passkey: Passkey | None = None
    credential: bytes = b""
    unsigned: Unsigned | None = None
    assertion: bytes = b""
    file: bytes = b""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> bytes:
        """Return a challenge for a new passkey; what was begun before is dropped."""
        with self.lock:
            self.challenge = secrets.token_bytes(CHALLENGE_BYTES)
            self.passkey = self.unsigned = None
            self.credential = self.assertion = self.file = b""
            return self.challenge


@router.get(_BASE)
def passkeys(here: Here) -> Response:
    """Show the officer's passkeys, and begin a new one."""
    return _page(here)


@router.post(_BASE)
def made(here: Here, answer: Annotated[str, Form(max_length=131_072)] = "") -> Response:
    """Take what the browser made; go on to have it sign the offer."""
    making = _making(here)
    try:
        said = parse_json(answer)
        attestation, client_data = (
            base64.urlsafe_b64decode(said[name] + "=" * (-len(said[name]) % 4))
            for name in ("attestationObject", "clientDataJSON")
        )
    except (ValueError, TypeError, KeyError):
        return _page(here, Wrong("", here.text("The browser made no passkey. Try again.")))
    try:
        passkey, credential = desk.registered_passkey(
            attestation, client_data, challenge=making.challenge, origin=here.house.origin
        )
        unsigned = desk.to_offer_passkey(here.officer, passkey)
    except desk.PasskeyInvalid as error:
        return _page(here, Wrong("", here.say(words_of(error))))
    with making.lock:
        making.passkey, making.credential, making.unsigned = passkey, credential, unsigned
        making.challenge = b""  # answered once
    return here.to(f"{_BASE}/new")


@router.get(f"{_BASE}/new")
def offer(here: Here) -> Response:
    """Ask the new passkey to sign the offer."""
    return _offer_page(here)


@router.post(f"{_BASE}/new")
def offered(here: Here, answer: Annotated[str, Form(max_length=16_384)] = "") -> Response:
    """Take the new passkey's signature; go and sign the same with the key file."""
    making = _making(here)
    passkey, unsigned = making.passkey, making.unsigned
    if passkey is None or unsigned is None:
        return here.to(_BASE)
    try:
        assertion = read_assertion(answer)
        desk.check_assertion(passkey, unsigned, assertion)
    except SignatureInvalid:
        words = here.text("That was not the new passkey's signature. Try again with the new one.")
        return _offer_page(here, Wrong("", words))
    officer = here.officer

    def keep(signed: Signed) -> str:
        file = desk.offer_passkey(officer, signed, assertion)
        with making.lock:
            making.assertion, making.file = assertion, file
        return f"{_BASE}/offered"

    return here.ask_signature(
        unsigned,
        statement=[
            here.text(
                "What passkey {fingerprint} signs at {origin} shall be my word, as by my key file.",
                fingerprint=passkey.fingerprint,
                origin=passkey.origin,
            )
        ],
        then=keep,
        back=f"{_BASE}/new",
    )


@router.get(f"{_BASE}/offered")
def receipt(here: Here) -> Response:
    """Show what to do with the file."""
    making = _making(here)
    if not making.file or making.passkey is None:
        return here.to(_BASE)
    return here.page(
        "passkeys/offered.html",
        title=here.text("Passkey offered"),
        fingerprint=making.passkey.fingerprint,
        file_name=f"{here.officer.name}.passkey",
    )


@router.get(f"{_BASE}/file")
def file(here: Here) -> Response:
    """Hand the file over."""
    making = _making(here)
    if not making.file:
        raise desk.PasskeyInvalid(
            phrase("the file is no longer here: the desk was locked since. Make it anew")
        )
    name = f"{here.officer.name}.passkey"
    return Response(
        making.file,
        media_type="application/octet-stream",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _making(here: At) -> Making:
    return here.house.kept("passkey", Making)


def _page(here: At, wrong: Wrong | None = None) -> Response:
    challenge = _making(here).begin()
    return here.page(
        "passkeys/list.html",
        errors=[] if wrong is None else [wrong],
        title=here.text("Passkeys"),
        listed=desk.passkeys_of(here.officer, here.house.origin),
        origin=here.house.origin,
        rp_id=RP_ID,
        challenge=_text(challenge),
        user=_text(f"{here.officer.directory.site}/{here.officer.name}".encode()[:64]),
    )


def _offer_page(here: At, wrong: Wrong | None = None) -> Response:
    making = _making(here)
    if making.passkey is None or making.unsigned is None:
        return here.to(_BASE)
    return here.page(
        "passkeys/new.html",
        errors=[] if wrong is None else [wrong],
        title=here.text("New passkey"),
        fingerprint=making.passkey.fingerprint,
        rp_id=RP_ID,
        challenge=_text(hashlib.sha256(making.unsigned.challenge_bytes()).digest()),
        credential=_text(making.credential),
    )


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
