"""The site's policy: a signed TOML file that custodians hold themselves.

docs/protocol.md, "Queries". People read and sign the TOML; programs verify the signature over
its very bytes before they parse it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from protocol.directory import authority_resolver
from protocol.encoding import decode, encode
from protocol.errors import (
    MalformedMessage,
    PolicyMismatch,
    SignatureInvalid,
    UnsupportedVersion,
)
from protocol.keytree import MODALITIES, NEEDS_CONSENT
from protocol.names import require_name
from protocol.signing import Signed, SigningKey, VerifyKey, sign
from protocol.textformats import parse_toml

POLICY_KIND = "policy"
CONSENT, STATUTORY_ORDER = "consent", "statutory-order"
LEGAL_BASES = frozenset({CONSENT, STATUTORY_ORDER})
SCHEMA = 2
"""Of the policies that are written now; the first had no number and is read still."""
NO_CONTACTS, NEAR_CONTACTS, LINKED_CONTACTS = "none", "near", "linked"
CONTACTS = (NO_CONTACTS, NEAR_CONTACTS, LINKED_CONTACTS)
"""What may be asked of who was near: nothing; that somebody was; whether it was the same person."""
COVER_OFF, COVER_SLOTS, COVER_STEADY = "off", "slots", "steady"
COVERS = (COVER_OFF, COVER_SLOTS, COVER_STEADY)
"""What hides traffic: nothing; segments of padded size; one envelope every so often besides."""


@dataclass(frozen=True, slots=True)
class BasisRule:
    """What one legal basis permits, and how many approvals more it asks for."""

    modalities: frozenset[str]
    extra_approvals: int


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a query may ask for besides comparing. The defaults are what is not stated: closed.

    Args:
        live: opening the quarter hour that is running.
        contacts: the furthest of `CONTACTS`.
        continuation: following a person by clothes from a sighting that was confirmed.
        continuation_minutes: how long before and after that sighting; 0 follows nobody.
        continuation_cameras: most cameras of a query that asks for it; 0 permits none.
        same_place_counts: how many others were there.
        evidence_stills: of how many sightings a query may ask for a picture.
        evidence_export: whether a still of a confirmed hit may be handed over as a file.
    """

    live: bool = False
    contacts: str = NO_CONTACTS
    continuation: bool = False
    continuation_minutes: int = 0
    continuation_cameras: int = 0
    same_place_counts: bool = False
    evidence_stills: int = 0
    evidence_export: bool = False


EXPECTED_FALSE = 10
"""Strangers among a subject's candidates that an officer can look through."""
_OF_SCHEMA_1 = Permissions(live=True, contacts=NEAR_CONTACTS)
BY_WORDS = "by words: "
"""What stands before a model id in ``threshold_floor`` for queries by words of clothes, whose
scores are far lower than those of anybody who was seen. Without such a floor there are none."""
OPTIONS = ("live", *CONTACTS[1:], "continuation", "same_place_counts", "evidence")
"""What a policy may ask further approvals for."""
LEAST_APPROVALS: Mapping[str, int] = {
    LINKED_CONTACTS: 1,
    "continuation": 1,
    "same_place_counts": 1,
}
"""Further approvals that an option costs at least, whatever the policy states."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A verified policy. ``digest`` is the SHA-256 of the file, which queries refer to.

    Whatever is not stated is not permitted: no query compares with a model that has no entry in
    ``threshold_floor``. ``max_live_hours`` bounds how much of a window may lie ahead of the asking.

    Args:
        schema: of the file; 1 has nothing of what follows.
        purposes: what a query may be for; None where the policy leaves it to the officers.
        permits: what a query may ask for besides comparing.
        option_approvals: approvals on top of others, by what of `OPTIONS` a query asks for.
        confirmations: officers who must each confirm a hit.
        witnessed_enrolment: whether a second officer must have seen whose photographs they are.
        consent_documents: whether every query on consent must name the subjects' documents of
            consent by their hashes.
        cover: one of `COVERS`; ``cover_interval_s`` for the last of them.
        outside_witnesses: how many witnesses outside the site must cosign its logs.
        expected_false: strangers whom a query may expect among its candidates for each subject
            before its default threshold is raised. A default, and no limit.
    """

    site: str
    version: int
    programme_ends_ms: int
    approvals: int
    max_subjects: int
    max_window_hours: int
    max_live_hours: int
    max_cameras: int
    max_query_days: int
    max_candidates: int
    retention_days: int
    threshold_floor: Mapping[str, float]
    bases: Mapping[str, BasisRule]
    digest: bytes
    schema: int = 1
    purposes: frozenset[str] | None = None
    permits: Permissions = _OF_SCHEMA_1
    option_approvals: Mapping[str, int] = field(default_factory=dict)
    confirmations: int = 1
    witnessed_enrolment: bool = False
    consent_documents: bool = False
    cover: str = COVER_OFF
    cover_interval_s: int = 0
    outside_witnesses: int = 0
    expected_false: int = EXPECTED_FALSE

    def floor_of(self, model: str, *, by_words: bool = False) -> float | None:
        """Return the lowest threshold for a model, or for words with it; None: nothing may."""
        return self.threshold_floor.get(BY_WORDS + model if by_words else model)

    @property
    def floors_of_models(self) -> dict[str, float]:
        """Return the floors of those who were seen: model id to score, none of words."""
        return {m: s for m, s in self.threshold_floor.items() if not m.startswith(BY_WORDS)}

    def approvals_for(self, legal_basis: str, options: Collection[str] = ()) -> int:
        """Return how many approvals a query needs.

        Args:
            options: which of `OPTIONS` it asks for.
        """
        return (
            self.approvals
            + self.bases[legal_basis].extra_approvals
            + sum(self.approvals_for_option(option) for option in options)
        )

    def approvals_for_option(self, option: str) -> int:
        """Return how many approvals one of `OPTIONS` costs on top of others."""
        return max(self.option_approvals.get(option, 0), LEAST_APPROVALS.get(option, 0))


def sign_policy(text: bytes, authority: SigningKey) -> bytes:
    """Return the detached signature file of a policy; the policy is parsed first.

    Raises:
        MalformedMessage: it is not a policy.
    """
    parse_policy(text)
    signed = sign(POLICY_KIND, text, authority)
    return encode([signed.signer, signed.signature])


def open_policy(
    text: bytes, signature: bytes, authority: VerifyKey, *, site: str | None = None
) -> Policy:
    """Verify a policy file against its detached signature, then read it.

    Raises:
        SignatureInvalid: altered, or not signed by the site's authority.
        PolicyMismatch: of another site.
    """
    value = decode(signature, what="policy signature", max_bytes=1024, max_items=3)
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not isinstance(value[0], str)
        or not isinstance(value[1], bytes)
    ):
        raise MalformedMessage("not a policy signature")
    try:
        Signed(POLICY_KIND, value[0], text, value[1]).verify(authority_resolver(authority))
    except SignatureInvalid as error:
        raise SignatureInvalid(
            "the policy file is not the one that the site's authority signed"
        ) from error
    policy = parse_policy(text)
    if site is not None and policy.site != site:
        raise PolicyMismatch(f"the policy is of site '{policy.site}', not '{site}'")
    return policy


def parse_policy(text: bytes) -> Policy:
    """Read a policy's TOML; callers that act on it use :func:`open_policy`.

    Raises:
        MalformedMessage: a key is missing, unknown or out of range.
    """
    try:
        values = parse_toml(text.decode())
    except ValueError as error:  # also what is no UTF-8 or no date
        raise MalformedMessage(f"the policy is not TOML: {error}") from error
    keys = _Keys(values)
    schema = keys.number("policy_schema", 2, 2**31) if "policy_schema" in values else 1
    if schema > SCHEMA:
        raise UnsupportedVersion(
            f"the policy is of schema {schema}, and this machine reads {SCHEMA} at most: update "
            "its software first, and install the policy then"
        )
    number = keys.number
    policy = Policy(
        site=require_name(values.pop("site", None), what="policy: site"),
        version=number("version", 1, 2**31),
        programme_ends_ms=_moment(values.pop("programme_ends", None)),
        approvals=number("approvals", 1, 16),
        max_subjects=number("max_subjects", 1, 10),
        max_window_hours=number("max_window_hours", 1, 24 * 60),
        max_live_hours=number("max_live_hours", 0, 24 * 60),
        max_cameras=number("max_cameras", 1, 65_536),
        max_query_days=number("max_query_days", 1, 60),
        max_candidates=number("max_candidates", 1, 10_000),
        retention_days=number("retention_days", 1, 60),
        threshold_floor=_floors(values.pop("threshold_floor", {})),
        bases=_bases(values.pop("legal_basis", None)),
        digest=hashlib.sha256(text).digest(),
    )
    if schema > 1:
        policy = _with_permissions(policy, keys, schema)
    if values:
        raise MalformedMessage(f"policy: unknown keys {', '.join(sorted(values))}")
    return policy


class _Keys:
    """Takes keys out of a parsed policy; what is left in the end is unknown."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def number(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Take a whole number of that range."""
        value = self._values.pop(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise MalformedMessage(f"policy: '{name}' must be a whole number {low} to {high}")
        return value

    def yes(self, name: str) -> bool:
        """Take true or false; false where it is not stated."""
        value = self._values.pop(name, False)
        if not isinstance(value, bool):
            raise MalformedMessage(f"policy: '{name}' must be true or false")
        return value

    def choice(self, name: str, among: Sequence[str], default: str) -> str:
        """Take one of some words."""
        value = self._values.pop(name, default)
        if value not in among:
            raise MalformedMessage(f"policy: '{name}' must be one of {', '.join(among)}")
        return str(value)

    def lines(self, name: str) -> frozenset[str]:
        """Take an array of printable texts; none where it is not stated."""
        value = self._values.pop(name, [])
        if not isinstance(value, list) or not all(
            isinstance(item, str) and 0 < len(item) <= 128 and item.isprintable() for item in value
        ):
            raise MalformedMessage(f"policy: '{name}' must be a list of short printable texts")
        return frozenset(value)

    def table(self, name: str) -> Any:
        """Take a table; an empty one where it is not stated."""
        return self._values.pop(name, {})


def _with_permissions(policy: Policy, keys: _Keys, schema: int) -> Policy:
    """Read what the second schema adds; whatever is not stated is closed."""
    cover = keys.choice("cover", COVERS, COVER_OFF)
    return replace(
        policy,
        schema=schema,
        purposes=keys.lines("purposes"),
        permits=Permissions(
            live=keys.yes("live"),
            contacts=keys.choice("contacts", CONTACTS, NO_CONTACTS),
            continuation=keys.yes("continuation"),
            continuation_minutes=keys.number("continuation_minutes", 0, 1440, 0),
            continuation_cameras=keys.number("continuation_cameras", 0, 65_536, 0),
            same_place_counts=keys.yes("same_place_counts"),
            evidence_stills=keys.number("evidence_stills", 0, 10_000, 0),
            evidence_export=keys.yes("evidence_export"),
        ),
        option_approvals=_option_approvals(keys.table("option_approvals")),
        confirmations=keys.number("confirmations", 1, 8),
        witnessed_enrolment=not keys.yes("enrolment_without_witness"),
        consent_documents=keys.yes("consent_documents"),
        cover=cover,
        cover_interval_s=keys.number("cover_interval_s", 1, 900) if cover == COVER_STEADY else 0,
        outside_witnesses=keys.number("outside_witnesses", 0, 16, 0),
        expected_false=keys.number("expected_false", 1, 10_000, EXPECTED_FALSE),
    )


def _option_approvals(value: Any) -> dict[str, int]:
    if not isinstance(value, dict) or not all(
        option in OPTIONS
        and isinstance(extra, int)
        and not isinstance(extra, bool)
        and 0 <= extra <= 8
        for option, extra in value.items()
    ):
        raise MalformedMessage(
            f"policy: [option_approvals] maps any of {', '.join(OPTIONS)} to 0 to 8 approvals"
        )
    return dict(value)


def _moment(value: Any) -> int:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise MalformedMessage("policy: 'programme_ends' must be a date and time with a time zone")
    try:
        return int(value.astimezone(UTC).timestamp() * 1000)
    except OverflowError as error:  # within hours of the first or last year there is
        raise MalformedMessage("policy: 'programme_ends' is no time of this world") from error


def _floors(value: Any) -> dict[str, float]:
    if not isinstance(value, dict) or not all(
        isinstance(score, int | float) and not isinstance(score, bool) and -1 <= score <= 1
        for score in value.values()
    ):
        raise MalformedMessage("policy: [threshold_floor] maps model ids to scores from -1 to 1")
    return {model: float(score) for model, score in value.items()}


def _bases(value: Any) -> dict[str, BasisRule]:
    if not isinstance(value, dict) or not value or not set(value) <= LEGAL_BASES:
        raise MalformedMessage(
            f"policy: [legal_basis.*] must be among {', '.join(sorted(LEGAL_BASES))}"
        )
    bases = {}
    for name, rule in value.items():
        if not isinstance(rule, dict) or set(rule) != {"modalities", "extra_approvals"}:
            raise MalformedMessage(
                f"policy: [legal_basis.{name}] needs modalities and extra_approvals, no more"
            )
        modalities, extra = rule["modalities"], rule["extra_approvals"]
        if not isinstance(modalities, list) or not all(
            isinstance(modality, str) and modality in MODALITIES for modality in modalities
        ):
            raise MalformedMessage(f"policy: [legal_basis.{name}] has an unknown modality")
        if not isinstance(extra, int) or isinstance(extra, bool) or not 0 <= extra <= 8:
            raise MalformedMessage(f"policy: [legal_basis.{name}] extra_approvals: 0 to 8")
        bases[name] = BasisRule(frozenset(modalities), extra)
    ordered = bases.get(STATUTORY_ORDER, BasisRule(frozenset(), 0)).modalities
    for modality in sorted(ordered & NEEDS_CONSENT):
        raise MalformedMessage(
            f"policy: a {modality} template needs recorded consent, not an order"
        )
    return bases
