"""The keys of a scope, put together from what at least m custodians granted.

docs/protocol.md, "Grants". Where custodians contradict each other, see `protocol.reconcile`.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from protocol.epoch import CAMERA_NOW, Announcement, excluded_subsets
from protocol.errors import (
    KeyCommitmentMismatch,
    ScopeExceeded,
    ShareInvalid,
    SharesMissing,
)
from protocol.grant import GrantedKeys, Scope
from protocol.hmacs import KEY_BYTES
from protocol.keytree import DEPTH, ModalityKey, Node, SlotKeys, cover, leaves_below, plan

_AT_ONCE = 8
"""Of so many slots the leaves are derived together, where keys are asked for one by one."""
_NONE: tuple[range, list[tuple[bytes, ...]]] = (range(0), [])


class Opening(NamedTuple):
    """The key that opens a block, and the custodians that released something else in its place."""

    key: ModalityKey
    liars: frozenset[str] = frozenset()


Places = tuple[tuple[int, int], ...]
"""Level and index of nodes of a tree."""


class EpochKeys:
    """The keys of one scope, put together from the grants of at least m custodians.

    Holds, for each label, the nodes that were granted of all roots, and derives a slot's key only
    when it is asked for: of a label that nobody reads nothing is derived. ``origin`` is where its
    announcement says that the pictures are from.

    Args:
        nodes: label to the keys of the nodes that were granted, end to end: those of the first
            root, then those of the next.
        places: where in the tree the nodes of each root are.
    """

    __slots__ = ("_kept", "_nodes", "_places", "_slot_keys", "origin", "scope", "version")

    def __init__(
        self,
        scope: Scope,
        nodes: Mapping[str, bytes],
        places: Places,
        version: int = 1,
        origin: str = CAMERA_NOW,
    ) -> None:
        self.scope = scope
        self.version = version
        self.origin = origin
        self._nodes = nodes
        self._places = places
        self._slot_keys: SlotKeys | None = None
        self._kept: dict[str, tuple[range, list[tuple[bytes, ...]]]] | None = None

    def __reduce__(self) -> tuple[type[EpochKeys], tuple[object, ...]]:
        """Pickle what was granted, and nothing that was derived from it."""
        return EpochKeys, (self.scope, self._nodes, self._places, self.version, self.origin)

    def key(self, slot: int, label: str) -> ModalityKey:
        """Return the key of one modality of one slot.

        Raises:
            ScopeExceeded: not granted.
        """
        if slot not in self.slots() or label not in self._nodes:
            raise ScopeExceeded(f"slot {slot}, '{label}' was not granted")
        if self._kept is None:
            self._kept = {}
        slots, leaves = self._kept.get(label, _NONE)
        if slot not in slots:
            # Whoever asks for one slot is likely to ask for those beside it.
            start = slot - slot % _AT_ONCE
            granted = self.slots()
            slots = range(max(start, granted.start), min(start + _AT_ONCE, granted.stop))
            leaves = self._leaves(label, tuple(slots))
            self._kept[label] = slots, leaves
        return self._derive(leaves[slot - slots.start], slot, label)

    def keys(self, slots: Sequence[int], label: str) -> tuple[list[bytes], list[bytes]]:
        """Return the keys of one modality of several slots, in their order; none of them is kept.

        Returns:
            The keys, and their commitments, 32 bytes each.

        Raises:
            ScopeExceeded: one of them was not granted.
        """
        granted = self.slots()
        if label not in self._nodes or not all(slot in granted for slot in slots):
            raise ScopeExceeded(f"'{label}' was not granted, or not of all these slots")
        return self._of_generation().keys(self._leaves(label, tuple(slots)), slots, label)

    def _leaves(self, label: str, slots: tuple[int, ...]) -> list[tuple[bytes, ...]]:
        """Return the leaves of all roots of each slot."""
        if not slots:
            return []
        # A day of which a few segments are missing has the plan of a whole one.
        span = range(min(slots), max(slots) + 1)
        planned = plan(self._places, tuple(span) if len(span) < 2 * len(slots) else slots)
        roots = _split(self._nodes[label], len(self._places))
        leaves = [*zip(*(leaves_below(one, planned) for one in roots), strict=True)]
        return leaves if planned.slots == slots else [leaves[planned.slots.index(s)] for s in slots]

    def _derive(self, leaves: Sequence[bytes], slot: int, label: str) -> ModalityKey:
        return self._of_generation().key(leaves, slot, label)

    def _of_generation(self) -> SlotKeys:
        if self._slot_keys is None:
            address = self.scope.address
            self._slot_keys = SlotKeys(
                site=address.site,
                box=address.box,
                camera=address.camera,
                epoch=self.scope.epoch,
                generation=self.scope.generation,
                version=self.version,
            )
        return self._slot_keys

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

        They hold the nodes that were granted above these slots, so perhaps of others beside them,
        for which nothing is derived.

        Raises:
            ScopeExceeded: a slot among them was not granted.
        """
        scope = self._narrow(slots)
        kept = [
            number
            for number, (level, index) in enumerate(self._places)
            if _overlap(level, index, slots)
        ]
        cut = slice(kept[0] * KEY_BYTES, (kept[-1] + 1) * KEY_BYTES)
        nodes = {
            label: b"".join(of_root[cut] for of_root in _split(keys, len(self._places)))
            for label, keys in self._nodes.items()
        }
        places = self._places[kept[0] : kept[-1] + 1]
        return EpochKeys(scope, nodes, places, self.version, self.origin)

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
    places = tuple(cover(scope.first_slot, scope.last_slot))
    nodes: dict[str, bytes] = {}
    for label in labels:
        merged = _merge([keys.nodes[label] for keys in grants], roots)
        if any(tuple((n.level, n.index) for n in of_root) != places for of_root in merged):
            raise ScopeExceeded("a grant's nodes are not those of its scope")
        nodes[label] = b"".join(_joined(of_root) for of_root in merged)
    return EpochKeys(scope, nodes, places, announcement.version, announcement.origin)


def _split(nodes: bytes, places: int) -> list[bytes]:
    """Return the nodes of each root, those of one end to end."""
    size = places * KEY_BYTES
    return [nodes[at : at + size] for at in range(0, len(nodes), size)]


def _overlap(level: int, index: int, slots: range) -> bool:
    width = 1 << (DEPTH - level)
    return index * width < slots.stop and slots.start < (index + 1) * width


def _joined(nodes: Sequence[Node]) -> bytes:
    return b"".join([node.key for node in nodes])


def _merge(released: Sequence[Mapping[int, Sequence[Node]]], roots: int) -> list[Sequence[Node]]:
    """Return the nodes of each root, in the order of the roots. Errors as :func:`combine`."""
    merged: dict[int, Sequence[Node]] = {}
    for by_root in released:
        for number, nodes in by_root.items():
            known = merged.setdefault(number, nodes)
            if known is not nodes and not hmac.compare_digest(_joined(known), _joined(nodes)):
                raise ShareInvalid(f"two custodians released different keys for root {number}")
    missing = [number for number in range(roots) if number not in merged]
    if missing:
        raise SharesMissing(
            f"{len(missing)} of {roots} roots are covered by no custodian: too few granted"
        )
    return [merged[number] for number in range(roots)]
