"""Keys from the grants of custodians of whom some may lie: what opens is what the box sealed under.

docs/protocol.md, "Grants". Where all agree there is one key a slot, and nothing more to do. Where
two contradict each other nobody can tell from the grants alone who is right; the public commitment
in front of every sealed block can. Any m of the custodians hold all roots, so the block opens under
what some m of them released together, and whoever released something else did not tell the truth.
With at most 9 custodians there are at most 126 such groups, tried only where there is a dispute.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from protocol.epoch import CAMERA_NOW, Announcement, roots_of
from protocol.epoch_keys import EpochKeys, Opening, combine
from protocol.errors import KeyCommitmentMismatch, ScopeExceeded, ShareInvalid, SharesMissing
from protocol.grant import ROW_BY_ROW, GrantedKeys, Scope
from protocol.keytree import DEPTH, LABELS_OF, ModalityKey, descend

_Released = Mapping[str, Mapping[int, bytes]]
"""What custodians released for one key: custodian to root number to 32 bytes."""


def check_released(announcement: Announcement, custodian: str, keys: GrantedKeys) -> None:
    """Check that a custodian released exactly the roots that the box shared with it.

    Raises:
        ScopeExceeded: the keys are for another announcement, or for labels that no grant of its
            version may hold.
        ShareInvalid: the box shared nothing with it, or other roots.
    """
    scope = keys.scope
    stated = (announcement.address, announcement.epoch, announcement.generation)
    if (scope.address, scope.epoch, scope.generation) != stated:
        raise ScopeExceeded("the keys are not for this announcement")
    version = announcement.version
    never = set(keys.nodes).difference(LABELS_OF[version]) | (
        ROW_BY_ROW.intersection(keys.nodes) if version > 1 else set()
    )
    if never:
        raise ScopeExceeded(
            f"a grant of version {version} never holds keys for {', '.join(sorted(never))}"
        )
    if custodian not in announcement.custodians:
        raise ShareInvalid(f"the box shared nothing with '{custodian}'")
    own = set(roots_of(custodian, announcement.subsets()))
    if not keys.nodes or any(set(by_root) != own for by_root in keys.nodes.values()):
        raise ShareInvalid(f"'{custodian}' released other roots than the box shared with it")


def reconcile(announcement: Announcement, released: Mapping[str, GrantedKeys]) -> EpochKeys:
    """Put together what custodians released for one announcement, whether or not they agree.

    The slots are those that at least m of them released: their clocks may straddle the beginning
    of a slot, and one that names fewer slots keeps none closed.

    Args:
        released: custodian to its keys, each of them through :func:`check_released`; all for the
            same labels and from the same first slot on.

    Raises:
        ScopeExceeded: they are not.
        SharesMissing: fewer than m custodians released anything.
    """
    threshold = announcement.threshold
    if len(released) < threshold:
        raise SharesMissing(
            f"{len(released)} custodians released keys of this day; {threshold} are needed"
        )
    listed = list(released.values())
    if len({(keys.scope.first_slot, frozenset(keys.nodes)) for keys in listed}) != 1:
        raise ScopeExceeded("the grants are not for the same labels and first slot")
    last = sorted((keys.scope.last_slot for keys in listed), reverse=True)[threshold - 1]
    scope = replace(listed[0].scope, last_slot=last)
    if all(keys.scope == scope for keys in listed):
        try:
            return combine(announcement, listed)
        except ShareInvalid:
            pass
    return DisputedKeys(scope, threshold, released, announcement.version, announcement.origin)


class DisputedKeys(EpochKeys):
    """The keys of a scope of which custodians released different things.

    Which are right shows when a block is to be opened (:meth:`opening`).
    """

    __slots__ = ("_released", "_threshold")

    def __init__(
        self,
        scope: Scope,
        threshold: int,
        released: Mapping[str, GrantedKeys],
        version: int = 1,
        origin: str = CAMERA_NOW,
    ) -> None:
        super().__init__(scope, {}, (), version, origin)
        self._threshold = threshold
        self._released = released

    @property
    def custodians(self) -> frozenset[str]:
        """Who released any of them."""
        return frozenset(self._released)

    def __reduce__(self) -> tuple[type[EpochKeys], tuple[object, ...]]:
        """Pickle what was granted, and nothing that was derived from it."""
        told = (self.scope, self._threshold, self._released, self.version, self.origin)
        return DisputedKeys, told

    def keys(self, slots: Sequence[int], label: str) -> tuple[list[bytes], list[bytes]]:
        """Return the keys of several slots, as :meth:`key` gives them. Errors as there."""
        keys = [self.key(slot, label) for slot in slots]
        return [key.key for key in keys], [key.commitment for key in keys]

    def key(self, slot: int, label: str) -> ModalityKey:
        """Return the key of one modality of one slot, if all who released it agree.

        Raises:
            ScopeExceeded: not granted.
            ShareInvalid: they contradict one another.
        """
        leaves = self._leaves_of(slot, label)
        merged = _merged(leaves, leaves)
        if merged is None:
            raise ShareInvalid(f"custodians released different keys of slot {slot}, '{label}'")
        return self._derive(merged, slot, label)

    def opening(
        self, slot: int, label: str, commitment: bytes, *, doubted: frozenset[str] = frozenset()
    ) -> Opening:
        """Return the key that ``commitment`` commits to, and who released something else.

        Args:
            doubted: custodians known to have lied, whose word is tried last.

        Raises:
            ScopeExceeded: not granted.
            KeyCommitmentMismatch: no m of the custodians released that key.
        """
        return true_key(
            self._leaves_of(slot, label),
            self._threshold,
            lambda merged: self._derive(merged, slot, label),
            commitment,
            what=f"the {label} block",
            doubted=doubted,
        )

    def narrowed(self, slots: range) -> DisputedKeys:
        """Return the keys of some consecutive slots of this scope.

        Raises:
            ScopeExceeded: a slot among them was not granted.
        """
        return DisputedKeys(
            self._narrow(slots), self._threshold, self._released, self.version, self.origin
        )

    def _leaves_of(self, slot: int, label: str) -> dict[str, dict[int, bytes]]:
        if slot not in self.slots():
            raise ScopeExceeded(f"slot {slot}, '{label}' was not granted")
        found: dict[str, dict[int, bytes]] = {}
        for custodian, keys in self._released.items():
            if slot > keys.scope.last_slot:
                continue
            by_root = keys.nodes.get(label)
            if by_root is None:
                raise ScopeExceeded(f"slot {slot}, '{label}' was not granted")
            found[custodian] = {
                root: next(descend(node, DEPTH, slot).key for node in nodes if slot in node.slots)
                for root, nodes in by_root.items()
            }
        return found


def true_key(
    released: _Released,
    threshold: int,
    derive: Callable[[tuple[bytes, ...]], ModalityKey],
    commitment: bytes,
    *,
    what: str,
    doubted: frozenset[str] = frozenset(),
) -> Opening:
    """Return the key that ``commitment`` commits to, and who released something else.

    Args:
        released: custodian to root number to what it released of that root, 32 bytes.
        threshold: how many hold all roots together.
        derive: makes the key of what was released of all roots, in their order.
        commitment: 32 bytes.
        what: was sealed, for the error.
        doubted: custodians known to have lied, whose word is tried last.

    Raises:
        KeyCommitmentMismatch: no ``threshold`` of the custodians released that key.
    """
    tried: set[tuple[bytes, ...]] = set()
    for group in combinations(sorted(released, key=lambda c: (c in doubted, c)), threshold):
        merged = _merged(released, group)
        if merged is None or merged in tried:
            continue
        tried.add(merged)
        key = derive(merged)
        if hmac.compare_digest(key.commitment, commitment):
            return Opening(key, frozenset(_deniers(released, merged)))
    raise KeyCommitmentMismatch(
        f"no {threshold} of {', '.join(sorted(released))} released the key under which {what} "
        "was sealed"
    )


def _merged(leaves: _Released, group: Iterable[str]) -> tuple[bytes, ...] | None:
    """Return the leaves of all roots as ``group`` released them; None if its members disagree."""
    merged: dict[int, bytes] = {}
    for custodian in group:
        for root, leaf in leaves[custodian].items():
            if not hmac.compare_digest(merged.setdefault(root, leaf), leaf):
                return None
    return tuple(merged[root] for root in sorted(merged))


def _deniers(leaves: _Released, truth: tuple[bytes, ...]) -> Iterator[str]:
    """Return who released another leaf of any root than the true one."""
    for custodian, mine in leaves.items():
        if any(not hmac.compare_digest(leaf, truth[root]) for root, leaf in mine.items()):
            yield custodian
