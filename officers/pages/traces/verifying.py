"""`/reports/verify`: whether a report that somebody handed over is what was signed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, File, UploadFile
from starlette.responses import Response

from officers.desk.phrases import words_of
from officers.desk.report.verifying import FileAltered, Verified, verify_content
from officers.pages.at import At, Wrong, at

router = APIRouter()
Here = Annotated[At, Depends(at)]
MOST_BYTES = 64 << 20
"""Of a report and its signature, as they are sent by the browser."""
_LONGEST_NAME = 120


@router.get("/reports/verify")
def choose(here: Here) -> Response:
    """Ask for the files."""
    return _page(here)


@router.post("/reports/verify")
def verify(
    here: Here,
    file: Annotated[UploadFile | None, File()] = None,
    signature: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Check a file against the signature beside it."""
    wrong = []
    content = b"" if file is None else file.file.read()
    data = b"" if signature is None else signature.file.read()
    if not content:
        wrong.append(Wrong("file", here.text("Choose the PDF or the HTML.")))
    if not data:
        wrong.append(
            Wrong("signature", here.text("Choose the signature, a file that ends in .sig."))
        )
    if wrong:
        return _page(here, wrong=wrong)
    names = (_name(file), _name(signature))
    try:
        found = verify_content(content, data, here.officer.directory, names=names)
    except FileAltered as error:
        return _page(here, wrong=[Wrong("file", here.say(words_of(error)))])
    return _page(here, found=found, name=names[0])


def _page(
    here: At, *, wrong: list[Wrong] | None = None, found: Verified | None = None, name: str = ""
) -> Response:
    return here.page(
        "traces/verify.html",
        errors=wrong or (),
        title=here.text("Check a report"),
        found=found,
        name=name,
    )


def _name(file: UploadFile | None) -> str:
    return "" if file is None else (file.filename or "?")[:_LONGEST_NAME]
