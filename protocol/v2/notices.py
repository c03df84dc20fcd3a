"""Notices: what a box must know to publish live envelopes while somebody may look, and not else.

Between live queries nothing of a running quarter hour leaves a box, so an observer at the broker
learns no moment at which somebody passed. A notice brings the signed policy and the signed live
queries with their approvals and withdrawals. The aggregator signs it so that a box knows which is
newest, and is not believed beyond that: the box takes each decision by `authorize()`, as a
custodian does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.about_queries import APPROVAL_KIND, WITHDRAWAL_KIND
from protocol.authorization import AuthorizedQuery, authorize, parse_signed_query
from protocol.directory import AGGREGATOR, Directory
from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage, ProtocolError
from protocol.policy import Policy, open_policy
from protocol.signing import Signed, SigningKey, VerifyKey, sign
from protocol.v2 import VERSION

NOTICE_KIND = "notice"
MAX_NOTICE_BYTES = 4 << 20
MAX_QUERIES = 256
MAX_SIGNATURES = 64


@dataclass(frozen=True, slots=True)
class NoticedQuery:
    """A signed query with what has been signed over it, as it came."""

    query: bytes
    approvals: tuple[bytes, ...]
    withdrawals: tuple[bytes, ...]

    @classmethod
    def from_value(cls, value: object) -> NoticedQuery:
        """Read a decoded array.

        Raises:
            MalformedMessage: it is not one.
        """
        if (
            not isinstance(value, list)
            or len(value) != 3
            or not isinstance(value[0], bytes)
            or not all(
                isinstance(part, list)
                and len(part) <= MAX_SIGNATURES
                and all(isinstance(item, bytes) for item in part)
                and len(set(part)) == len(part)
                for part in value[1:]
            )
        ):
            raise MalformedMessage(
                "a noticed query is not [query, approvals, withdrawals], each of these once"
            )
        return cls(value[0], tuple(value[1]), tuple(value[2]))


@dataclass(frozen=True, slots=True)
class Notice:
    """What a box is told.

    Args:
        number: rises with every notice; a box never goes back.
        policy, policy_signature: the file, and its detached signature.
    """

    site: str
    number: int
    issued_at_ms: int
    policy: bytes
    policy_signature: bytes
    queries: tuple[NoticedQuery, ...]

    def sign(self, aggregator: SigningKey) -> Signed:
        """Sign as the aggregator."""
        payload = {
            "v": VERSION,
            "site": self.site,
            "number": self.number,
            "issued_at_ms": self.issued_at_ms,
            "policy": self.policy,
            "policy_signature": self.policy_signature,
            "queries": [
                [one.query, list(one.approvals), list(one.withdrawals)] for one in self.queries
            ],
        }
        return sign(NOTICE_KIND, encode(payload), aggregator)

    @classmethod
    def parse(cls, payload: bytes) -> Notice:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a notice.
        """
        fields = Fields(decode(payload, what="notice"), what="notice")
        fields.version(VERSION)
        notice = cls(
            fields.name("site"),
            fields.integer("number", low=1),
            fields.integer("issued_at_ms"),
            fields.raw("policy", max_size=1 << 16),
            fields.raw("policy_signature", max_size=1024),
            tuple(
                NoticedQuery.from_value(item)
                for item in fields.array("queries", max_items=MAX_QUERIES)
            ),
        )
        fields.done()
        # All of it is judged again and again: mere repetition would keep a board from sealing.
        if len({one.query for one in notice.queries}) != len(notice.queries):
            raise MalformedMessage("the notice brings a query twice")
        return notice


def open_notice(data: bytes, directory: Directory, *, after: int) -> Notice:
    """Verify a notice.

    Args:
        after: number of the newest one that was taken in, 0 for none.

    Raises:
        SignatureInvalid: not signed by the site's aggregator.
        MalformedMessage: not a notice of this site, or not a newer one.
    """
    signed = Signed.parse(data, kind=NOTICE_KIND, max_bytes=MAX_NOTICE_BYTES)
    notice = Notice.parse(signed.verify(directory.resolver(AGGREGATOR)))
    if notice.site != directory.site:
        raise MalformedMessage(f"the notice is of site '{notice.site}', not '{directory.site}'")
    if notice.number <= after:
        raise MalformedMessage(f"the notice is no newer than the one at hand (number {after})")
    return notice


@dataclass(frozen=True, slots=True)
class Standing:
    """What a box found in a notice: the policy, the queries that stand, and why others do not."""

    policy: Policy
    queries: tuple[AuthorizedQuery, ...]
    refused: tuple[str, ...]

    def live_until_ms(self, camera: str, now_ms: int) -> int | None:
        """Return until when live envelopes of ``camera`` are asked for; None if they are not now.

        A query that begins later is asked for then: the box looks again at every slot.
        """
        ends = [
            min(one.query.window_to_ms, one.query.not_after_ms)
            for one in self.queries
            if one.query.live
            and camera in one.query.cameras
            and one.query.window_from_ms <= now_ms < one.query.window_to_ms
        ]
        return max(ends, default=None)


def standing(
    notice: Notice, directory: Directory, *, authority: VerifyKey, now_ms: int
) -> Standing:
    """Decide by oneself which of a notice's queries stand now.

    Raises:
        SignatureInvalid, PolicyMismatch, MalformedMessage: the policy is not the site's.
    """
    policy = open_policy(notice.policy, notice.policy_signature, authority, site=directory.site)
    stand, refused = [], []
    for one in notice.queries:
        try:
            stand.append(
                authorize(
                    parse_signed_query(one.query),
                    _signed(one.approvals, APPROVAL_KIND),
                    _signed(one.withdrawals, WITHDRAWAL_KIND),
                    directory=directory,
                    policy=policy,
                    now_ms=now_ms,
                )
            )
        except ProtocolError as error:
            refused.append(str(error))
    return Standing(policy, tuple(stand), tuple(refused))


def _signed(items: Sequence[bytes], kind: str) -> list[Signed]:
    return [Signed.parse(item, kind=kind) for item in items]
