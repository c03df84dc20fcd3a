"""Grants: what m custodians release so that exactly the scope of an authorized query opens.

docs/protocol.md, "Keys of a camera's day", point 5. The aggregator sends the query, its approvals,
the matcher's fresh key and the boards' announcements; each custodian decides alone, then answers
with the few tree nodes that cover the scope, sealed to the matcher's key.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from protocol import hpke
from protocol.encoding import PROTOCOL_VERSION, Fields, decode, encode
from protocol.errors import (
    MalformedMessage,
    ScopeExceeded,
)
from protocol.keytree import (
    EVIDENCE,
    LABELS_OF,
    META,
    Node,
    cover,
    window_nodes,
)
from protocol.names import SLOTS_PER_EPOCH, CameraAddress
from protocol.query import MAX_QUERY_BYTES, QUERY_KIND
from protocol.signing import Signed, SigningKey, sign

GRANT_REQUEST_KIND, GRANT_KIND = "grant-request", "grant"
GRANT_ID_BYTES = 16
BY_DIGEST = 2
"""The version of requests that name their query by its digest."""
DIGEST_BYTES = 32
MAX_ANNOUNCEMENTS = 1024
MAX_APPROVALS = 64
_GRANT = "grant"
ALL_LABELS = frozenset(label for labels in LABELS_OF.values() for label in labels)
ROW_BY_ROW = frozenset({META, EVIDENCE})
"""What a grant of a whole slot never holds from version 2 of the protocol on."""


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """What the aggregator asks a custodian: every member but the time is itself signed.

    Version 1 brings the signed ``query``. Version 2 names by ``query_digest`` one that the
    custodian was sent before; ``query`` is empty then, until the reader puts in what it holds.
    """

    query: bytes
    approvals: tuple[bytes, ...]
    withdrawals: tuple[bytes, ...]
    matcher_key: bytes
    announcements: tuple[bytes, ...]
    requested_at_ms: int
    query_digest: bytes | None = None

    def naming(self, query_digest: bytes) -> GrantRequest:
        """Return the same request with its query named by ``query_digest`` (32 bytes) alone."""
        return replace(self, query=b"", query_digest=query_digest)

    def having(self, query: bytes) -> GrantRequest:
        """Return the same request with the signed query that its digest names.

        Raises:
            ScopeExceeded: it is another query.
        """
        digest = Signed.parse(query, kind=QUERY_KIND, max_bytes=MAX_QUERY_BYTES).digest
        if self.query_digest is None or not hmac.compare_digest(digest, self.query_digest):
            raise ScopeExceeded("that is not the query that the request names")
        return replace(self, query=query, query_digest=None)

    def sign(self, aggregator: SigningKey) -> Signed:
        """Sign as the aggregator."""
        named = self.query_digest
        payload = {
            "v": PROTOCOL_VERSION if named is None else BY_DIGEST,
            **({"query": self.query} if named is None else {"query_digest": named}),
            "approvals": list(self.approvals),
            "withdrawals": list(self.withdrawals),
            "matcher_key": self.matcher_key,
            "announcements": list(self.announcements),
            "requested_at_ms": self.requested_at_ms,
        }
        return sign(GRANT_REQUEST_KIND, encode(payload), aggregator)

    @classmethod
    def parse(cls, payload: bytes) -> GrantRequest:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a grant request.
        """
        fields = Fields(decode(payload, what="grant request"), what="grant request")
        by_digest = fields.one_of_versions(PROTOCOL_VERSION, BY_DIGEST) == BY_DIGEST
        request = cls(
            query=b"" if by_digest else fields.raw("query"),
            approvals=fields.raws("approvals", max_items=MAX_APPROVALS),
            withdrawals=fields.raws("withdrawals", max_items=MAX_APPROVALS),
            matcher_key=fields.raw("matcher_key"),
            announcements=fields.raws("announcements", max_items=MAX_ANNOUNCEMENTS),
            requested_at_ms=fields.integer("requested_at_ms"),
            query_digest=fields.raw("query_digest", size=DIGEST_BYTES) if by_digest else None,
        )
        fields.done()
        return request


@dataclass(frozen=True, slots=True)
class Scope:
    """The slots ``first..last`` of one generation of one camera's epoch."""

    address: CameraAddress
    epoch: int
    generation: int
    first_slot: int
    last_slot: int

    def to_value(self) -> list[object]:
        """Return the array that is encoded."""
        return [
            self.address.site,
            self.address.box,
            self.address.camera,
            self.epoch,
            self.generation,
            self.first_slot,
            self.last_slot,
        ]

    @classmethod
    def from_value(cls, value: object) -> Scope:
        """Read a decoded array.

        Raises:
            MalformedMessage: it is not a scope.
        """
        if (
            not isinstance(value, list)
            or len(value) != 7
            or not all(isinstance(part, int) and not isinstance(part, bool) for part in value[3:])
        ):
            raise MalformedMessage("not a scope")
        address = CameraAddress(*value[:3])
        scope = cls(address, *value[3:])
        if not 0 <= scope.first_slot <= scope.last_slot < SLOTS_PER_EPOCH:
            raise MalformedMessage("a scope's slots are not a range of a day's slots")
        return scope


@dataclass(frozen=True, slots=True)
class GrantedKeys:
    """One scope with the nodes that one custodian released: label, root number, nodes."""

    scope: Scope
    nodes: Mapping[str, Mapping[int, Sequence[Node]]]

    def to_value(self) -> list[object]:
        """Return the array that is encoded, keys included."""
        return [
            self.scope.to_value(),
            {
                label: [
                    [root, [[node.level, node.index, node.key] for node in nodes]]
                    for root, nodes in sorted(by_root.items())
                ]
                for label, by_root in self.nodes.items()
            },
        ]

    @classmethod
    def from_value(cls, value: object) -> GrantedKeys:
        """Read a decoded array; the nodes must cover exactly the scope, no more and no less.

        Raises:
            MalformedMessage: it is not granted keys.
            ScopeExceeded: the nodes are not those of the scope.
        """
        try:
            scope = Scope.from_value(value[0])  # type: ignore[index]
            nodes = {
                label: {
                    _whole(root): tuple([_node(*node) for node in listed])
                    for root, listed in by_root
                }
                for label, by_root in value[1].items()  # type: ignore[index]
            }
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            raise MalformedMessage("not granted keys") from error
        wanted = cover(scope.first_slot, scope.last_slot)
        for label, by_root in nodes.items():
            if label not in ALL_LABELS:
                raise MalformedMessage(f"'{label}' is not a key label")
            for listed in by_root.values():
                if [(node.level, node.index) for node in listed] != wanted:
                    raise ScopeExceeded("a grant's nodes are not those of its scope")
        return cls(scope, nodes)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("not a whole number")
    return value


def _node(level: object, index: object, key: object) -> Node:
    if type(level) is not int or type(index) is not int or type(key) is not bytes:
        raise TypeError("not a node")
    return Node(level, index, key)


def release(
    roots: Mapping[int, bytes], scope: Scope, labels: Sequence[str], version: int = 1
) -> GrantedKeys:
    """Derive what one custodian releases for one scope from its roots of that announcement.

    Args:
        version: of the announcement's generation.

    Raises:
        ScopeExceeded: from version 2 on, metadata and evidence open row by row and never by slot.
    """
    if version > 1 and set(labels) & ROW_BY_ROW:
        raise ScopeExceeded("metadata and evidence of this generation open row by row only")
    nodes = {
        label: {
            number: window_nodes(root, label, scope.first_slot, scope.last_slot, version)
            for number, root in roots.items()
        }
        for label in labels
    }
    return GrantedKeys(scope, nodes)


@dataclass(frozen=True, slots=True)
class Grant:
    """A custodian's answer. ``refused`` gives camera, epoch and reason of what it cannot open.

    ``labels`` are those of all scopes together: each scope has those of its generation's version.
    ``entry_index`` is where the grant stands in the custodian's audit log (counted from 0): it
    was written there before the grant left.
    """

    grant_id: bytes
    query_digest: bytes
    labels: tuple[str, ...]
    scopes: tuple[Scope, ...]
    refused: tuple[tuple[str, int, str], ...]
    entry_index: int
    granted_at_ms: int
    sealed: bytes

    def sign(self, custodian: SigningKey) -> Signed:
        """Sign as the custodian."""
        payload = {
            "v": PROTOCOL_VERSION,
            "grant_id": self.grant_id,
            "query_digest": self.query_digest,
            "labels": list(self.labels),
            "scopes": [scope.to_value() for scope in self.scopes],
            "refused": [list(item) for item in self.refused],
            "entry_index": self.entry_index,
            "granted_at_ms": self.granted_at_ms,
            "sealed": self.sealed,
        }
        return sign(GRANT_KIND, encode(payload), custodian)

    @classmethod
    def parse(cls, payload: bytes) -> Grant:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a grant.
        """
        fields = Fields(decode(payload, what="grant"), what="grant")
        fields.version()
        scopes = fields.array("scopes", max_items=MAX_ANNOUNCEMENTS)
        refused = fields.array("refused", max_items=MAX_ANNOUNCEMENTS)
        for item in refused:
            if (
                not isinstance(item, list)
                or [type(part) for part in item] != [str, int, str]
                or not (item[0] + item[2]).isprintable()
            ):
                raise MalformedMessage("a refusal is not [camera, epoch, reason]")
        grant = cls(
            grant_id=fields.raw("grant_id", size=GRANT_ID_BYTES),
            query_digest=fields.raw("query_digest", size=32),
            labels=fields.texts("labels", max_items=len(ALL_LABELS)),
            scopes=tuple(Scope.from_value(value) for value in scopes),
            refused=tuple((item[0], item[1], item[2]) for item in refused),
            entry_index=fields.integer("entry_index"),
            granted_at_ms=fields.integer("granted_at_ms"),
            sealed=fields.raw("sealed"),
        )
        fields.done()
        return grant

    def open(self, matcher: hpke.PrivateKey) -> list[GrantedKeys]:
        """Open the released nodes; they must be for the scopes that the grant states.

        Raises:
            AuthenticationFailed: altered, or sealed to another matcher or for another query.
            ScopeExceeded: it releases something else than it states.
        """
        opened = matcher.open(
            self.sealed, purpose=_GRANT, context=[self.grant_id, self.query_digest]
        )
        value = decode(opened, what="granted keys")
        if not isinstance(value, list):
            raise MalformedMessage("not granted keys")
        granted = [GrantedKeys.from_value(item) for item in value]
        if [keys.scope for keys in granted] != list(self.scopes):
            raise ScopeExceeded("a grant releases other scopes than it states")
        if {label for keys in granted for label in keys.nodes} != set(self.labels):
            raise ScopeExceeded("a grant releases other labels than it states")
        return granted


def seal_grant(
    granted: Sequence[GrantedKeys],
    matcher: hpke.PublicKey,
    *,
    grant_id: bytes,
    query_digest: bytes,
) -> bytes:
    """Seal released nodes to the matcher."""
    value = encode([keys.to_value() for keys in granted])
    return matcher.seal(value, purpose=_GRANT, context=[grant_id, query_digest])
