"""The key tree of a camera's day: a GGM tree of HMAC-SHA256, one tree a root and modality.

From a root, ``HMAC(root, "sealtrace/v1/tree/" + label)`` is the top of the tree of that modality;
then left = HMAC(node, 0x00), right = HMAC(node, 0x01), depth 7; leaves 0 to 95 are the slots. A
slot's key needs the leaf of **every** root (docs/protocol.md, "Keys of a camera's day").

The modality is split off at the top, not below the slot: so a grant for a window is the same few
nodes whatever modalities it covers, and what it does not cover cannot be derived from it.

Source: O. Goldreich, S. Goldwasser, S. Micali, "How to construct random functions", J. ACM 33(4),
1986; as a puncturable PRF: D. Boneh, B. Waters, ASIACRYPT 2013.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from protocol.encoding import encode, encode_unsigned
from protocol.errors import MalformedMessage, ScopeExceeded, UnsupportedVersion
from protocol.hmacs import BOTH, KEY_BYTES, LEFT, RIGHT, grow, hkdf_pair, hkdf_pairs, hmac_sha256
from protocol.names import SLOTS_PER_EPOCH

DEPTH = 7
_ARRAY = 0x80  # the head of a CBOR array of up to 23 items, less their number
Modality = Literal["face", "appearance"]
FACE: Final = "face"
APPEARANCE: Final = "appearance"
MODALITIES: tuple[Modality, ...] = (FACE, APPEARANCE)
"""What templates are made of, in the order of an envelope's blocks; no other code names one."""
NEEDS_CONSENT: frozenset[Modality] = frozenset({FACE})
"""Modalities whose templates are compared on recorded consent alone."""
FOLLOWED: Final = APPEARANCE
"""By which people are followed: what many share. It identifies nobody, and is given no likelihood
ratio."""
META, LIVE, EVIDENCE = "meta", "live", "evidence"
LABELS = (*MODALITIES, META, LIVE, EVIDENCE)
COVER, COUNTS = "cover", "counts"
"""From version 2 on: the rows and what was watched; how many were there, for who asks for that."""
MATCH = "match"
"""Reserved: comparison without opening a template."""
LABELS_OF = {1: LABELS, 2: (*LABELS, COVER, COUNTS, MATCH)}
"""By version of the protocol: no key of one version is a key of the other."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a tree: ``level`` 0 (top) to 7 (leaf), ``index`` within the level, 32-byte key."""

    level: int
    index: int
    key: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.level <= DEPTH or not 0 <= self.index < 1 << self.level:
            raise MalformedMessage("a key tree node is outside the tree")
        if len(self.key) != KEY_BYTES:
            raise MalformedMessage(f"a key tree node has {KEY_BYTES} bytes")

    @property
    def slots(self) -> range:
        """The leaves below this node (may reach past slot 95, which nobody uses)."""
        width = 1 << (DEPTH - self.level)
        return range(self.index * width, (self.index + 1) * width)

    def child(self, side: int) -> Node:
        """Return the left (0) or the right (1) child."""
        key = hmac_sha256(self.key, b"\x01" if side else b"\x00")
        return Node(self.level + 1, self.index * 2 + side, key)

    def children(self) -> tuple[Node, Node]:
        """Return the left and the right child."""
        return self.child(0), self.child(1)

    def __repr__(self) -> str:
        return f"Node(level={self.level}, index={self.index})"


def context_of(version: int) -> str:
    """Return what every key of a version of the protocol is bound to.

    Raises:
        UnsupportedVersion: it is not one that this code speaks.
    """
    if version not in LABELS_OF:
        raise UnsupportedVersion(f"keys of version {version} of the protocol are not known here")
    return f"sealtrace/v{version}"


def tree_top(root: bytes, label: str, version: int = 1) -> Node:
    """Return the top of the tree of one label under one root."""
    context = context_of(version)
    if label not in LABELS_OF[version]:
        raise MalformedMessage(f"'{label}' is not a key label")
    if len(root) != KEY_BYTES:
        raise MalformedMessage(f"a root has {KEY_BYTES} bytes")
    return Node(0, 0, hmac_sha256(root, f"{context}/tree/{label}".encode()))


def cover(first: int, last: int) -> list[tuple[int, int]]:
    """Return the fewest ``(level, index)`` whose leaves are exactly the slots ``first..last``.

    Raises:
        ScopeExceeded: not a non-empty range of slots 0 to 95.
    """
    if not 0 <= first <= last < SLOTS_PER_EPOCH:
        raise ScopeExceeded(f"slots {first} to {last} are not a range of a day's slots")
    found: list[tuple[int, int]] = []
    low, high, level = first, last + 1, DEPTH
    while low < high:
        if low & 1:
            found.append((level, low))
            low += 1
        if high & 1:
            high -= 1
            found.append((level, high))
        low, high, level = low >> 1, high >> 1, level - 1
    return sorted(found, key=lambda node: node[1] << (DEPTH - node[0]))


def descend(node: Node, level: int, index: int) -> Node:
    """Derive the node at ``(level, index)`` below ``node``.

    Raises:
        ScopeExceeded: it is not below ``node``.
    """
    if level < node.level or index >> (level - node.level) != node.index:
        raise ScopeExceeded("that key is not below the node")
    for shift in range(level - node.level - 1, -1, -1):
        node = node.child((index >> shift) & 1)
    return node


def window_nodes(root: bytes, label: str, first: int, last: int, version: int = 1) -> list[Node]:
    """Return the nodes that a grant for slots ``first..last`` of one modality consists of."""
    if not 0 <= first <= last < SLOTS_PER_EPOCH:
        raise ScopeExceeded(f"slots {first} to {last} are not a range of a day's slots")
    # Each node on the way is derived once, and as plain values: a city asks for millions of them.
    found: list[Node] = []
    pending = [(0, 0, tree_top(root, label, version).key)]
    while pending:
        level, index, key = pending.pop()
        width = 1 << (DEPTH - level)
        start = index * width
        if first <= start and start + width - 1 <= last:
            found.append(Node(level, index, key))
            continue
        middle = start + width // 2
        if last >= middle:
            pending.append((level + 1, index * 2 + 1, hmac_sha256(key, b"\x01")))
        if first < middle:
            pending.append((level + 1, index * 2, hmac_sha256(key, b"\x00")))
    return found


def expand(nodes: Iterable[Node]) -> dict[int, bytes]:
    """Derive every slot leaf below ``nodes``: slot to 32-byte key, slots 0 to 95 only."""
    leaves: dict[int, bytes] = {}
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if node.slots.start >= SLOTS_PER_EPOCH:
            continue
        if node.level == DEPTH:
            leaves[node.index] = node.key
        else:
            pending.extend(node.children())
    return leaves


class Plan(NamedTuple):
    """How the leaves of some slots grow from nodes: the same for every root, label and camera.

    Args:
        slots: whose leaves.
        steps: as `protocol.hmacs.grow` takes them, each node derived once.
        leaves: where each slot's leaf then stands among the keys.
    """

    slots: tuple[int, ...]
    steps: tuple[tuple[int, int], ...]
    leaves: tuple[int, ...]


@lru_cache(maxsize=256)
def plan(places: tuple[tuple[int, int], ...], slots: tuple[int, ...]) -> Plan:
    """Return how to derive the leaves of ``slots`` from nodes at ``places``, and nothing else.

    Args:
        places: level and index of each node.

    Raises:
        ScopeExceeded: a slot is below none of them.
    """
    at = {place: number for number, place in enumerate(places)}
    wanted: list[set[int]] = [set() for _ in range(DEPTH + 1)]
    for slot in slots:
        level = DEPTH
        while (level, slot >> (DEPTH - level)) not in at:
            wanted[level].add(slot >> (DEPTH - level))
            level -= 1
            if level < 0:
                raise ScopeExceeded(f"the key of slot {slot} is below no node that was granted")
    steps: list[tuple[int, int]] = []
    known = len(places)
    for level in range(1, DEPTH + 1):
        for parent in sorted({index >> 1 for index in wanted[level]}):
            sides = [side for side in (LEFT, RIGHT) if parent * 2 + side in wanted[level]]
            steps.append((at[level - 1, parent], BOTH if len(sides) == 2 else sides[0]))
            for side in sides:
                at[level, parent * 2 + side] = known
                known += 1
    return Plan(slots, tuple(steps), tuple(at[DEPTH, slot] for slot in slots))


def leaves_below(nodes: bytes, planned: Plan) -> list[bytes]:
    """Return the leaves that a plan leads to, 32 bytes each.

    Args:
        nodes: the keys of the plan's places, 32 bytes each, end to end.

    Raises:
        MalformedMessage: they are cut short.
    """
    keys = [nodes[at : at + KEY_BYTES] for at in range(0, len(nodes), KEY_BYTES)]
    if len(nodes) % KEY_BYTES:
        raise MalformedMessage(f"a key tree node has {KEY_BYTES} bytes")
    grow(keys, planned.steps)
    return [keys[place] for place in planned.leaves]


class PuncturableTree:
    """One modality's tree as a board holds it: what has passed can no longer be derived.

    Holds only nodes that cover the slots from the last :meth:`forget_before` on.
    """

    __slots__ = ("_nodes",)

    def __init__(self, root: bytes, label: str, *, first_slot: int = 0, version: int = 1) -> None:
        self._nodes = window_nodes(root, label, first_slot, SLOTS_PER_EPOCH - 1, version)

    def leaf(self, slot: int) -> bytes:
        """Return the leaf of ``slot``, 32 bytes.

        Raises:
            ScopeExceeded: the slot has been forgotten or does not exist.
        """
        for node in self._nodes:
            if slot in node.slots and slot < SLOTS_PER_EPOCH:
                return descend(node, DEPTH, slot).key
        raise ScopeExceeded(f"the key of slot {slot} has been dropped, or never existed")

    def forget_before(self, slot: int) -> None:
        """Drop everything from which a slot before ``slot`` could be derived."""
        if slot >= SLOTS_PER_EPOCH:
            self._nodes = []
            return
        kept: list[Node] = []
        for level, index in cover(slot, SLOTS_PER_EPOCH - 1):
            for node in self._nodes:
                if level >= node.level and index >> (level - node.level) == node.index:
                    kept.append(descend(node, level, index))
                    break
        self._nodes = kept


@dataclass(frozen=True, slots=True)
class ModalityKey:
    """The key of one modality in one slot of one camera, and its public commitment (32 B each)."""

    key: bytes
    commitment: bytes

    def __repr__(self) -> str:
        return "ModalityKey(...)"


def modality_key(
    leaves: Sequence[bytes],
    *,
    site: str,
    camera: str,
    epoch: int,
    generation: int,
    slot: int,
    label: str,
    box: str = "",
    version: int = 1,
) -> ModalityKey:
    """Combine one slot's leaves of **all** roots, in the order of the roots (HKDF, RFC 5869).

    Args:
        box: bound to the key from version 2 on, where a recording of a camera may be imported by
            another box than the camera's own.
    """
    place = [site, camera] if version == 1 else [site, box, camera]
    return derive_key(
        leaves, [context_of(version), "slot-key", *place, epoch, generation, slot, label]
    )


class SlotKeys:
    """Makes what :func:`modality_key` makes, for the slots of one generation.

    What they share is encoded once: matching would spend more on it than on many a block.
    """

    __slots__ = ("_before",)

    def __init__(
        self, *, site: str, box: str, camera: str, epoch: int, generation: int, version: int
    ) -> None:
        place = [site, camera] if version == 1 else [site, box, camera]
        before = [context_of(version), "slot-key", *place, epoch, generation]
        self._before = bytes([_ARRAY | (len(before) + 2)]) + encode(before)[1:]

    def key(self, leaves: Sequence[bytes], slot: int, label: str) -> ModalityKey:
        """Combine one slot's leaves of **all** roots, in the order of the roots."""
        return _derive(leaves, self._before + encode_unsigned(slot) + encode(label))

    def keys(
        self, leaves: Iterable[Sequence[bytes]], slots: Iterable[int], label: str
    ) -> tuple[list[bytes], list[bytes]]:
        """Combine the leaves of several slots, each of 32 bytes (`leaves_below`).

        Returns:
            The keys, and their commitments.
        """
        before, behind = self._before, encode(label)
        infos = [before + encode_unsigned(slot) + behind for slot in slots]
        return hkdf_pairs(map(b"".join, leaves), infos)


def derive_key(parts: Sequence[bytes], info: Sequence[object]) -> ModalityKey:
    """Derive a key and its commitment from one value of 32 bytes a root, in the order of the roots.

    Raises:
        MalformedMessage: a value is missing, or of another length.
    """
    return _derive(parts, encode(list(info)))


def _derive(parts: Sequence[bytes], info: bytes) -> ModalityKey:
    if {*map(len, parts)} != {KEY_BYTES}:
        raise MalformedMessage(f"a key is made of one value of {KEY_BYTES} bytes a root")
    return ModalityKey(*hkdf_pair(b"".join(parts), info))
