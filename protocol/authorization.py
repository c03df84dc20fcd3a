"""Whether a subject query may open anything: the decision that every custodian takes for itself.

docs/protocol.md, "Queries", and "Directory and policy". Pure: the caller brings the clock. The
aggregator runs the same check to give a clear answer early; only the custodians' check opens
anything.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from protocol.about_queries import APPROVAL_KIND, WITHDRAWAL_KIND, Approval, Withdrawal
from protocol.directory import APPROVER, INVESTIGATOR, Directory
from protocol.enrolment import check_examples_shown, check_witnessed
from protocol.errors import (
    ApprovalInvalid,
    ApprovalsMissing,
    EnrolmentNotWitnessed,
    NotAuthorized,
    PolicyMismatch,
    PolicyViolation,
    ProgrammeEnded,
    ProtocolError,
    QueryExpired,
    QueryWithdrawn,
    SignatureInvalid,
    UnknownSigner,
)
from protocol.keytree import COUNTS, COVER, FOLLOWED, LIVE, META, NEEDS_CONSENT
from protocol.names import EPOCH_MS, SLOT_MS, slot_start_ms, slots_in_window
from protocol.policy import (
    BY_WORDS,
    CONSENT,
    CONTACTS,
    LINKED_CONTACTS,
    NEAR_CONTACTS,
    NO_CONTACTS,
    Permissions,
    Policy,
)
from protocol.query import MAX_QUERY_BYTES, QUERY_KIND, Query
from protocol.signing import Signed, Verifier

HOUR_MS = 3_600_000
DAY_MS = EPOCH_MS


@dataclass(frozen=True, slots=True)
class AuthorizedQuery:
    """A query that has passed :func:`authorize`, with the approvers that carried it."""

    query: Query
    digest: bytes
    requester: str
    approvers: tuple[str, ...]

    @property
    def readers(self) -> tuple[str, ...]:
        """Who reads what it finds, and decides: the requester and the confirmers."""
        return (self.requester, *self.query.confirmers)

    def labels(self, version: int = 1) -> tuple[str, ...]:
        """Return the key labels that the query's modalities come to.

        Args:
            version: of the generation; metadata opens by slot in the first alone, and row by row
                from the second on.
        """
        asked = sorted(self.query.modalities)
        if version == 1:
            return (*asked, META, LIVE)
        counts = (COUNTS,) if self.query.asks.same_place_counts else ()
        return (*asked, COVER, LIVE, *counts)

    def grantable_slots(self, epoch: int, *, now_ms: int) -> range:
        """Return the slots of ``epoch`` whose keys may leave a custodian now.

        Slots of the window that have ended, and the running slot for a live query; never a slot
        that has not begun.
        """
        query = self.query
        until = min(query.window_to_ms, now_ms + 1 if query.live else now_ms // SLOT_MS * SLOT_MS)
        if until <= query.window_from_ms:
            return range(0)
        return slots_in_window(epoch, query.window_from_ms, until)


def open_query(signed: Signed, directory: Directory) -> tuple[Query, str]:
    """Verify a signed query; return it and its requester.

    Raises:
        SignatureInvalid: not signed by an investigator of the site.
    """
    query = _read_query(signed.verify(directory.resolver(INVESTIGATOR)))
    if query.site != directory.site:
        raise PolicyViolation(f"the query is for site '{query.site}', not '{directory.site}'")
    return query, signed.signer


def check_policy(query: Query, policy: Policy, *, now_ms: int) -> None:
    """Hold a query against the policy.

    Raises:
        NotAuthorized: its subclass says what is wrong.
    """
    if now_ms >= policy.programme_ends_ms:
        raise ProgrammeEnded("the programme has ended: nothing is granted any more")
    if not hmac.compare_digest(query.policy_digest, policy.digest):
        raise PolicyMismatch("the query was signed under another policy than the one in force")
    if query.requested_at_ms > now_ms + 5 * 60_000:
        raise QueryExpired("the query is dated in the future; check the requester's clock")
    if now_ms >= query.not_after_ms:
        raise QueryExpired("the query has expired (its not-after time has passed)")
    rule = policy.bases.get(query.legal_basis)
    if rule is None:
        raise PolicyViolation(f"the policy knows no legal basis '{query.legal_basis}'")
    _limit("subjects", len(query.subjects), policy.max_subjects)
    _limit("cameras", len(query.cameras), policy.max_cameras)
    _limit("candidates", query.max_candidates, policy.max_candidates)
    window_ms = query.window_to_ms - query.window_from_ms
    _limit("window hours", window_ms / HOUR_MS, policy.max_window_hours)
    if query.live and not policy.max_live_hours:
        raise PolicyViolation("the query is live; the policy permits none (max_live_hours is 0)")
    _limit("hours ahead of its asking", query.ahead_ms / HOUR_MS, policy.max_live_hours)
    lifetime_ms = query.not_after_ms - query.requested_at_ms
    _limit("days of validity", lifetime_ms / DAY_MS, policy.max_query_days)
    unlawful = set(query.modalities) - rule.modalities
    if unlawful:
        raise PolicyViolation(
            f"on the legal basis '{query.legal_basis}' the policy does not permit "
            f"{', '.join(sorted(unlawful))}"
        )
    if query.legal_basis != CONSENT:
        for modality in sorted(NEEDS_CONSENT.intersection(query.modalities)):
            raise PolicyViolation(f"a {modality} template needs recorded consent")
    _check_templates(query, policy)
    _check_examples(query)
    _check_options(query, policy)


def _check_options(query: Query, policy: Policy) -> None:
    """Hold what a query asks for besides comparing against the policy.

    Raises:
        PolicyViolation: it asks for more than is permitted, or says too little.
    """
    permits, asks = policy.permits, query.asks
    if policy.purposes is not None and query.purpose_kind not in policy.purposes:
        raise PolicyViolation(
            f"the policy permits no query for {query.purpose_kind or 'a purpose in free words'!r}; "
            f"its purposes are: {', '.join(sorted(policy.purposes)) or 'none'}"
        )
    if query.live and not permits.live:
        raise PolicyViolation("the query is live; the policy permits none")
    furthest = CONTACTS.index(permits.contacts)
    wanted = CONTACTS.index(
        LINKED_CONTACTS
        if asks.linked_contacts
        else NEAR_CONTACTS
        if query.contacts
        else NO_CONTACTS
    )
    if wanted > furthest:
        raise PolicyViolation(
            f"the query asks for contacts ({CONTACTS[wanted]}); the policy permits "
            f"{permits.contacts}"
        )
    if asks.continuation:
        _check_continuation(query, permits)
    if asks.same_place_counts and not permits.same_place_counts:
        raise PolicyViolation("the query counts who else was there; the policy permits none")
    _limit("stills", asks.evidence_stills, permits.evidence_stills)
    if policy.schema > 1 and 1 + len(query.confirmers) < policy.confirmations:
        raise PolicyViolation(
            f"{policy.confirmations} officers must confirm a hit; the query names "
            f"{1 + len(query.confirmers)}, the requester with them"
        )


def _check_continuation(query: Query, permits: Permissions) -> None:
    """Hold a query that follows people by their clothes against the policy.

    Raises:
        PolicyViolation: it is permitted to nobody, not so widely, or opens no clothes.
    """
    if not permits.continuation:
        raise PolicyViolation("the query follows people by their clothes; the policy permits none")
    if not permits.continuation_minutes:
        raise PolicyViolation(
            "the query follows people by their clothes; the policy states no continuation_minutes, "
            "so it permits that for no time at all"
        )
    _limit(
        "cameras and follows people by their clothes",
        len(query.cameras),
        permits.continuation_cameras,
    )
    if FOLLOWED not in query.modalities:
        raise PolicyViolation(
            "the query follows people by their clothes and asks to open no appearance templates"
        )


def check_people(
    query: Query, requester: str, directory: Directory, policy: Policy, *, now_ms: int
) -> None:
    """Check the officers whom a query names, and who stands behind its subjects.

    Raises:
        NotAuthorized: its subclass says what is wrong.
    """
    keys = {_key(directory, requester)}
    for name in query.confirmers:
        try:
            officer = directory.require(name, INVESTIGATOR)
        except SignatureInvalid as error:
            raise PolicyViolation(f"'{name}' cannot confirm hits: {error}") from error
        if officer.seal_key is None or officer.verify_key.raw in keys:
            raise PolicyViolation(
                f"'{name}' cannot confirm hits: no key to seal results to, or one officer twice"
            )
        keys.add(officer.verify_key.raw)
    if policy.consent_documents and query.legal_basis == CONSENT:
        for subject in query.subjects:
            if not subject.consent_document:
                raise PolicyViolation(
                    "the policy asks that a query on consent name the document by its hash, and "
                    f"that of '{subject.pseudonym}' is not named: enrol anew with the document "
                    "(at the desk, or with --consent-document)"
                )
    if policy.witnessed_enrolment:
        for subject in query.subjects:
            if subject.templates:
                check_witnessed(subject, requester=requester, directory=directory, now_ms=now_ms)
                if query.legal_basis == CONSENT:
                    check_examples_shown(subject, query.modalities)
            elif query.legal_basis == CONSENT:
                raise EnrolmentNotWitnessed(
                    f"nobody witnessed who '{subject.pseudonym}' is, and the policy asks for it: "
                    "that an earlier sighting is theirs is the asker's word alone. Bring the "
                    "subject's file with it, whose enrolment a second officer has seen"
                )


def _check_templates(query: Query, policy: Policy) -> None:
    """Hold what is compared against the policy: each kind and model used, and none besides.

    Earlier sightings, and those that are followed by their clothes, have their templates in store:
    of which models nobody knows before they open.

    Raises:
        PolicyViolation: a threshold is below its floor or has none, or is for nothing.
    """
    brought = {(t.modality, t.model) for subject in query.subjects for t in subject.templates}
    lacking = sorted(set(query.modalities) - {modality for modality, _ in brought})
    spare = sorted(set(query.thresholds) - {model for _, model in brought})
    if not any(subject.examples for subject in query.subjects):
        followed = {FOLLOWED} if query.asks.continuation else set()
        for modality in (one for one in lacking if one not in followed):
            raise PolicyViolation(
                f"the query asks to open {modality} templates and brings no template to compare"
            )
        for model in () if followed else spare:
            raise PolicyViolation(
                f"a threshold is given for {model}, and no template of that model"
            )
    elif not query.thresholds or len(spare) < len(lacking):
        raise PolicyViolation(
            "the query brings earlier sightings as examples, and no threshold to compare their "
            f"{' and '.join(lacking or sorted(query.modalities))} by"
        )
    for model, score in sorted(query.thresholds.items()):
        floor = policy.floor_of(model, by_words=query.by_words)
        if floor is None and query.by_words:
            raise PolicyViolation(
                f"the policy permits no queries by words of clothes: its [threshold_floor] states "
                f'no "{BY_WORDS}{model}". Have the site\'s authority weigh that and add one'
            )
        if floor is None:
            raise PolicyViolation(
                f"the policy states no threshold_floor for {model}, so no query may compare with "
                "it: have the site's authority add one to policy.toml and sign that with "
                "`sealtrace site policy sign`"
            )
        if not score >= floor:
            raise PolicyViolation(
                f"the threshold {score:.3f} for {model} is below the policy's {floor:.3f}"
            )


def _check_examples(query: Query) -> None:
    """Hold the sightings that a query brings as examples against what it asks to open.

    Raises:
        PolicyViolation: one is outside, of a quarter hour that was not over, or comes twice.
    """
    examples = [example for subject in query.subjects for example in subject.examples]
    if len(set(examples)) != len(examples):
        raise PolicyViolation("the query brings an example twice")
    for example in examples:
        begins_ms = slot_start_ms(example.epoch, example.slot)
        if example.camera not in query.cameras or not (
            query.window_from_ms <= begins_ms < query.window_to_ms
        ):
            raise PolicyViolation(
                f"the example at '{example.camera}' is of a camera or quarter hour that the query "
                "does not ask to open, and its template is nowhere else: widen the query to it, or "
                "leave it out"
            )
        if begins_ms + SLOT_MS > query.requested_at_ms:
            raise PolicyViolation(
                f"the example at '{example.camera}' is of a quarter hour that was not over when "
                "the query was asked for: ask again when it is"
            )


def authorize(
    signed_query: Signed,
    approvals: Sequence[Signed],
    withdrawals: Sequence[Signed],
    *,
    directory: Directory,
    policy: Policy,
    now_ms: int,
) -> AuthorizedQuery:
    """Decide whether a query is authorized, from signatures alone.

    Args:
        withdrawals: all that are known for this query; one is enough to stop it.

    Raises:
        SignatureInvalid, MalformedMessage: the query itself is not a genuine one.
        NotAuthorized: its subclass says why nothing may be opened.
    """
    query, requester = open_query(signed_query, directory)
    check_policy(query, policy, now_ms=now_ms)
    check_people(query, requester, directory, policy, now_ms=now_ms)
    digest = signed_query.digest
    withdrawn = {w.signer for w in withdrawals if _concerns(w, digest, directory)}
    if _key(directory, requester) in {_key(directory, name) for name in withdrawn}:
        raise QueryWithdrawn(f"the requester '{requester}' has withdrawn the query")
    approvers: set[str] = set()
    for approval in approvals:
        approvers.add(check_approval(approval, digest, requester, directory, policy))
    needed = policy.approvals_for(query.legal_basis, query.options)
    standing = _one_a_key(approvers - withdrawn, withdrawn, directory)
    if len(standing) < needed and approvers & withdrawn:
        names = ", ".join(sorted(approvers & withdrawn))
        raise QueryWithdrawn(
            f"{names} withdrew approval: {len(standing)} of {needed} approvals stand"
        )
    if len(standing) < needed:
        raise ApprovalsMissing(f"{len(standing)} of {needed} approvals")
    return AuthorizedQuery(query, digest, requester, tuple(sorted(standing)))


def check_approval(
    approval: Signed, query_digest: bytes, requester: str, directory: Directory, policy: Policy
) -> str:
    """Check one approval; return the approver's name.

    Raises:
        ApprovalInvalid: not an approver's valid signature over this query and policy.
    """
    if approval.kind != APPROVAL_KIND:
        raise ApprovalInvalid("that is not an approval")
    try:
        content = Approval.parse(approval.verify(directory.resolver(APPROVER)))
    except ProtocolError as error:
        raise ApprovalInvalid(
            f"the approval of '{approval.signer}' is not valid: {error}"
        ) from error
    if not hmac.compare_digest(content.query_digest, query_digest):
        raise ApprovalInvalid(f"the approval of '{approval.signer}' is for another query")
    if not hmac.compare_digest(content.policy_digest, policy.digest):
        raise PolicyMismatch(f"the approval of '{approval.signer}' was given under another policy")
    if approval.signer == requester or _key(directory, approval.signer) == _key(
        directory, requester
    ):
        raise ApprovalInvalid(f"'{requester}' cannot approve a query of their own")
    return approval.signer


def check_withdrawal(withdrawal: Signed, directory: Directory) -> Withdrawal:
    """Check that an officer who may withdraw signed this; return its content.

    Raises:
        SignatureInvalid, MalformedMessage: not a genuine withdrawal.
    """
    if withdrawal.kind != WITHDRAWAL_KIND:
        raise NotAuthorized("that is not a withdrawal")

    def resolve(name: str) -> Verifier:
        duty = APPROVER if _has_duty(directory, name, APPROVER) else INVESTIGATOR
        return directory.historic_resolver(duty)(name)

    return Withdrawal.parse(withdrawal.verify(resolve))


@lru_cache(maxsize=16)
def _read_query(payload: bytes) -> Query:
    """Read a verified payload; one of ten thousand cameras is read once for its many requests."""
    return Query.parse(payload)


def parse_signed_query(data: bytes) -> Signed:
    """Parse the outer form of a signed query."""
    return Signed.parse(data, kind=QUERY_KIND, max_bytes=MAX_QUERY_BYTES)


def _has_duty(directory: Directory, name: str, duty: str) -> bool:
    principal = directory.principals.get(name)
    return principal is not None and duty in principal.duties


def _key(directory: Directory, name: str) -> bytes:
    principal = directory.principals.get(name)
    if principal is None:
        raise UnknownSigner(f"the directory does not list '{name}'")
    return principal.verify_key.raw


def _one_a_key(names: set[str], withdrawn: set[str], directory: Directory) -> set[str]:
    """Return one name for each key: who signs under two names has approved, or withdrawn, once."""
    gone = {_key(directory, name) for name in withdrawn}
    by_key = {_key(directory, name): name for name in sorted(names, reverse=True)}
    return {name for key, name in by_key.items() if key not in gone}


def _concerns(withdrawal: Signed, digest: bytes, directory: Directory) -> bool:
    content = check_withdrawal(withdrawal, directory)
    return hmac.compare_digest(content.query_digest, digest)


def _limit(what: str, asked: float, limit: float) -> None:
    if asked > limit:
        raise PolicyViolation(f"the query asks for {asked:g} {what}; the policy permits {limit:g}")
