"""Pages on which a patient is enrolled: photographs judged at once, consent, pseudonym."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, UploadFile
from starlette.responses import HTMLResponse, Response

from officers.desk.patients import (
    Consent,
    PatientInvalid,
    check_consent,
    check_new,
    keep_patient,
)
from officers.desk.photographs import MAX_PHOTOS, PhotosRefused
from officers.desk.phrases import words_of
from officers.pages.at import At, Wrong, at
from officers.pages.patients.memory import Basket, BasketRefused, helper_of, memory_of
from protocol.directory import INVESTIGATOR
from runtime.text import harmless

router = APIRouter(prefix="/patients/new")
Here = Annotated[At, Depends(at)]
_MAX_NAME = 80


@router.get("")
def begin(here: Here) -> Response:
    """Begin an enrolment."""
    here.require(INVESTIGATOR)
    return here.to(f"/patients/new/{memory_of(here).new().id}")


@router.get("/{basket_id}")
def show(here: Here, basket_id: str) -> Response:
    """Show an enrolment under way."""
    here.require(INVESTIGATOR)
    try:
        basket = memory_of(here).find(basket_id)
    except BasketRefused as error:
        here.notice(words_of(error), warning=True)
        return here.page("patients/gone.html", title=here.text("Enrol a patient"), status=410)
    return _page(here, basket)


@router.post("/{basket_id}/photos")
def add(
    here: Here,
    basket_id: str,
    photos: Annotated[list[UploadFile] | None, File()] = None,
    masked: Annotated[str, Form()] = "",
    part: Annotated[str, Form()] = "",
) -> Response:
    """Look at photographs that were dropped or chosen, and hold them in memory."""
    here.require(INVESTIGATOR)
    basket = memory_of(here).find(basket_id)
    wrong: list[Wrong] = []
    if bool(masked) != basket.masked:
        basket.masked = bool(masked)
        for held in basket.photos:
            held.looked = helper_of(here).look(held.data, masked=basket.masked)
    for upload in photos or []:
        if not upload.filename:
            continue
        data = upload.file.read()
        try:
            looked = helper_of(here).look(data, masked=basket.masked)
            basket.add(harmless(upload.filename)[:_MAX_NAME], data, looked)
        except BasketRefused as error:
            wrong.append(Wrong("photos", here.say(words_of(error))))
            break
    if part:
        return HTMLResponse(here.draw("patients/photos.html", basket=basket, errors=wrong))
    if wrong:
        return _page(here, basket, errors=wrong)
    return here.to(f"/patients/new/{basket.id}")


@router.post("/{basket_id}/drop")
def drop(
    here: Here,
    basket_id: str,
    photo: Annotated[str, Form()] = "",
    part: Annotated[str, Form()] = "",
) -> Response:
    """Let go of a photograph."""
    basket = memory_of(here).find(basket_id)
    basket.drop(photo)
    if part:
        return HTMLResponse(here.draw("patients/photos.html", basket=basket))
    return here.to(f"/patients/new/{basket.id}")


@router.get("/{basket_id}/photos/{photo_id}")
def photo(here: Here, basket_id: str, photo_id: str) -> Response:
    """Show a photograph, as the helper drew it."""
    here.require(INVESTIGATOR)
    held = memory_of(here).find(basket_id).find(photo_id)
    return Response(held.looked.preview, media_type="image/jpeg")


@router.post("/{basket_id}")
def enrol(
    here: Here,
    basket_id: str,
    pseudonym: Annotated[str, Form()] = "",
    consent: Annotated[str, Form()] = "",
    document: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Enrol the patient, and let go of the photographs."""
    here.require(INVESTIGATOR)
    basket = memory_of(here).find(basket_id)
    if document is not None and document.filename:
        basket.document = document.file.read()
        basket.document_name = harmless(document.filename)[:_MAX_NAME]
    entered = {"pseudonym": pseudonym, "consent": consent}
    wrong: list[Wrong] = []
    name, agreed = "", Consent(consent, basket.document_name, basket.document)
    try:
        name = check_new(here.officer, pseudonym)
    except PatientInvalid as error:
        wrong.append(Wrong(error.field, here.say(words_of(error))))
    try:
        agreed = check_consent(agreed)
    except PatientInvalid as error:
        wrong.append(Wrong(error.field, here.say(words_of(error))))
        if error.field == "document":
            basket.document, basket.document_name = b"", ""
    if not basket.document:
        if here.officer.policy.witnessed_enrolment:
            words = here.text("The site's policy asks for a witness, who signs for this document.")
            wrong.append(Wrong("document", words))
        elif here.officer.policy.consent_documents:
            words = here.text("The site's policy asks that queries name this document.")
            wrong.append(Wrong("document", words))
    if not basket.good:
        wrong.append(Wrong("photos", here.text("Add a photo that is good enough.")))
    elif len(basket.good) < len(basket.photos):
        words = here.text("Remove the photos that cannot be used, or replace them.")
        wrong.append(Wrong("photos", words))
    if wrong:
        return _page(here, basket, errors=wrong, **entered)
    try:
        made = helper_of(here).enrol(
            [(held.name, held.data) for held in basket.photos],
            pseudonym=name,
            consent=agreed.reference,
            document=agreed.digest,
            masked=basket.masked,
        )
        count = len(basket.photos)
        kept = keep_patient(here.officer, made, agreed, photos=count, key=here.keys.sealing)
    except PhotosRefused as error:
        return _page(here, basket, errors=[Wrong("photos", here.say(words_of(error)))], **entered)
    except PatientInvalid as error:
        return _page(
            here, basket, errors=[Wrong(error.field, here.say(words_of(error)))], **entered
        )
    memory_of(here).show(kept.id, basket.photos[0].looked.preview)
    memory_of(here).end(basket)
    return here.to(f"/patients/{kept.id}")


def _page(
    here: At,
    basket: Basket,
    *,
    errors: list[Wrong] | None = None,
    pseudonym: str = "",
    consent: str = "",
) -> Response:
    return here.page(
        "patients/new.html",
        title=here.text("Enrol a patient"),
        errors=errors or [],
        basket=basket,
        pseudonym=pseudonym,
        consent=consent,
        witness_needed=here.officer.policy.witnessed_enrolment,
        most=MAX_PHOTOS,
    )
