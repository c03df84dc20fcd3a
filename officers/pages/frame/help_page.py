"""Help: keys, what states mean, whose word a figure is, and words in both languages."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from officers.pages.at import At, at

router = APIRouter()

GLOSSARY = (
    ("sighting", "포착 기록"),
    ("candidate", "후보"),
    ("hit", "확정 포착"),
    ("trace", "이동경로"),
    ("contact", "접촉자"),
    ("coverage", "관측 범위"),
    ("blind", "관측 공백"),
    ("custodian", "키 보관기관"),
    ("approval", "승인"),
    ("grant", "키 제공"),
    ("query", "추적 요청"),
    ("withdrawn", "철회됨"),
    ("refused", "거부됨"),
    ("rejected", "동일인 아님"),
    ("threshold", "기준 점수"),
    ("blocked", "보류됨"),
    ("likelihood ratio", "우도비"),
)
"""Words of the desk, English and Korean."""


@router.get("/help")
def show(here: Annotated[At, Depends(at)]) -> Response:
    """Show the help."""
    meanings = {
        "sighting": here.text("One person seen by one camera for a while, sealed on the board."),
        "candidate": here.text("A sighting that resembles the patient enough to be looked at."),
        "hit": here.text("A candidate that officers confirmed by signature."),
        "trace": here.text("The hits of one patient in order of time."),
        "contact": here.text("Somebody who was near the patient; a number, never a name."),
        "coverage": here.text("Which cameras watched when, as far as boxes told."),
        "blind": here.text("Asked for, but nothing was watched: no proof of absence."),
        "custodian": here.text("An office that holds one share of each day's keys."),
        "approval": here.text("An officer's signature that lets a query open what it asks."),
        "grant": here.text("The keys of the approved cameras and quarter hours, no others."),
        "query": here.text("A signed request to look for a patient."),
        "withdrawn": here.text("Stopped for good; what was opened stays known."),
        "refused": here.text("An approver or a custodian said no."),
        "rejected": here.text("An officer signed that a candidate is somebody else."),
        "threshold": here.text("How alike a sighting must be to become a candidate."),
        "blocked": here.text("Waits for a custodian that is silent or refuses."),
        "likelihood ratio": here.text(
            "How much more often such likeness is seen of one person than of two."
        ),
    }
    rows = [(english, korean, meanings[english]) for english, korean in GLOSSARY]
    states = [
        ("waiting", here.text("waiting"), here.text("Somebody has to act first.")),
        ("running", here.text("running"), here.text("It goes on by itself.")),
        ("blocked", here.text("blocked"), here.text("It waits for something that fails.")),
        ("confirmed", here.text("confirmed"), here.text("Signed, or complete.")),
        ("rejected", here.text("rejected"), here.text("Somebody else, or ended without result.")),
        ("refused", here.text("refused"), here.text("Somebody said no.")),
    ]
    return here.page("frame/help.html", title=here.text("Help"), glossary=rows, states=states)
