"""Draft a query: who, where, when, how, why, and all that it would open, to read before signing.

Nothing is signed or sent here, but for questions to the aggregator how much there is.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from officers.desk.api_client import Estimate
from officers.desk.by_example import Shown, check_shown, modalities_shown
from officers.desk.by_words import (
    WORDS_NOTICE,
    check_by_words,
    expected_by_words,
    thresholds_by_words,
)
from officers.desk.camera_places import kept_register
from officers.desk.draft_subjects import subjects_asked, with_witnesses
from officers.desk.earlier_queries import reused_notices
from officers.desk.facts import Fact, estimate_facts, policy_facts, query_facts
from officers.desk.following import modalities_with, thresholds_of_following
from officers.desk.notices import Kept, Notice
from officers.desk.option_labels import PURPOSE, THRESHOLD, VALID_DAYS
from officers.desk.options import (
    FIRST_FORM,
    check_confirmers,
    form_of,
    linking_notices,
    purpose_kind_of,
)
from officers.desk.phrases import phrase, words_of
from officers.desk.scoping import Scope, estimate
from officers.desk.session import Session
from officers.desk.subjects import (
    DraftInvalid,
    OpenedSubject,
    check_one_person_each,
    modalities_of,
    models_of,
    opened_subjects,
)
from officers.desk.unwatched import Unwatched, unwatched_fact
from protocol import hpke
from protocol.authorization import check_people, check_policy
from protocol.directory import APPROVER, INVESTIGATOR
from protocol.displaynames import display_name
from protocol.errors import MalformedMessage
from protocol.policy import CONSENT, NO_CONTACTS, Policy
from protocol.query import ID_BYTES, Asked, Query, Subject
from runtime.bundle import load_bundle
from runtime.clock import system_ms
from runtime.officer import OfficerConfig

DAY_MS = 86_400_000
DEFAULT_VALID_DAYS = 7
DEFAULT_CANDIDATES = 100
_MAX_PURPOSE = 2000
_NOT_MEASURED = Notice(
    phrase(
        "false matches of these models are not measured here: the query states the worst case, "
        "every sighting in scope"
    ),
    warning=True,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What an investigator asks for.

    Without ``modalities`` what is compared is what the subject files hold and the legal basis
    permits, clothes only where nothing else is; a threshold, number of candidates or of days that
    is None is the default. Contacts that are None are asked for as far as the policy permits.

    Args:
        purpose_kind: which of the policy's purposes it serves; empty if the policy has one alone,
            or no list.
        confirmers: investigators besides to whom results are sealed, and who confirm hits too; as
            many as the policy's confirmations take, or more.
        asks: for what besides comparing.
        shown: earlier sightings of the subject, in place of photographs or besides.
    """

    scope: Scope
    subjects: tuple[Path, ...]
    purpose: str
    legal_basis: str = CONSENT
    modalities: tuple[str, ...] = ()
    threshold: float | None = None
    live: bool = False
    contacts: bool | None = None
    max_candidates: int | None = None
    valid_days: int | None = None
    purpose_kind: str = ""
    confirmers: tuple[str, ...] = ()
    asks: Asked = field(default_factory=Asked)
    shown: Shown = field(default_factory=Shown)


@dataclass(frozen=True, slots=True)
class Draft:
    """A query as it would be signed, with the subjects' templates in the clear: close it after use.

    ``facts`` is what to read before signing, ``approvers`` who may approve it, ``unwatched`` what
    is known of hours in which its cameras saw nothing.
    """

    query: Query
    subjects: tuple[OpenedSubject, ...] = field(repr=False)
    estimate: Estimate
    facts: tuple[Fact, ...]
    notices: tuple[Notice, ...]
    approvers: tuple[str, ...]
    unwatched: Unwatched | None
    _opened: ExitStack = field(repr=False, compare=False)

    def close(self) -> None:
        """Wipe the templates; nothing can be filed any more."""
        self._opened.close()


def draft(session: Session, request: Request, sealing: hpke.PrivateKey) -> Draft:
    """Open the subject files and make the query that would be signed; use it in `closing`.

    Args:
        session: an investigator's.
        request: what is asked for.
        sealing: the investigator's key, that opens the subject files.

    Raises:
        OfficerError: the officer is no investigator.
        DraftInvalid: a subject file does not open, or what is asked for does not make a query.
        NotAuthorized: the policy would refuse it whoever approved: for the lack of a witness, too.
        BundleError: the officer's bundle is needed and cannot be used.
        OperationError: the aggregator gives no estimate.
    """
    me = session.officer
    me.require(INVESTIGATOR)
    policy, tell, now_ms = me.policy, Kept(session.tell), system_ms()
    check_shown(request.shown, len(request.subjects), policy)
    check_confirmers(request.confirmers, policy, requester=me.name, directory=me.directory)
    purpose_kind = purpose_kind_of(request.purpose_kind, policy)
    with ExitStack() as opening:
        subjects = opening.enter_context(opened_subjects(request.subjects, sealing))
        modalities = _modalities(request, subjects, policy)
        for notice in linking_notices(request.asks, modalities):
            tell(notice)
        check_one_person_each(subjects, modalities, me.config)
        models = models_of(subjects, modalities)
        asked = {} if request.threshold is None else dict.fromkeys(models, request.threshold)
        count = sum(len(subject.of(modalities)) for subject in subjects)
        count += len(request.shown.examples)
        followed = thresholds_of_following(request.asks, models, policy, me.config)
        first = estimate(
            session, request.scope, asked, templates=count, subjects=max(1, len(subjects))
        )
        by_words = check_by_words(
            subjects, modalities, request.asks, policy, examples=bool(request.shown.examples)
        )
        if by_words:
            tell(WORDS_NOTICE)
            thresholds = thresholds_by_words(models, request.threshold, policy, me.config)
        else:
            thresholds = thresholds_for(
                models,
                request.threshold,
                defaults=first.default_thresholds,
                floors=policy.threshold_floor,
                config=me.config,
            )
        if request.shown.examples:
            thresholds = (
                request.shown.thresholds(request.threshold, policy, modalities) | thresholds
            )
        if request.threshold is None and not by_words:
            for notice in raised_notices(first, thresholds, policy):
                tell(notice)
        counted = estimate(session, request.scope, thresholds, templates=count)
        thresholds = followed | thresholds
        expected_false = counted.expected_false
        if by_words:  # what the aggregator counts is of people who were seen
            expected_false = expected_by_words(counted.sightings, count, thresholds, me.config)
        elif expected_false is None:  # the worst case
            tell(_NOT_MEASURED)
            expected_false = float(counted.sightings * count)
        query = _query(
            request,
            subjects_asked(request.shown, subjects, modalities, documents=policy.consent_documents),
            modalities=modalities_with(request.asks, modalities),
            thresholds=thresholds,
            policy=policy,
            purpose_kind=purpose_kind,
            expected_false=expected_false,
            now_ms=now_ms,
        )
        if query.version > FIRST_FORM and request.subjects:
            query = with_witnesses(query, request.subjects, me, tell)
        for notice in reused_notices(me, query):
            tell(notice)
        check_policy(query, policy, now_ms=now_ms)
        check_people(query, me.name, me.directory, policy, now_ms=now_ms)
        facts = (
            *query_facts(
                query, me.name, me.directory, policy, now_ms=now_ms, places=kept_register(me)
            ),
            *estimate_facts(query, counted, now_ms=system_ms()),
            *policy_facts(query, policy, ""),
        )
        gaps, missed = unwatched_fact(
            session, query.cameras, query.window_from_ms, query.window_to_ms, now_ms=now_ms
        )
        if gaps is not None:
            facts = (*facts, gaps)
        approvers = tuple(p.name for p in me.directory.with_duty(APPROVER) if p.name != me.name)
        return Draft(
            query,
            tuple(subjects),
            counted,
            facts,
            (*request.scope.notices, *tell.all),
            approvers,
            missed,
            opening.pop_all(),
        )


def raised_notices(
    counted: Estimate, thresholds: Mapping[str, float], policy: Policy
) -> list[Notice]:
    """Say which default thresholds were raised for the size of what is asked for."""
    told = []
    for model, threshold in thresholds.items():
        if model not in counted.raised:
            continue
        why = phrase(
            "the threshold for {model} is raised to {threshold:.3g}: so much is in scope that "
            "more than {expected_false} strangers a subject would be expected below it",
            model=model,
            threshold=threshold,
            expected_false=policy.expected_false,
        )
        if model in counted.beyond_counts:
            why = phrase(
                "{why}. Too few strangers were ever compared to count how many reach it: what is "
                "expected is an upper bound",
                why=why,
            )
        told.append(Notice(why))
    return told


def thresholds_for(
    models: Sequence[str],
    asked: float | None,
    *,
    defaults: Mapping[str, float],
    floors: Mapping[str, float],
    config: OfficerConfig,
) -> dict[str, float]:
    """Return each model's threshold: as asked, else the aggregator's, else the bundle's default.

    A default is raised to the policy's floor; what was asked for is not, so that it is refused.

    Raises:
        DraftInvalid: there is no default for a model.
        BundleError: the officer's bundle is needed and cannot be used.
    """
    if asked is not None:
        return dict.fromkeys(models, asked)
    known = dict(defaults)
    if not set(models) <= set(known) and config.bundle is not None:
        bundle = load_bundle(config.bundle, config.bundle_signers, roles=())
        for entry in bundle.manifest.models:
            if entry.threshold is not None:
                known.setdefault(entry.model_id, entry.threshold)
    missing = [model for model in models if model not in known]
    if missing:
        raise DraftInvalid(
            phrase(
                "no default threshold is known for model {missing}: the subject was enrolled with "
                "another model than the site runs. Enrol anew with the site's bundle, or give "
                "{threshold_field}",
                missing=missing[0],
                threshold_field=THRESHOLD,
            )
        )
    return {model: max(known[model], floors.get(model, -1.0)) for model in models}


def _query(
    request: Request,
    subjects: Sequence[Subject],
    *,
    modalities: tuple[str, ...],
    thresholds: Mapping[str, float],
    policy: Policy,
    purpose_kind: str,
    expected_false: float,
    now_ms: int,
) -> Query:
    """Return the query that would be signed.

    Raises:
        DraftInvalid: it would expire before its window ends, or its purpose says nothing.
    """
    scope = request.scope
    try:
        purpose = display_name(request.purpose, what=PURPOSE, max_length=_MAX_PURPOSE)
    except MalformedMessage as error:
        raise DraftInvalid(words_of(error)) from error
    days = request.valid_days or min(DEFAULT_VALID_DAYS, policy.max_query_days)
    not_after_ms = now_ms + days * DAY_MS
    if not_after_ms <= scope.window_to_ms:
        raise DraftInvalid(
            phrase(
                "the query would expire after {days} days, before its window ends; give a longer "
                "{valid_days_field} (the policy permits {max_query_days})",
                days=days,
                valid_days_field=VALID_DAYS,
                max_query_days=policy.max_query_days,
            )
        )
    return Query(
        query_id=secrets.token_bytes(ID_BYTES),
        site=policy.site,
        subjects=tuple(subjects),
        purpose=purpose,
        legal_basis=request.legal_basis,
        cameras=scope.cameras,
        window_from_ms=scope.window_from_ms,
        window_to_ms=scope.window_to_ms,
        modalities=modalities,
        live=request.live,
        thresholds=dict(thresholds),
        contacts=(
            policy.permits.contacts != NO_CONTACTS if request.contacts is None else request.contacts
        ),
        max_candidates=request.max_candidates or min(DEFAULT_CANDIDATES, policy.max_candidates),
        expected_false=expected_false,
        requested_at_ms=now_ms,
        not_after_ms=not_after_ms,
        policy_digest=policy.digest,
        version=form_of(policy),
        purpose_kind=purpose_kind,
        confirmers=request.confirmers,
        asks=request.asks,
    )


def _modalities(
    request: Request, subjects: Sequence[OpenedSubject], policy: Policy
) -> tuple[str, ...]:
    """Return what is compared. Raises as `modalities_of` and `modalities_shown`."""
    asked = request.modalities
    if not request.shown.examples:
        held = {template.modality for subject in subjects for template in subject.templates}
        if request.asks.continuation:  # whoever is followed brings no template
            asked = tuple(one for one in asked if one in held)
        return modalities_of(subjects, asked, legal_basis=request.legal_basis, policy=policy)
    return modalities_shown(
        request.shown,
        {template.modality for subject in subjects for template in subject.templates},
        request.modalities,
        legal_basis=request.legal_basis,
        policy=policy,
    )
