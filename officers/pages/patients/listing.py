"""Pages of who is enrolled: a list with drafts and queries side by side, one patient, deletion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, File, UploadFile
from starlette.responses import Response

from officers.desk.drafts import SavedDraft, drafts
from officers.desk.patients import (
    MAX_SUBJECT_BYTES,
    Patient,
    PatientInvalid,
    consent_scan,
    forget_patient,
    patient,
    take_in,
    take_sheet,
)
from officers.desk.phrases import words_of
from officers.desk.session import Session
from officers.desk.standings import Standing, standing_of
from officers.pages.at import At, Wrong, at
from officers.pages.patients.memory import helper_of, known_patients, memory_of
from protocol.authorization import parse_signed_query
from protocol.directory import INVESTIGATOR
from protocol.enrolment import MAX_SHEET_BYTES
from protocol.query import Query
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.fsio import read_file
from runtime.subject_files import sheet_path

router = APIRouter(prefix="/patients")
Here = Annotated[At, Depends(at)]
_INLINE = {"Content-Disposition": "inline"}


@dataclass(frozen=True, slots=True)
class Row:
    """A patient with what is asked for them, side by side."""

    patient: Patient
    drafts: tuple[SavedDraft, ...]
    queries: tuple[Standing, ...]


@router.get("")
def listed(here: Here) -> Response:
    """Show who is enrolled, and how far the queries for each have got."""
    here.require(INVESTIGATOR)
    return _list(here)


@router.post("/take")
def take(here: Here, file: Annotated[UploadFile | None, File()] = None) -> Response:
    """Take in a subject file that a command made."""
    here.require(INVESTIGATOR)
    if file is None or not file.filename:
        return _list(here, Wrong("file", here.text("Choose a subject file.")))
    data = file.file.read(MAX_SUBJECT_BYTES + 1)
    try:
        kept = take_in(here.officer, data, here.keys.sealing)
    except PatientInvalid as error:
        return _list(here, Wrong("file", here.say(words_of(error))))
    return here.to(f"/patients/{kept.id}")


@router.get("/{patient_id}")
def show(here: Here, patient_id: str) -> Response:
    """Show one patient."""
    here.require(INVESTIGATOR)
    return _page(here, _patient(here, patient_id))


@router.get("/{patient_id}/document")
def document(here: Here, patient_id: str) -> Response:
    """Show the scan of the consent."""
    here.require(INVESTIGATOR)
    one = _patient(here, patient_id)
    scan = consent_scan(here.officer, one, here.keys.sealing)
    return Response(scan, media_type=one.document_type, headers=_INLINE)


@router.get("/{patient_id}/photo")
def photo(here: Here, patient_id: str) -> Response:
    """Show the photograph that is held in memory."""
    here.require(INVESTIGATOR)
    held = memory_of(here).shown(patient_id)
    return Response(held, 200 if held else 404, media_type="image/jpeg")


@router.post("/{patient_id}/photo")
def hold_photo(
    here: Here, patient_id: str, photo: Annotated[UploadFile | None, File()] = None
) -> Response:
    """Hold a photograph until the desk locks, to be seen beside stills."""
    here.require(INVESTIGATOR)
    one = _patient(here, patient_id)
    if photo is None or not photo.filename:
        memory_of(here).hide(one.id)
        return here.to(f"/patients/{one.id}")
    looked = helper_of(here).look(photo.file.read(), masked=True)
    if not looked.preview:
        words = here.say(looked.problem) if looked.problem else here.text("This is no picture.")
        return _page(here, one, Wrong("photo", words))
    memory_of(here).show(one.id, looked.preview)
    return here.to(f"/patients/{one.id}")


@router.get("/{patient_id}/sheet")
def sheet(here: Here, patient_id: str) -> Response:
    """Hand out the witness's sheet, which holds no template."""
    here.require(INVESTIGATOR)
    one = _patient(here, patient_id)
    data = read_file(sheet_path(one.path), MAX_SHEET_BYTES)
    name = f"{one.id}.witness"
    return Response(
        data,
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.post("/{patient_id}/sheet")
def sheet_back(
    here: Here, patient_id: str, sheet: Annotated[UploadFile | None, File()] = None
) -> Response:
    """Take the sheet that the witness has signed."""
    here.require(INVESTIGATOR)
    one = _patient(here, patient_id)
    if sheet is None or not sheet.filename:
        return _page(here, one, Wrong("sheet", here.text("Choose the sheet that came back.")))
    try:
        take_sheet(here.officer, one, sheet.file.read(MAX_SHEET_BYTES + 1))
    except PatientInvalid as error:
        return _page(here, one, Wrong("sheet", here.say(words_of(error))))
    return here.to(f"/patients/{one.id}")


@router.get("/{patient_id}/delete")
def ask_delete(here: Here, patient_id: str) -> Response:
    """Say what deleting a patient means."""
    here.require(INVESTIGATOR)
    one = _patient(here, patient_id)
    return here.page("patients/delete.html", title=here.text("Delete"), patient=one)


@router.post("/{patient_id}/delete")
def delete(here: Here, patient_id: str) -> Response:
    """Delete all that is kept of a patient."""
    here.require(INVESTIGATOR)
    one = _patient(here, patient_id)
    forget_patient(one)
    memory_of(here).hide(one.id)
    return here.to("/patients")


def _patient(here: At, patient_id: str) -> Patient:
    return patient(here.officer, patient_id, here.keys.sealing)


def _list(here: At, *wrong: Wrong) -> Response:
    own: dict[str, list[Standing]] = {}
    silent = ""
    try:
        with here.session() as session:
            own = _queries(here, session)
    except OperationError as error:
        silent = here.say(words_of(error))
    kept = drafts(here.officer, here.keys.sealing)
    rows = [
        Row(
            one,
            tuple(draft for draft in kept if one.pseudonym in draft.patients),
            tuple(own.get(one.pseudonym, ())),
        )
        for one in known_patients(here)
    ]
    return here.page(
        "patients/list.html",
        title=here.text("Patients"),
        errors=wrong,
        rows=rows,
        silent=silent,
        witness_needed=here.officer.policy.witnessed_enrolment,
    )


def _queries(here: At, session: Session) -> dict[str, list[Standing]]:
    """Return the officer's own queries by pseudonym: whom they are about stands in our copies."""
    found: dict[str, list[Standing]] = {}
    for one in session.queries():
        if one.requester != session.officer.name:
            continue
        kept = session.officer.kept_query(bytes.fromhex(one.id))
        signed = None if kept is None else parse_signed_query(kept)
        if signed is None or signed.digest.hex() != one.digest:
            continue
        said = standing_of(one, here.officer.name, here.duties, system_ms())
        for subject in Query.parse(signed.payload).subjects:
            found.setdefault(subject.pseudonym, []).append(said)
    return found


def _page(here: At, one: Patient, *wrong: Wrong) -> Response:
    return here.page(
        "patients/patient.html",
        title=here.text("Patient"),
        errors=wrong,
        patient=one,
        photo=bool(memory_of(here).shown(one.id)),
        drafts=[
            draft
            for draft in drafts(here.officer, here.keys.sealing)
            if one.pseudonym in draft.patients
        ],
        witness_needed=here.officer.policy.witnessed_enrolment,
    )
