"""What is signed about a query: the matcher's key, approvals, withdrawals.

docs/protocol.md, "Queries".
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol import hpke
from protocol.encoding import PROTOCOL_VERSION, Fields, decode, encode
from protocol.query import DIGEST_BYTES
from protocol.signing import Signed, SigningKey, sign

MATCHER_KEY_KIND = "matcher-key"
APPROVAL_KIND, WITHDRAWAL_KIND = "approval", "withdrawal"


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

    def sign(self, approver: SigningKey) -> Signed:
        """Sign as the approver."""
        payload = {
            "v": PROTOCOL_VERSION,
            "query_digest": self.query_digest,
            "policy_digest": self.policy_digest,
            "approved_at_ms": self.approved_at_ms,
        }
        return sign(APPROVAL_KIND, encode(payload), approver)

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
class Withdrawal:
    """An approver takes an approval back, or the requester the whole query. For good."""

    query_digest: bytes
    reason: str
    withdrawn_at_ms: int

    def sign(self, officer: SigningKey) -> Signed:
        """Sign as the approver or requester."""
        payload = {
            "v": PROTOCOL_VERSION,
            "query_digest": self.query_digest,
            "reason": self.reason,
            "withdrawn_at_ms": self.withdrawn_at_ms,
        }
        return sign(WITHDRAWAL_KIND, encode(payload), officer)

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
            fields.text("reason", max_length=2000),
            fields.integer("withdrawn_at_ms"),
        )
        fields.done()
        return withdrawal
