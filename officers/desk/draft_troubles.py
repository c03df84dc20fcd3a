"""Whether a draft makes a query yet, step by step: what is wrong is said of the field it is in.

What is said here is said early and kindly. Whether it is a query at all is for `draft` to say,
which goes by the same policy as the custodians do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from officers.desk.by_clothes import EXAMPLE, clothes_offers
from officers.desk.choosing import cameras_known, few
from officers.desk.draft_window import StepWrong, Trouble, window_of
from officers.desk.drafting import DAY_MS
from officers.desk.drafts import SavedDraft
from officers.desk.moments import to_milliseconds
from officers.desk.offers import COUNTS, STILLS, offers
from officers.desk.officer import Officer
from officers.desk.options import afterwards_minutes
from officers.desk.patients import Patient
from officers.desk.phrases import Phrase, duration, nphrase, phrase, theirs
from protocol.directory import INVESTIGATOR
from protocol.displaynames import display_name
from protocol.errors import MalformedMessage
from protocol.policy import CONSENT, NO_CONTACTS, Policy
from protocol.query import MAX_EXAMPLES
from runtime.errors import OperationError

_MAX_PURPOSE = 2000
_HOUR_MS = 3_600_000


def troubles(
    officer: Officer, draft: SavedDraft, known: Sequence[Patient], *, now: datetime
) -> tuple[Trouble, ...]:
    """Return what keeps a draft from being a query, in the order of the steps.

    Args:
        officer: the investigator.
        draft: as it is kept.
        known: the patients who are enrolled here.
        now: the present, aware.
    """
    return (
        *_who(officer.policy, draft, known),
        *_where(officer, draft),
        *_when(officer, draft, now),
        *_why(officer, draft),
    )


def _who(policy: Policy, draft: SavedDraft, known: Sequence[Patient]) -> list[Trouble]:
    found: list[Trouble] = []

    def wrong(words: Phrase) -> None:
        found.append(Trouble("who", "patients", words))

    held = {one.pseudonym: one for one in known}
    if not (draft.patients or draft.examples):
        wrong(phrase("Choose whom to look for."))
    if draft.examples:
        _examples(policy, draft, wrong)
    chosen = [held[name] for name in draft.patients if name in held]
    described = [one for one in chosen if one.file.words]
    if described and (len(described) < len(chosen) or draft.examples):
        wrong(
            phrase(
                "{name} is described in words, which nothing else can be compared beside: make a "
                "draft of its own.",
                name=theirs(described[0].pseudonym),
            )
        )
    if len(draft.patients) > policy.max_subjects:
        wrong(
            nphrase(
                "The policy has one query look for at most {n} patient.",
                "The policy has one query look for at most {n} patients.",
                policy.max_subjects,
            )
        )
    for name in draft.patients:
        if name not in held:
            words = phrase("{name} is not enrolled here any more; choose anew.", name=theirs(name))
            wrong(words)
        elif policy.witnessed_enrolment and held[name].witnessed.kind != "signed":
            words = phrase(
                "The policy asks for a witness of the enrolment of {name}: {state}.",
                name=theirs(name),
                state=held[name].witnessed.words,
            )
            wrong(words)
        elif (
            policy.consent_documents
            and draft.legal_basis == CONSENT
            and not held[name].file.consent_document
        ):
            words = phrase(
                "The policy asks that a query on consent name the document, and {name} was "
                "enrolled without one: enrol anew with the scan.",
                name=theirs(name),
            )
            wrong(words)
    return found


def _examples(policy: Policy, draft: SavedDraft, wrong: Callable[[Phrase], None]) -> None:
    """Say why sightings cannot be looked for by their clothes."""
    forbidden = clothes_offers(policy)[EXAMPLE].why_not
    if forbidden is not None:
        wrong(phrase("No sighting can be an example: {why}.", why=forbidden))
    if len(draft.patients) > 1:
        wrong(phrase("Sightings are of one person: choose one patient with them, or none."))
    if len(draft.examples) > MAX_EXAMPLES:
        wrong(phrase("A query names at most {most} sightings.", most=MAX_EXAMPLES))


def _where(officer: Officer, draft: SavedDraft) -> list[Trouble]:
    found: list[Trouble] = []

    def wrong(words: Phrase) -> None:
        found.append(Trouble("where", "cameras", words))

    policy = officer.policy
    if not draft.cameras:
        wrong(phrase("Choose at least one camera."))
    if gone := sorted(set(draft.cameras) - set(cameras_known(officer.directory)[0])):
        wrong(phrase("The site knows no camera {names} any more.", names=theirs(few(gone))))
    if len(draft.cameras) > policy.max_cameras:
        wrong(phrase("The policy permits at most {most} cameras.", most=policy.max_cameras))
    if draft.continuation and len(draft.cameras) > policy.permits.continuation_cameras > 0:
        wrong(
            phrase(
                "To follow by clothes the policy permits at most {most} cameras.",
                most=policy.permits.continuation_cameras,
            )
        )
    return found


def _when(officer: Officer, draft: SavedDraft, now: datetime) -> list[Trouble]:
    try:
        window = window_of(officer, draft, now=now)
    except StepWrong as error:
        return [error.trouble]
    policy, now_ms = officer.policy, to_milliseconds(now)
    found: list[Trouble] = []

    def wrong(field: str, words: Phrase) -> None:
        found.append(Trouble("when", field, words))

    if window.window_to_ms - window.window_from_ms > policy.max_window_hours * _HOUR_MS:
        longest = duration(policy.max_window_hours * 3600)
        wrong("to_day", phrase("The policy permits windows of {longest}.", longest=longest))
    if draft.live and not (policy.permits.live and policy.max_live_hours):
        wrong("live", phrase("The policy permits no live watch."))
    ahead_ms = window.window_to_ms - max(now_ms, window.window_from_ms)
    if ahead_ms > policy.max_live_hours * _HOUR_MS:
        longest = duration(policy.max_live_hours * 3600)
        words = phrase("The policy permits no more than {longest} ahead of now.", longest=longest)
        wrong("to_day", words)
    if window.window_to_ms <= now_ms - policy.retention_days * DAY_MS:
        words = nphrase(
            "All of it is older than the {n} day that the site keeps: nothing is left to open.",
            "All of it is older than the {n} days that the site keeps: nothing is left to open.",
            policy.retention_days,
        )
        wrong("from_day", words)
    return found


def _why(officer: Officer, draft: SavedDraft) -> list[Trouble]:
    found: list[Trouble] = []
    policy = officer.policy

    def wrong(field: str, words: Phrase) -> None:
        found.append(Trouble("why", field, words))

    try:
        display_name(draft.purpose, what="purpose", max_length=_MAX_PURPOSE)
    except MalformedMessage:
        words = phrase(
            "Say in words why: approvers and auditors read it (1 to {most} characters, one line).",
            most=_MAX_PURPOSE,
        )
        wrong("purpose", words)
    kinds = policy.purposes
    left_out = not draft.purpose_kind and kinds is not None and len(kinds) == 1
    if kinds is not None and draft.purpose_kind not in kinds and not left_out:
        wrong("purpose_kind", phrase("Choose which of the policy's purposes it serves."))
    if draft.legal_basis not in policy.bases:
        wrong("legal_basis", phrase("Choose a legal ground that the policy knows."))
    return found + _confirmers(officer, draft) + _options(policy, draft)


def _confirmers(officer: Officer, draft: SavedDraft) -> list[Trouble]:
    found: list[Trouble] = []
    policy = officer.policy
    missing = policy.confirmations - 1 - len(draft.confirmers)
    if policy.schema > 1 and missing > 0:
        words = nphrase(
            "The policy has several officers confirm each hit: name {n} more.",
            "The policy has several officers confirm each hit: name {n} more.",
            missing,
        )
        found.append(Trouble("why", "confirmers", words))
    able = {one.name for one in officer.directory.with_duty(INVESTIGATOR)} - {officer.name}
    if strangers := sorted(set(draft.confirmers) - able):
        words = phrase(
            "{names} cannot confirm hits here any more; choose others.",
            names=theirs(few(strangers)),
        )
        found.append(Trouble("why", "confirmers", words))
    return found


def _options(policy: Policy, draft: SavedDraft) -> list[Trouble]:
    found: list[Trouble] = []

    def wrong(field: str, words: Phrase) -> None:
        found.append(Trouble("why", field, words))

    held = offers(policy)
    if draft.contacts not in {"", NO_CONTACTS} and (
        draft.contacts not in held or held[draft.contacts].why_not is not None
    ):
        wrong("contacts", phrase("The policy does not permit to ask so much of contacts."))
    if draft.continuation and held["continuation"].why_not is not None:
        wrong("continuation", phrase("The policy permits nobody to be followed by clothes."))
    if draft.counts and held[COUNTS].why_not is not None:
        wrong("counts", phrase("The policy does not permit to count people."))
    if draft.counts == "after":
        try:
            afterwards_minutes(draft.afterwards or "none")
        except OperationError:
            wrong("afterwards", phrase("Give whole quarter hours up to a day, such as 45m or 3h."))
    for field, text, most in (
        ("stills", draft.stills, held[STILLS].most),
        ("valid_days", draft.valid_days, policy.max_query_days),
        ("max_candidates", draft.max_candidates, policy.max_candidates),
    ):
        least = 0 if field == "stills" else 1
        if text and not (text.isascii() and text.isdecimal() and least <= int(text[:9]) <= most):
            words = phrase("Give a whole number from {least} to {most}.", least=least, most=most)
            wrong(field, words)
    return found
