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
from officers.desk.facts import Fact, estimate_facts, policy_facts, query_facts
from officers.desk.notices import Kept, Notice
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
from protocol import hpke
from protocol.authorization import check_policy
from protocol.directory import APPROVER, INVESTIGATOR
from protocol.policy import CONSENT, Policy
from protocol.query import ID_BYTES, Query, Subject, TemplateReference
from runtime.bundle import load_bundle
from runtime.clock import system_ms
from runtime.officer import OfficerConfig

DAY_MS = 86_400_000
DEFAULT_VALID_DAYS = 7
DEFAULT_CANDIDATES = 100
_MAX_PURPOSE = 2000
_NOT_MEASURED = Notice(
    "false matches of these models are not measured here: the query states the worst case, "
    "every sighting in scope",
    warning=True,
)


@dataclass(frozen=True, slots=True)
class Request:
    """What an investigator asks for.

    Without ``modalities`` all are compared that the subject files hold and the legal basis permits;
    a threshold, number of candidates or of days that is None is the default.
    """

    scope: Scope
    subjects: tuple[Path, ...]
    purpose: str
    legal_basis: str = CONSENT
    modalities: tuple[str, ...] = ()
    threshold: float | None = None
    live: bool = False
    contacts: bool = True
    max_candidates: int | None = None
    valid_days: int | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A query as it would be signed, with the subjects' templates in the clear: close it after use.

    ``facts`` is what to read before signing, ``approvers`` who may approve it.
    """

    query: Query
    subjects: tuple[OpenedSubject, ...] = field(repr=False)
    estimate: Estimate
    facts: tuple[Fact, ...]
    notices: tuple[Notice, ...]
    approvers: tuple[str, ...]
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
        NotAuthorized: the policy would refuse it whoever approved.
        BundleError: the officer's bundle is needed and cannot be used.
        OperationError: the aggregator gives no estimate.
    """
    me = session.officer
    me.require(INVESTIGATOR)
    policy, tell, now_ms = me.policy, Kept(session.tell), system_ms()
    with ExitStack() as opening:
        subjects = opening.enter_context(opened_subjects(request.subjects, sealing))
        modalities = modalities_of(
            subjects, request.modalities, legal_basis=request.legal_basis, policy=policy
        )
        check_one_person_each(subjects, modalities, me.config)
        models = models_of(subjects, modalities)
        asked = {} if request.threshold is None else dict.fromkeys(models, request.threshold)
        thresholds = thresholds_for(
            models,
            request.threshold,
            defaults=estimate(session, request.scope, asked).default_thresholds,
            floors=policy.threshold_floor,
            config=me.config,
        )
        count = sum(len(subject.of(modalities)) for subject in subjects)
        counted = estimate(session, request.scope, thresholds, templates=count)
        expected_false = counted.expected_false
        if expected_false is None:  # the worst case
            tell(_NOT_MEASURED)
            expected_false = float(counted.sightings * count)
        query = _query(
            request,
            subjects,
            modalities=modalities,
            thresholds=thresholds,
            policy=policy,
            expected_false=expected_false,
            now_ms=now_ms,
        )
        check_policy(query, policy, now_ms=now_ms)
        facts = (
            *query_facts(query, me.name, policy),
            *estimate_facts(query, counted, now_ms=system_ms()),
            *policy_facts(query, policy, ""),
        )
        approvers = tuple(p.name for p in me.directory.with_duty(APPROVER) if p.name != me.name)
        return Draft(
            query,
            tuple(subjects),
            counted,
            facts,
            (*request.scope.notices, *tell.all),
            approvers,
            opening.pop_all(),
        )


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
            f"no default threshold is known for model {missing[0]}: the subject was enrolled with "
            "another model than the site runs. Enrol anew with the site's bundle, or give "
            "--threshold"
        )
    return {model: max(known[model], floors.get(model, -1.0)) for model in models}


def _query(
    request: Request,
    subjects: Sequence[OpenedSubject],
    *,
    modalities: tuple[str, ...],
    thresholds: Mapping[str, float],
    policy: Policy,
    expected_false: float,
    now_ms: int,
) -> Query:
    """Return the query that would be signed.

    Raises:
        DraftInvalid: it would expire before its window ends, or its purpose says nothing.
    """
    scope, purpose = request.scope, " ".join(request.purpose.split())
    if not 0 < len(purpose) <= _MAX_PURPOSE or not purpose.isprintable():
        raise DraftInvalid(f"--purpose must be a text of 1 to {_MAX_PURPOSE} characters")
    days = request.valid_days or min(DEFAULT_VALID_DAYS, policy.max_query_days)
    not_after_ms = now_ms + days * DAY_MS
    if not_after_ms <= scope.window_to_ms:
        raise DraftInvalid(
            f"the query would expire after {days} days, before its window ends; "
            f"give a longer --valid-days (the policy permits {policy.max_query_days})"
        )
    return Query(
        query_id=secrets.token_bytes(ID_BYTES),
        site=policy.site,
        subjects=tuple(_subject(subject, modalities) for subject in subjects),
        purpose=purpose,
        legal_basis=request.legal_basis,
        cameras=scope.cameras,
        window_from_ms=scope.window_from_ms,
        window_to_ms=scope.window_to_ms,
        modalities=modalities,
        live=request.live,
        thresholds=dict(thresholds),
        contacts=request.contacts,
        max_candidates=request.max_candidates or min(DEFAULT_CANDIDATES, policy.max_candidates),
        expected_false=expected_false,
        requested_at_ms=now_ms,
        not_after_ms=not_after_ms,
        policy_digest=policy.digest,
    )


def _subject(subject: OpenedSubject, modalities: Sequence[str]) -> Subject:
    references = [TemplateReference(t.modality, t.model, t.digest) for t in subject.of(modalities)]
    return Subject(subject.file.pseudonym, subject.file.consent_reference, tuple(references))
