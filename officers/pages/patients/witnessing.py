"""Pages on which a second officer witnesses: sheet in, facts read, the signed sheet out."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, File, UploadFile
from starlette.responses import Response

from officers.desk.phrases import phrase, words_of
from officers.desk.witnessing import (
    Enrolment,
    WitnessRefused,
    look_at_sheet,
    to_witness,
    witnessed_sheet,
)
from officers.pages.at import At, Wrong, at
from officers.pages.patients.memory import BasketRefused
from protocol.enrolment import MAX_SHEET_BYTES, WitnessSheet
from protocol.errors import ProtocolError
from protocol.signing import Signed
from runtime.text import harmless

router = APIRouter(prefix="/patients/witness")
Here = Annotated[At, Depends(at)]
_MOST = 16
_MAX_NAME = 80


@dataclass
class Brought:
    """A sheet that was brought here to be witnessed."""

    enrolment: Enrolment
    compared: bool
    signed: bytes = b""


class Sheets:
    """Sheets under way, until the desk locks."""

    def __init__(self) -> None:
        self._held: dict[str, Brought] = {}

    def add(self, brought: Brought) -> str:
        """Hold a sheet; return the number that it goes by."""
        while len(self._held) >= _MOST:
            self._held.pop(next(iter(self._held)))
        number = secrets.token_hex(8)
        self._held[number] = brought
        return number

    def find(self, number: str) -> Brought:
        """Return a sheet.

        Raises:
            BasketRefused: it is not held any more.
        """
        if number not in self._held:
            raise BasketRefused(
                phrase("This sheet is not in memory any more; choose the file again.")
            )
        return self._held[number]

    def forget(self) -> None:
        """Let go of all."""
        self._held.clear()


def _sheets(here: At) -> Sheets:
    return here.house.kept("witness-sheets", Sheets)


@router.get("")
def ask(here: Here) -> Response:
    """Ask for the sheet."""
    return _ask(here)


@router.post("")
def bring(
    here: Here,
    sheet: Annotated[UploadFile | None, File()] = None,
    document: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Take a sheet, and compare the document that the witness holds."""
    if sheet is None or not sheet.filename:
        return _ask(here, Wrong("sheet", here.text("Choose the sheet.")))
    try:
        brought = WitnessSheet.parse(sheet.file.read(MAX_SHEET_BYTES + 1))
    except ProtocolError:
        words = here.text("This is no witness's sheet; choose the file that you were given.")
        return _ask(here, Wrong("sheet", words))
    compared = None
    if document is not None and document.filename:
        digest = hashlib.sha256(document.file.read()).digest()
        compared = harmless(document.filename)[:_MAX_NAME], digest
    try:
        enrolment = look_at_sheet(here.officer, brought, compared)
    except WitnessRefused as error:
        field = "sheet" if compared is None else "document"
        return _ask(here, Wrong(field, here.say(words_of(error))))
    number = _sheets(here).add(Brought(enrolment, compared is not None))
    return here.to(f"/patients/witness/{number}")


@router.get("/{number}")
def show(here: Here, number: str) -> Response:
    """Show what a witness signs for; once it is signed, hand out the sheet."""
    brought = _sheets(here).find(number)
    template = "patients/witnessed.html" if brought.signed else "patients/witness.html"
    return here.page(
        template, title=here.text("Witness an enrolment"), brought=brought, number=number
    )


@router.post("/{number}")
def sign(here: Here, number: str) -> Response:
    """Have it signed."""
    brought, officer = _sheets(here).find(number), here.officer

    def keep(signed: Signed) -> str:
        brought.signed = witnessed_sheet(officer, brought.enrolment, signed).to_bytes()
        return f"/patients/witness/{number}"

    sheet = brought.enrolment.sheet
    statement = here.text(
        "I witness that the photographs were of the person called {pseudonym}, and that the "
        "document {reference} is that person's consent, or the order.",
        pseudonym=sheet.pseudonym,
        reference=sheet.consent_reference,
    )
    return here.ask_signature(
        to_witness(officer, brought.enrolment),
        statement=statement,
        then=keep,
        back=f"/patients/witness/{number}",
    )


@router.get("/{number}/sheet")
def hand_out(here: Here, number: str) -> Response:
    """Hand out the signed sheet."""
    brought = _sheets(here).find(number)
    return Response(
        brought.signed,
        200 if brought.signed else 404,
        media_type="application/octet-stream",
        headers={"Content-Disposition": 'attachment; filename="signed.witness"'},
    )


def _ask(here: At, *wrong: Wrong) -> Response:
    return here.page(
        "patients/witness_ask.html", title=here.text("Witness an enrolment"), errors=wrong
    )
