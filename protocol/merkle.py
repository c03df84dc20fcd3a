"""Merkle trees of append-only logs: roots, proofs of inclusion and of consistency (RFC 9162).

Names and cases are the RFC's, section 2.1. Whatever stores a tree keeps the hashes of its perfect
subtrees, which never change once they are complete; the functions here ask for them by level and
number. Subtree ``number`` of ``level`` covers the leaves ``number << level`` up to, not including,
``(number + 1) << level``. All hashes are SHA-256, 32 bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence

from protocol.errors import ProofInvalid

HASH_BYTES = 32
MAX_SIZE = 1 << 62
EMPTY_ROOT = hashlib.sha256(b"").digest()

Subtrees = Callable[[int, int], bytes]
"""(level, number) to the hash of a perfect subtree."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf (2.1.1)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def completed_by(leaf: int) -> range:
    """Return the levels above 0 whose subtree is complete with leaf number ``leaf``, lowest first.

    They are as many as the number has ones at its end.
    """
    return range(1, (leaf ^ (leaf + 1)).bit_length())


class MerkleTree:
    """A tree in memory, grown leaf by leaf."""

    __slots__ = ("_levels",)

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]
        for one in leaf_hashes:
            self.append(one)

    def append(self, hashed: bytes) -> None:
        """Append a leaf by its hash."""
        leaf = len(self._levels[0])
        self._levels[0].append(hashed)
        for level in completed_by(leaf):
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(node_hash(*self._levels[level - 1][-2:]))

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0])

    def subtree(self, level: int, number: int) -> bytes:
        """Return the hash of a perfect subtree."""
        return self._levels[level][number]

    def root(self, size: int | None = None) -> bytes:
        """Return the root over the first ``size`` leaves (default: all)."""
        return root(self.size if size is None else size, self.subtree)


def root(size: int, subtree: Subtrees) -> bytes:
    """Return the root over the first ``size`` leaves (2.1.1)."""
    return _range_hash(0, size, subtree) if size else EMPTY_ROOT


def inclusion_path(leaf: int, size: int, subtree: Subtrees) -> list[bytes]:
    """Return the proof that leaf number ``leaf`` (from 0) is among the first ``size`` (2.1.3.1)."""
    if not 0 <= leaf < size:
        raise ProofInvalid(f"there is no entry {leaf} among {size}")
    path: list[bytes] = []
    first, stop = 0, size
    while stop - first > 1:
        middle = first + _split(stop - first)
        if leaf < middle:
            path.append(_range_hash(middle, stop, subtree))
            stop = middle
        else:
            path.append(_range_hash(first, middle, subtree))
            first = middle
    path.reverse()
    return path


def consistency_path(earlier: int, later: int, subtree: Subtrees) -> list[bytes]:
    """Return the proof that the tree of ``later`` leaves appends to that of ``earlier`` (2.1.4.1).

    Empty when both are of one size.
    """
    if not 0 < earlier <= later:
        raise ProofInvalid(f"nothing leads from {earlier} entries to {later}")
    path: list[bytes] = []
    first, stop = 0, later
    while stop != earlier:
        middle = first + _split(stop - first)
        if earlier <= middle:
            path.append(_range_hash(middle, stop, subtree))
            stop = middle
        else:
            path.append(_range_hash(first, middle, subtree))
            first = middle
    if first:
        path.append(_range_hash(first, stop, subtree))
    path.reverse()
    return path


def sides(leaf: int, size: int) -> list[bool]:
    """Return, for each hash of `inclusion_path`, whether it stands to the left."""
    found: list[bool] = []
    first, stop = 0, size
    while stop - first > 1:
        middle = first + _split(stop - first)
        found.append(leaf >= middle)
        first, stop = (middle, stop) if leaf >= middle else (first, middle)
    found.reverse()
    return found


def verify_inclusion(
    hashed: bytes, leaf: int, size: int, path: Sequence[bytes], expected: bytes
) -> None:
    """Check that the leaf with hash ``hashed`` is number ``leaf`` under the root (2.1.3.2).

    Raises:
        ProofInvalid: it is not, as far as this path shows.
    """
    _require_hashes(path)
    if not 0 <= leaf < size <= MAX_SIZE:
        raise ProofInvalid("the proof is for another position")
    number, last = leaf, size - 1
    result = hashed
    for sibling in path:
        if last == 0:
            raise ProofInvalid("the proof is too long")
        if number & 1 or number == last:
            result = node_hash(sibling, result)
            number, last = _climb(number, last)
        else:
            result = node_hash(result, sibling)
        number, last = number >> 1, last >> 1
    if last or not hmac.compare_digest(result, expected):
        raise ProofInvalid("the proof does not lead to the root")


def verify_consistency(
    earlier: int, later: int, path: Sequence[bytes], earlier_root: bytes, later_root: bytes
) -> None:
    """Check that the later tree only appends to the earlier one (2.1.4.2).

    Raises:
        ProofInvalid: it does not, as far as this path shows.
    """
    _require_hashes(path)
    if not 0 < earlier <= later <= MAX_SIZE or (earlier == later) != (not path):
        raise ProofInvalid("the proof is for other sizes")
    if earlier == later:
        if not hmac.compare_digest(earlier_root, later_root):
            raise ProofInvalid("two roots of one size")
        return
    hashes = list(path)
    if earlier & (earlier - 1) == 0:
        hashes.insert(0, earlier_root)
    number, last = earlier - 1, later - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise ProofInvalid("the proof is too long")
        if number & 1 or number == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            number, last = _climb(number, last)
        else:
            new = node_hash(new, sibling)
        number, last = number >> 1, last >> 1
    if (
        last
        or not hmac.compare_digest(old, earlier_root)
        or not hmac.compare_digest(new, later_root)
    ):
        raise ProofInvalid("the proof does not lead from the one root to the other")


def _climb(number: int, last: int) -> tuple[int, int]:
    """Pass the levels at which this node, the last one, has no sibling: it stands there itself."""
    while not number & 1 and number:
        number, last = number >> 1, last >> 1
    return number, last


def _split(width: int) -> int:
    """Return the largest power of two below ``width``."""
    return 1 << ((width - 1).bit_length() - 1)


def _range_hash(first: int, stop: int, subtree: Subtrees) -> bytes:
    """Return the hash over the leaves ``first`` to ``stop``, a node of a tree (2.1.1)."""
    width = stop - first
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return subtree(level, first >> level)
    middle = first + _split(width)
    return node_hash(_range_hash(first, middle, subtree), _range_hash(middle, stop, subtree))


def _require_hashes(path: Sequence[bytes]) -> None:
    if len(path) > 2 * MAX_SIZE.bit_length() or any(len(one) != HASH_BYTES for one in path):
        raise ProofInvalid("the proof is not a path of SHA-256 hashes")
