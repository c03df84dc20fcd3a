"""A page on which somebody is described by their clothes alone: by a picture, or in words."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, UploadFile
from starlette.responses import Response

from officers.desk.by_clothes import PICTURE, WORDS, clothes_offers
from officers.desk.patients import Consent, PatientInvalid, check_consent, check_new, keep_patient
from officers.desk.photographs import Made, PhotosRefused
from officers.desk.phrases import words_of
from officers.pages.at import At, Wrong, at
from officers.pages.patients.memory import helper_of
from protocol.clothes import MAX_WORDS
from protocol.directory import INVESTIGATOR
from protocol.displaynames import display_name
from protocol.errors import MalformedMessage
from runtime.text import harmless

router = APIRouter(prefix="/patients/clothes")
Here = Annotated[At, Depends(at)]
_WAYS = (PICTURE, WORDS)
_MAX_NAME = 80


@router.get("")
def ask(here: Here) -> Response:
    """Ask for the clothes, with what each way would open."""
    here.require(INVESTIGATOR)
    return _page(here)


@router.post("")
def enrol(
    *,
    here: Here,
    way: Annotated[str, Form()] = "",
    words: Annotated[str, Form(max_length=4000)] = "",
    pseudonym: Annotated[str, Form()] = "",
    consent: Annotated[str, Form()] = "",
    picture: Annotated[UploadFile | None, File()] = None,
    document: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Make the template, and let go of the picture."""
    here.require(INVESTIGATOR)
    entered = {"way": way, "words": words, "pseudonym": pseudonym, "consent": consent}
    wrong: list[Wrong] = []
    name, scan_name, scan = "", "", b""
    if document is not None and document.filename:
        scan, scan_name = document.file.read(), harmless(document.filename)[:_MAX_NAME]
    agreed = Consent(consent, scan_name, scan)
    offer = clothes_offers(here.officer.policy).get(way) if way in _WAYS else None
    if offer is None:
        wrong.append(Wrong("way", here.text("Choose a picture or words.")))
    elif offer.why_not is not None:
        wrong.append(Wrong("way", here.say(offer.why_not)))
    try:
        name = check_new(here.officer, pseudonym)
    except PatientInvalid as error:
        wrong.append(Wrong(error.field, here.say(words_of(error))))
    try:
        agreed = check_consent(agreed)
    except PatientInvalid as error:
        wrong.append(Wrong(error.field, here.say(words_of(error))))
    if here.officer.policy.witnessed_enrolment and not scan:
        said = here.text("The site's policy asks for a witness, who signs for this document.")
        wrong.append(Wrong("document", said))
    if way == WORDS:
        try:
            words = display_name(words, what="words", max_length=MAX_WORDS)
        except MalformedMessage:
            said = here.text("Describe the clothes in 1 to {most} characters.", most=MAX_WORDS)
            wrong.append(Wrong("words", said))
    elif way == PICTURE and (picture is None or not picture.filename):
        wrong.append(Wrong("picture", here.text("Choose a picture.")))
    if wrong:
        return _page(here, wrong, **entered)
    try:
        brought = picture if way == PICTURE else None
        made = _made(here, words, brought, name=name, agreed=agreed)
        kept = keep_patient(
            here.officer, made, agreed, photos=int(way == PICTURE), key=here.keys.sealing
        )
    except PhotosRefused as error:
        return _page(here, [Wrong(way, here.say(words_of(error)))], **entered)
    except PatientInvalid as error:
        return _page(here, [Wrong(error.field, here.say(words_of(error)))], **entered)
    return here.to(f"/patients/{kept.id}")


def _made(here: At, words: str, picture: UploadFile | None, *, name: str, agreed: Consent) -> Made:
    helper = helper_of(here)
    if picture is None:
        return helper.enrol_words(
            words, pseudonym=name, consent=agreed.reference, document=agreed.digest
        )
    data = bytearray(picture.file.read())
    try:
        return helper.enrol_clothes(
            data, pseudonym=name, consent=agreed.reference, document=agreed.digest
        )
    finally:
        data[:] = bytes(len(data))


def _page(here: At, errors: list[Wrong] | None = None, **entered: str) -> Response:
    policy = here.officer.policy
    offers = clothes_offers(policy)
    return here.page(
        "patients/clothes.html",
        title=here.text("Look for clothes"),
        errors=errors or [],
        offers=[offers[one] for one in _WAYS],
        entered={"way": "", "words": "", "pseudonym": "", "consent": ""} | entered,
        witness_needed=policy.witnessed_enrolment,
    )
