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
from protocol.epoch import Announcement, excluded_subsets
from protocol.errors import (
    KeyCommitmentMismatch,
    MalformedMessage,
    ScopeExceeded,
    ShareInvalid,
    SharesMissing,
)
from protocol.keytree import (
    EVIDENCE,
    LABELS_OF,
    META,
    ModalityKey,
    Node,
    cover,
    expand,
    modality_key,
    window_nodes,
)
from protocol.names import SLOTS_PER_EPOCH, CameraAddress
from protocol.signing import Signed, SigningKey, sign

GRANT_REQUEST_KIND, GRANT_KIND = "grant-request", "grant"
GRANT_ID_BYTES = 16
MAX_ANNOUNCEMENTS = 1024
MAX_APPROVALS = 64
_GRANT = "grant"
ALL_LABELS = frozenset(label for labels in LABELS_OF.values() for label in labels)
ROW_BY_ROW = frozenset({META, EVIDENCE})
"""What a grant of a whole slot never holds from version 2 of the protocol on."""


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """What the aggregator asks a custodian: every member but the time is itself signed."""

    query: bytes
    approvals: tuple[bytes, ...]
    withdrawals: tuple[bytes, ...]
    matcher_key: bytes
    announcements: tuple[bytes, ...]
    requested_at_ms: int

    def sign(self, aggregator: SigningKey) -> Signed:
        """Sign as the aggregator."""
        payload = {
            "v": PROTOCOL_VERSION,
            "query": self.query,
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
        fields.version()

        def messages(name: str, most: int) -> tuple[bytes, ...]:
            items = fields.array(name, max_items=most)
            if not all(isinstance(item, bytes) for item in items):
                raise MalformedMessage(f"grant request: '{name}' are not byte strings")
            return tuple(items)

        request = cls(
            query=fields.raw("query"),
            approvals=messages("approvals", MAX_APPROVALS),
            withdrawals=messages("withdrawals", MAX_APPROVALS),
            matcher_key=fields.raw("matcher_key"),
            announcements=messages("announcements", MAX_ANNOUNCEMENTS),
            requested_at_ms=fields.integer("requested_at_ms"),
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
                    _whole(root): tuple(
                        Node(_whole(level), _whole(index), _raw(key))
                        for level, index, key in listed
                    )
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


def _raw(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("not a byte string")
    return value


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
        if any(set(keys.nodes) != set(self.labels) for keys in granted):
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


@dataclass(frozen=True, slots=True)
class Opening:
    """The key that opens a block, and the custodians that released something else in its place."""

    key: ModalityKey
    liars: frozenset[str] = frozenset()


class EpochKeys:
    """The keys of one scope, put together from the grants of at least m custodians.

    Holds, for each label and slot, the leaves of all roots; :meth:`key` combines them.
    """

    __slots__ = ("_leaves", "scope", "version")

    def __init__(
        self,
        scope: Scope,
        leaves: Mapping[str, Mapping[int, tuple[bytes, ...]]],
        version: int = 1,
    ) -> None:
        self.scope = scope
        self.version = version
        self._leaves = leaves

    def key(self, slot: int, label: str) -> ModalityKey:
        """Return the key of one modality of one slot.

        Raises:
            ScopeExceeded: not granted.
        """
        leaves = self._leaves.get(label, {}).get(slot)
        if leaves is None:
            raise ScopeExceeded(f"slot {slot}, '{label}' was not granted")
        return self._derive(leaves, slot, label)

    def _derive(self, leaves: Sequence[bytes], slot: int, label: str) -> ModalityKey:
        return modality_key(
            leaves,
            site=self.scope.address.site,
            box=self.scope.address.box,
            camera=self.scope.address.camera,
            epoch=self.scope.epoch,
            generation=self.scope.generation,
            slot=slot,
            label=label,
            version=self.version,
        )

    def opening(
        self, slot: int, label: str, commitment: bytes, *, doubted: frozenset[str] = frozenset()
    ) -> Opening:
        """Return the key that ``commitment`` (32 bytes) commits to.

        Args:
            doubted: custodians known to have lied; of no concern where all agree.

        Raises:
            ScopeExceeded: not granted.
            KeyCommitmentMismatch: what the custodians released is another key.
        """
        key = self.key(slot, label)
        if not hmac.compare_digest(key.commitment, commitment):
            raise KeyCommitmentMismatch(f"the {label} block was sealed under another key")
        return Opening(key)

    def narrowed(self, slots: range) -> EpochKeys:
        """Return the keys of some consecutive slots of this scope.

        Raises:
            ScopeExceeded: a slot among them was not granted.
        """
        scope = self._narrow(slots)
        leaves = {
            label: {slot: by_slot[slot] for slot in slots}
            for label, by_slot in self._leaves.items()
        }
        return EpochKeys(scope, leaves, self.version)

    def _narrow(self, slots: range) -> Scope:
        granted = self.slots()
        if not slots or slots.start not in granted or slots.stop - 1 not in granted:
            raise ScopeExceeded(f"slots {slots.start} to {slots.stop - 1} were not granted")
        return replace(self.scope, first_slot=slots.start, last_slot=slots.stop - 1)

    def slots(self) -> range:
        """Return the slots that were granted."""
        return range(self.scope.first_slot, self.scope.last_slot + 1)


def combine(announcement: Announcement, grants: Sequence[GrantedKeys]) -> EpochKeys:
    """Put the custodians' nodes for one announcement together.

    Args:
        grants: one a custodian, all for the same scope of this announcement.

    Raises:
        ScopeExceeded: they are for another announcement, or not all of one scope.
        ShareInvalid: two custodians released different keys for the same root.
        SharesMissing: a root is covered by nobody: too few custodians granted.
    """
    if not grants:
        raise SharesMissing("no custodian granted anything")
    scope = grants[0].scope
    stated = (announcement.address, announcement.epoch, announcement.generation)
    if (scope.address, scope.epoch, scope.generation) != stated or any(
        keys.scope != scope for keys in grants
    ):
        raise ScopeExceeded("the grants are not for one scope of this announcement")
    labels = set(grants[0].nodes)
    if any(set(keys.nodes) != labels for keys in grants):
        raise ScopeExceeded("the grants are not for the same labels")
    roots = len(excluded_subsets(announcement.custodians, announcement.threshold))
    leaves: dict[str, dict[int, tuple[bytes, ...]]] = {}
    for label in labels:
        nodes = _merge([keys.nodes[label] for keys in grants], roots)
        expanded = [expand(nodes[number]) for number in range(roots)]
        slots = range(scope.first_slot, scope.last_slot + 1)
        leaves[label] = {slot: tuple(tree[slot] for tree in expanded) for slot in slots}
    return EpochKeys(scope, leaves, announcement.version)


def _merge(
    released: Sequence[Mapping[int, Sequence[Node]]], roots: int
) -> dict[int, Sequence[Node]]:
    merged: dict[int, Sequence[Node]] = {}
    for by_root in released:
        for number, nodes in by_root.items():
            known = merged.setdefault(number, nodes)
            mine, theirs = (b"".join(node.key for node in listed) for listed in (known, nodes))
            if not hmac.compare_digest(mine, theirs):
                raise ShareInvalid(f"two custodians released different keys for root {number}")
    missing = [number for number in range(roots) if number not in merged]
    if missing:
        raise SharesMissing(
            f"{len(missing)} of {roots} roots are covered by no custodian: too few granted"
        )
    return {number: merged[number] for number in range(roots)}
