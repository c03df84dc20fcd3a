"""What is signed about a query: the matcher's key, approvals, refusals, withdrawals.

docs/protocol.md, "Queries".
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol import hpke
from protocol.encoding import PROTOCOL_VERSION, Fields, decode, encode
from protocol.query import DIGEST_BYTES
from protocol.signing import Signed, SigningKey, Unsigned, sign

MATCHER_KEY_KIND = "matcher-key"
APPROVAL_KIND, REFUSAL_KIND, WITHDRAWAL_KIND = "approval", "refusal", "withdrawal"
MAX_REASON = 2000


@dataclass(frozen=True, slots=True)
class MatcherKey:
    """The fresh sealing key that the aggregator's matcher made for one query."""

    query_digest: bytes
    key: hpke.PublicKey
    created_at_ms: int

    def sign(self, aggregator: SigningKey) -> Signed:
        """Sign as the aggregator."""
        payload = {
            "v": PROTOCOL_VERSION,
            "query_digest": self.query_digest,
            "key": self.key.raw,
            "created_at_ms": self.created_at_ms,
        }
        return sign(MATCHER_KEY_KIND, encode(payload), aggregator)

    @classmethod
    def parse(cls, payload: bytes) -> MatcherKey:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a matcher's key.
        """
        fields = Fields(decode(payload, what="matcher key"), what="matcher key")
        fields.version()
        key = cls(
            fields.raw("query_digest", size=DIGEST_BYTES),
            hpke.PublicKey(fields.raw("key", size=hpke.PUBLIC_BYTES)),
            fields.integer("created_at_ms"),
        )
        fields.done()
        return key


@dataclass(frozen=True, slots=True)
class Approval:
    """An approver's yes to one query, under one policy. The signer is the approver."""

    query_digest: bytes
    policy_digest: bytes
    approved_at_ms: int

    def unsigned(self, approver: str) -> Unsigned:
        """Return what is signed as the approver of that name."""
        payload = {
            "v": PROTOCOL_VERSION,
            "query_digest": self.query_digest,
            "policy_digest": self.policy_digest,
            "approved_at_ms": self.approved_at_ms,
        }
        return Unsigned(APPROVAL_KIND, approver, encode(payload))

    def sign(self, approver: SigningKey) -> Signed:
        """Sign as the approver."""
        return self.unsigned(approver.signer).by_key(approver)

    @classmethod
    def parse(cls, payload: bytes) -> Approval:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not an approval.
        """
        fields = Fields(decode(payload, what="approval"), what="approval")
        fields.version()
        approval = cls(
            fields.raw("query_digest", size=DIGEST_BYTES),
            fields.raw("policy_digest", size=DIGEST_BYTES),
            fields.integer("approved_at_ms"),
        )
        fields.done()
        return approval


@dataclass(frozen=True, slots=True)
class Refusal:
    """An approver's no to one query, under one policy. The signer is the approver.

    It stands until the same approver approves; who has approved withdraws instead.
    """

    query_digest: bytes
    policy_digest: bytes
    reason: str
    refused_at_ms: int

    def unsigned(self, approver: str) -> Unsigned:
        """Return what is signed as the approver of that name."""
        payload = {
            "v": PROTOCOL_VERSION,
            "query_digest": self.query_digest,
            "policy_digest": self.policy_digest,
            "reason": self.reason,
            "refused_at_ms": self.refused_at_ms,
        }
        return Unsigned(REFUSAL_KIND, approver, encode(payload))

    def sign(self, approver: SigningKey) -> Signed:
        """Sign as the approver."""
        return self.unsigned(approver.signer).by_key(approver)

    @classmethod
    def parse(cls, payload: bytes) -> Refusal:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a refusal.
        """
        fields = Fields(decode(payload, what="refusal"), what="refusal")
        fields.version()
        refusal = cls(
            fields.raw("query_digest", size=DIGEST_BYTES),
            fields.raw("policy_digest", size=DIGEST_BYTES),
            fields.text("reason", max_length=MAX_REASON),
            fields.integer("refused_at_ms"),
        )
        fields.done()
        return refusal


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """An approver takes an approval back, or the requester the whole query. For good."""

    query_digest: bytes
    reason: str
    withdrawn_at_ms: int

    def unsigned(self, officer: str) -> Unsigned:
        """Return what is signed as the approver or requester of that name."""
        payload = {
            "v": PROTOCOL_VERSION,
            "query_digest": self.query_digest,
            "reason": self.reason,
            "withdrawn_at_ms": self.withdrawn_at_ms,
        }
        return Unsigned(WITHDRAWAL_KIND, officer, encode(payload))

    def sign(self, officer: SigningKey) -> Signed:
        """Sign as the approver or requester."""
        return self.unsigned(officer.signer).by_key(officer)

    @classmethod
    def parse(cls, payload: bytes) -> Withdrawal:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a withdrawal.
        """
        fields = Fields(decode(payload, what="withdrawal"), what="withdrawal")
        fields.version()
        withdrawal = cls(
            fields.raw("query_digest", size=DIGEST_BYTES),
            fields.text("reason", max_length=MAX_REASON),
            fields.integer("withdrawn_at_ms"),
        )
        fields.done()
        return withdrawal
