"""The site's policy: a signed TOML file that custodians hold themselves.

docs/protocol.md, "Queries". People read and sign the TOML; programs verify the signature over
its very bytes before they parse it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from protocol.directory import authority_resolver
from protocol.encoding import decode, encode
from protocol.errors import MalformedMessage, PolicyMismatch, SignatureInvalid
from protocol.keytree import APPEARANCE, FACE
from protocol.names import require_name
from protocol.signing import Signed, SigningKey, VerifyKey, sign
from protocol.textformats import parse_toml

POLICY_KIND = "policy"
CONSENT, STATUTORY_ORDER = "consent", "statutory-order"
LEGAL_BASES = frozenset({CONSENT, STATUTORY_ORDER})
MODALITIES = frozenset({FACE, APPEARANCE})


@dataclass(frozen=True, slots=True)
class BasisRule:
    """What one legal basis permits, and how many approvals more it asks for."""

    modalities: frozenset[str]
    extra_approvals: int


@dataclass(frozen=True, slots=True)
class Policy:
    """A verified policy. ``digest`` is the SHA-256 of the file, which queries refer to.

    Whatever is not stated is not permitted: no query compares with a model that has no entry in
    ``threshold_floor``. ``max_live_hours`` bounds how much of a window may lie ahead of the asking.
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

    def approvals_for(self, legal_basis: str) -> int:
        """Return how many approvals a query on ``legal_basis`` needs."""
        return self.approvals + self.bases[legal_basis].extra_approvals


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

    def number(name: str, low: int, high: int) -> int:
        value = values.pop(name, None)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise MalformedMessage(f"policy: '{name}' must be a whole number {low} to {high}")
        return value

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
    if values:
        raise MalformedMessage(f"policy: unknown keys {', '.join(sorted(values))}")
    return policy


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
    if FACE in bases.get(STATUTORY_ORDER, BasisRule(frozenset(), 0)).modalities:
        raise MalformedMessage("policy: a face template needs recorded consent, not an order")
    return bases
