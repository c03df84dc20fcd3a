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
from protocol.keytree import ModalityKey, Node, SlotKeys, expand


class Opening(NamedTuple):
    """The key that opens a block, and the custodians that released something else in its place."""

    key: ModalityKey
    liars: frozenset[str] = frozenset()


class EpochKeys:
    """The keys of one scope, put together from the grants of at least m custodians.

    Holds, for each label and slot, the leaves of all roots; :meth:`key` combines them. ``origin``
    is where its announcement says that the pictures are from.
    """

    __slots__ = ("_leaves", "_slot_keys", "origin", "scope", "version")

    def __init__(
        self,
        scope: Scope,
        leaves: Mapping[str, Mapping[int, tuple[bytes, ...]]],
        version: int = 1,
        origin: str = CAMERA_NOW,
    ) -> None:
        self.scope = scope
        self.version = version
        self.origin = origin
        self._leaves = leaves
        self._slot_keys = SlotKeys(
            site=scope.address.site,
            box=scope.address.box,
            camera=scope.address.camera,
            epoch=scope.epoch,
            generation=scope.generation,
            version=version,
        )

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
        return self._slot_keys.key(leaves, slot, label)

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
        return EpochKeys(scope, leaves, self.version, self.origin)

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
    return EpochKeys(scope, leaves, announcement.version, announcement.origin)


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
