"""A page on which a document of consent is held against the query that rests on it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, File, UploadFile
from starlette.responses import Response

from officers.desk.consent_documents import (
    AnotherDocument,
    NamedDocument,
    hold_against,
    named_documents,
)
from officers.desk.phrases import words_of
from officers.desk.wording import short_id
from officers.pages.at import At, Wrong, at
from runtime.clock import system_ms
from runtime.text import harmless

router = APIRouter(prefix="/documents/{query_id}")
Here = Annotated[At, Depends(at)]
_MAX_NAME = 80


@router.get("")
def ask(query_id: str, here: Here) -> Response:
    """Show which documents a query names, and ask for the one at hand."""
    return _page(here, query_id)


@router.post("")
def hold(
    query_id: str, here: Here, document: Annotated[UploadFile | None, File()] = None
) -> Response:
    """Say of which subject the document is the consent; it is read in memory and dropped."""
    if document is None or not document.filename:
        return _page(here, query_id, wrong=here.text("Choose the document."))
    return _page(here, query_id, document.file.read(), harmless(document.filename)[:_MAX_NAME])


def _page(
    here: At, query_id: str, content: bytes | None = None, name: str = "", *, wrong: str = ""
) -> Response:
    with here.session() as session:
        case = session.case(query_id)
    documents = named_documents(
        case.query, case.requester, here.officer.directory, now_ms=system_ms()
    )
    found: tuple[NamedDocument, ...] = ()
    if content is not None:
        try:
            found = hold_against(documents, content)
        except AnotherDocument as error:
            wrong = here.say(words_of(error))
    return here.page(
        "cases/document.html",
        title=here.text("Document of {id}", id=short_id(case.id)),
        errors=[Wrong("document", wrong)] if wrong else [],
        case=case,
        short=short_id(case.id),
        documents=documents,
        found=found,
        name=name,
    )
