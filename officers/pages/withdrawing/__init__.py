"""Withdraw a query or an approval: its own page, with the consequence, the reason and receipts."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Depends, Form
from starlette.responses import Response

from officers import desk
from officers.desk.phrases import words_of
from officers.desk.wording import short_id
from officers.pages.at import At, Wrong, at
from protocol.signing import Signed

router = APIRouter()
Here = Annotated[At, Depends(at)]


@dataclass(frozen=True, slots=True)
class Done:
    """A withdrawal that was signed, and who has it."""

    found: desk.Withdrawable
    signed: Signed
    outcome: desk.Outcome


@dataclass
class Withdrawals:
    """The withdrawals of this session by query: memory alone, for who missed one."""

    _done: dict[str, Done] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, done: Done) -> None:
        """Keep one."""
        with self._lock:
            self._done[done.found.case.id] = done

    def get(self, query_id: str) -> Done | None:
        """Return one."""
        with self._lock:
            return self._done.get(query_id)

    def forget(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._done.clear()


@router.get("/queries/{query_id}/withdraw")
def withdraw(query_id: str, here: Here) -> Response:
    """Show what a withdrawal takes back, and what it does not."""
    found = _found(here, query_id)
    if _kept(here).get(found.case.id):
        return here.to(f"/queries/{found.case.id}/withdrawn")
    return _page(here, found)


@router.post("/queries/{query_id}/withdraw")
def sign(
    query_id: str,
    here: Here,
    shown: Annotated[str, Form(max_length=128)] = "",
    reason: Annotated[str, Form(max_length=20_000)] = "",
) -> Response:
    """Go and sign the withdrawal."""
    found = _found(here, query_id)
    if found.case.digest.hex() != shown:
        here.notice(
            here.text("The query is another one than was shown: read it again."), warning=True
        )
        return _page(here, found, given=reason)
    try:
        unsigned = desk.to_withdraw(here.officer, found, reason)
    except desk.ReasonInvalid as error:
        return _page(here, found, Wrong("reason", here.say(words_of(error))), reason)
    officer, kept = here.officer, _kept(here)

    def hand_in(signed: Signed) -> str:
        kept.put(Done(found, signed, desk.withdraw(officer, found, signed)))
        return f"/queries/{found.case.id}/withdrawn"

    what = (
        here.text("I withdraw query {id}, for good.", id=short_id(found.case.id))
        if found.own
        else here.text(
            "I withdraw my approval of query {id}, for good.", id=short_id(found.case.id)
        )
    )
    return here.ask_signature(
        unsigned,
        statement=[
            what,
            here.text("My reason: “{reason}”", reason=desk.reason_of(reason)),
            here.text("What was opened stays known."),
        ],
        then=hand_in,
        back=f"/queries/{found.case.id}/withdraw",
    )


@router.get("/queries/{query_id}/withdrawn")
def withdrawn(query_id: str, here: Here) -> Response:
    """Show who has the withdrawal."""
    done = _kept(here).get(query_id)
    if done is None:
        return here.to(f"/queries/{query_id}")
    return here.page(
        "withdrawing/withdrawn.html",
        title=here.text("Withdrawn {id}", id=short_id(query_id)),
        case=done.found.case,
        short=short_id(query_id),
        own=done.found.own,
        outcome=done.outcome,
    )


@router.post("/queries/{query_id}/withdrawn")
def again(query_id: str, here: Here) -> Response:
    """Hand the same withdrawal in again, to those who missed it too; nothing is signed anew."""
    kept = _kept(here)
    done = kept.get(query_id)
    if done is None:
        return here.to(f"/queries/{query_id}/withdraw")
    outcome = desk.withdraw(here.officer, done.found, done.signed)
    kept.put(Done(done.found, done.signed, outcome))
    return here.to(f"/queries/{query_id}/withdrawn")


def _found(here: At, query_id: str) -> desk.Withdrawable:
    return desk.find_withdrawable(
        here.officer, query_id, lambda one: here.notice(one.text, warning=one.warning)
    )


def _kept(here: At) -> Withdrawals:
    return here.house.kept("withdrawals", Withdrawals)


def _page(
    here: At, found: desk.Withdrawable, wrong: Wrong | None = None, given: str = ""
) -> Response:
    return here.page(
        "withdrawing/withdraw.html",
        errors=[] if wrong is None else [wrong],
        title=here.text("Withdraw {id}", id=short_id(found.case.id)),
        found=found,
        case=found.case,
        short=short_id(found.case.id),
        given=given,
    )
