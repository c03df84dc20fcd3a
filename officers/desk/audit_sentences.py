"""Say what a log's entry tells as one sentence, to be read by people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from officers.desk.audit_words import summary
from officers.desk.phrases import Phrase, listed, nphrase, phrase, span, theirs, together
from officers.desk.query_words import ground_words
from protocol.about_queries import (
    APPROVAL_KIND,
    REFUSAL_KIND,
    WITHDRAWAL_KIND,
    Approval,
    Refusal,
    Withdrawal,
)
from protocol.audit_queries import BAD_BODY, OpenedEntry
from protocol.exports import EXPORT_KIND, Export
from protocol.grant import Scope
from protocol.query import QUERY_KIND, Query
from protocol.results import CONFIRMED, DECISION_KIND, Decision
from protocol.signing import Signed
from protocol.small_cells import LEAST_SHOWN

_NAMED = 4
_SHORT = 8


def sentence_of(item: OpenedEntry) -> str | None:
    """Return what an entry says as a sentence, None if it is not what its kind says."""
    if item.body is None:
        return _SEALED.get(
            item.entry.kind,
            phrase(
                "Something of the kind “{kind}”, in the log of {log}.",
                kind=item.entry.kind,
                log=item.actor,
            ),
        )
    tell = _SENTENCES.get(item.entry.kind)
    try:
        if tell is not None:
            return tell(item.actor, item.body)
    except BAD_BODY:
        return None
    return phrase("{kind}: {words}", kind=item.entry.kind, words=theirs(summary(item)))


_SEALED = {
    "query-filed": phrase("A query was filed; its contents are sealed to others."),
    "approval": phrase("Somebody approved."),
    "approval-refused": phrase("Somebody refused to approve."),
    "withdrawal": phrase("Somebody withdrew."),
    "decision": phrase("Somebody decided on a candidate."),
    "result-read": phrase("Somebody read the results."),
    "exported": phrase("Somebody exported."),
}


def _filed(_actor: str, body: Mapping[str, Any]) -> Phrase:
    signed = Signed.parse(body["query"], kind=QUERY_KIND)
    query = Query.parse(signed.payload)
    consents = [theirs(subject.consent_reference) for subject in query.subjects]
    return together(
        [
            phrase("{officer} asked: “{purpose}”.", officer=signed.signer,
                   purpose=theirs(query.purpose)),
            nphrase("{n:,} camera, {span}.", "{n:,} cameras, {span}.", len(query.cameras),
                    span=span(query.window_from_ms, query.window_to_ms)),
            phrase("Legal ground: {ground}, {references}.", ground=ground_words(query.legal_basis),
                   references=_some(consents)),
        ],
        " ",
    )  # fmt: skip


def _approved(_actor: str, body: Mapping[str, Any]) -> Phrase:
    signed = Signed.parse(body["approval"], kind=APPROVAL_KIND)
    Approval.parse(signed.payload)
    return phrase("{officer} approved.", officer=signed.signer)


def _withdrew(_actor: str, body: Mapping[str, Any]) -> Phrase:
    signed = Signed.parse(body["withdrawal"], kind=WITHDRAWAL_KIND)
    content = Withdrawal.parse(signed.payload)
    return phrase(
        "{officer} withdrew: “{reason}”.", officer=signed.signer, reason=theirs(content.reason)
    )


def _refused_to_approve(_actor: str, body: Mapping[str, Any]) -> Phrase:
    signed = Signed.parse(body["refusal"], kind=REFUSAL_KIND)
    content = Refusal.parse(signed.payload)
    return phrase(
        "{officer} refused to approve: “{reason}”.",
        officer=signed.signer,
        reason=theirs(content.reason),
    )


def _asked_still(_actor: str, body: Mapping[str, Any]) -> Phrase:
    return nphrase(
        "{officer} asked {box} for {n:,} still.",
        "{officer} asked {box} for {n:,} stills.",
        int(body["stills"]),
        officer=theirs(str(body["officer"])),
        box=theirs(str(body["box"])),
    )


def _answered_still(_actor: str, body: Mapping[str, Any]) -> Phrase:
    sent = nphrase(
        "So far stills of {n:,} sighting were sent.",
        "So far stills of {n:,} sightings were sent.",
        int(body["sent"]),
    )
    if body["outcome"] == "sent":
        first = phrase(
            "{box} sent {officer} a still.",
            box=theirs(str(body["box"])),
            officer=theirs(str(body["officer"])),
        )
    else:
        first = phrase(
            "{box} sent {officer} no still ({reason}).",
            box=theirs(str(body["box"])),
            officer=theirs(str(body["officer"])),
            reason=theirs(str(body["reason"] or body["outcome"])),
        )
    return together([first, sent], " ")


def _granted(actor: str, body: Mapping[str, Any]) -> Phrase:
    slots, cameras = _given(body)
    gave = nphrase(
        "{name} gave {n:,} quarter hour of {cameras}.",
        "{name} gave {n:,} quarter hours of {cameras}.",
        slots,
        name=actor,
        cameras=cameras,
    )
    refused = len(body["refused"])
    if not refused:
        return gave
    rest = nphrase("It refused {n:,} camera's day.", "It refused {n:,} days of cameras.", refused)
    return together([gave, rest], " ")


def _received(_actor: str, body: Mapping[str, Any]) -> Phrase:
    slots, cameras = _given(body)
    return nphrase(
        "The aggregator says that {name} gave {n:,} quarter hour of {cameras}.",
        "The aggregator says that {name} gave {n:,} quarter hours of {cameras}.",
        slots,
        name=theirs(str(body["custodian"])),
        cameras=cameras,
    )


def _given(body: Mapping[str, Any]) -> tuple[int, Phrase]:
    """Return for how many quarter hours keys were given, and of which cameras."""
    scopes = [Scope.from_value(value) for value in body["scopes"]]
    slots = sum(scope.last_slot - scope.first_slot + 1 for scope in scopes)
    return slots, _some(sorted({scope.address.camera for scope in scopes}))


def _matched(_actor: str, body: Mapping[str, Any]) -> Phrase:
    found = nphrase("{n:,} candidate found.", "{n:,} candidates found.", int(body["candidates"]))
    compared = int(body["sightings"])
    if compared < LEAST_SHOWN:
        before: Phrase = phrase("Fewer than {least} sightings were compared.", least=LEAST_SHOWN)
    else:
        before = nphrase("{n:,} sighting was compared.", "{n:,} sightings were compared.", compared)
    return together([before, found], " ")


def _rows(actor: str, body: Mapping[str, Any]) -> Phrase:
    return together(
        [
            nphrase("{name} opened {n:,} sighting by itself.",
                    "{name} opened {n:,} sightings one by one.", int(body["rows"]), name=actor),
            nphrase("In all {n:,} of this query.", "In all {n:,} of this query.",
                    int(body["total"])),
        ],
        " ",
    )  # fmt: skip


def _stills(actor: str, body: Mapping[str, Any]) -> Phrase:
    return nphrase(
        "{name} opened {n:,} still for {officers}; {asker} asked for it.",
        "{name} opened {n:,} stills for {officers}; {asker} asked for them.",
        int(body["stills"]),
        name=actor,
        officers=_some([theirs(str(officer)) for officer in body["officers"]]),
        asker=theirs(str(body["asked_by"])),
    )


def _opened(_actor: str, body: Mapping[str, Any]) -> Phrase:
    return together(
        [
            nphrase("The aggregator took {n:,} opened sighting.",
                    "The aggregator took {n:,} opened sightings.", int(body["rows"])),
            nphrase("{n:,} candidate found.", "{n:,} candidates found.", int(body["candidates"])),
        ],
        " ",
    )  # fmt: skip


def _linked(_actor: str, body: Mapping[str, Any]) -> Phrase:
    pairs = int(body["pairs"])
    return nphrase(
        "People who were near were compared with one another, in {n:,} pair.",
        "People who were near were compared with one another, in {n:,} pairs.",
        pairs,
    )


def _decided(_actor: str, body: Mapping[str, Any]) -> Phrase:
    signed = Signed.parse(body["decision"], kind=DECISION_KIND)
    content = Decision.parse(signed.payload)
    candidate = content.candidate_id.hex()[:_SHORT]
    if content.verdict == CONFIRMED:
        return phrase("{officer} confirmed candidate {candidate}.", officer=signed.signer,
                      candidate=candidate)  # fmt: skip
    return phrase("{officer} rejected candidate {candidate}.", officer=signed.signer,
                  candidate=candidate)  # fmt: skip


def _read(_actor: str, body: Mapping[str, Any]) -> Phrase:
    return phrase("{officer} read the results.", officer=theirs(str(body["reader"])))


def _exported(_actor: str, body: Mapping[str, Any]) -> Phrase:
    signed = Signed.parse(body["export"], kind=EXPORT_KIND)
    content = Export.parse(signed.payload)
    return nphrase(
        "{officer} wrote {n:,} file of the form “{form}”.",
        "{officer} wrote {n:,} files of the form “{form}”.",
        len(content.files),
        officer=signed.signer,
        form=theirs(content.form),
    )


def _refused(actor: str, body: Mapping[str, Any]) -> Phrase:
    return phrase("{name} refused: “{reason}”.", name=actor, reason=theirs(str(body["reason"])))


_SENTENCES: dict[str, Callable[[str, Mapping[str, Any]], Phrase]] = {
    "query-filed": _filed,
    "approval": _approved,
    "approval-refused": _refused_to_approve,
    "withdrawal": _withdrew,
    "still-asked": _asked_still,
    "still-answered": _answered_still,
    "grant": _granted,
    "grant-received": _received,
    "match": _matched,
    "rows": _rows,
    "evidence": _stills,
    "opened-rows": _opened,
    "linked-contacts": _linked,
    "decision": _decided,
    "result-read": _read,
    "exported": _exported,
    "refusal": _refused,
}


def _some(names: Sequence[str]) -> Phrase:
    """Return a few names in a row, and how many more there are."""
    if len(names) <= _NAMED:
        return listed(names)
    rest = len(names) - _NAMED
    return nphrase("{names} and {n:,} more", "{names} and {n:,} more", rest,
                   names=listed(names[:_NAMED], ""))  # fmt: skip
