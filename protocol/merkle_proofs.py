"""The JSON form in which proofs about a log travel (version 1 of the protocol).

A proof lists a leaf's hash and those of the subtrees beside its way to the root, hexadecimal in
``path``, lowest first. ``rule`` has a number for each of them: 1 where the **next** hash of the
path stands to the left, else 0; the last is 0. A proof of consistency is the way of the first leaf
that is new, and ``subset`` marks with 1 those hashes that lie to its left: they make up the earlier
tree. (A proof between equal sizes would be the root alone; there is never need for it.)
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from protocol.errors import ProofInvalid
from protocol.merkle import (
    Subtrees,
    inclusion_path,
    node_hash,
    sides,
    verify_inclusion,
)

_MAX_PATH = 64


def inclusion_form(leaf: int, size: int, subtree: Subtrees) -> dict[str, object]:
    """Return the proof that leaf number ``leaf`` (from 0) is among the first ``size``.

    Raises:
        ProofInvalid: there is no such leaf.
    """
    siblings = inclusion_path(leaf, size, subtree)
    return {
        "type": "inclusion",
        "metadata": _metadata(size) | {"index": leaf + 1},
        "rule": _rule(leaf, size),
        "path": [one.hex() for one in (subtree(0, leaf), *siblings)],
    }


def consistency_form(earlier: int, later: int, subtree: Subtrees) -> dict[str, object]:
    """Return the proof that the tree of ``later`` leaves appends to that of ``earlier``.

    Raises:
        ProofInvalid: the earlier tree is empty, or not the smaller one.
    """
    if not 0 < earlier < later:
        raise ProofInvalid(f"nothing leads from {earlier} entries to {later}")
    path = [subtree(0, earlier), *inclusion_path(earlier, later, subtree)]
    return {
        "type": "consistency",
        "metadata": _metadata(later) | {"prior_size": earlier},
        "rule": _rule(earlier, later),
        "path": [one.hex() for one in path],
        "subset": _subset(earlier, later),
    }


def check_inclusion_form(
    proof: Mapping[str, object], hashed: bytes, leaf: int, size: int, root: bytes
) -> None:
    """Check that the leaf with hash ``hashed`` is number ``leaf`` (from 0) under the root.

    Raises:
        ProofInvalid: it is not, as far as this proof shows.
    """
    if not 0 <= leaf < size:
        raise ProofInvalid(f"there is no entry {leaf} among {size}")
    stated = {
        "type": "inclusion",
        "metadata": _metadata(size) | {"index": leaf + 1},
        "rule": _rule(leaf, size),
    }
    path = _read(proof, stated)
    if not hmac.compare_digest(path[0], hashed):
        raise ProofInvalid("the proof is for another entry")
    verify_inclusion(hashed, leaf, size, path[1:], root)


def check_consistency_form(
    proof: Mapping[str, object],
    earlier: int,
    later: int,
    earlier_root: bytes,
    later_root: bytes,
) -> None:
    """Check that the later tree only appends to the earlier one.

    Raises:
        ProofInvalid: it does not, as far as this proof shows.
    """
    if not 0 < earlier < later:
        raise ProofInvalid(f"nothing leads from {earlier} entries to {later}")
    stated = {
        "type": "consistency",
        "metadata": _metadata(later) | {"prior_size": earlier},
        "rule": _rule(earlier, later),
        "subset": _subset(earlier, later),
    }
    path = _read(proof, stated)
    verify_inclusion(path[0], earlier, later, path[1:], later_root)
    left = [one for one, is_left in zip(path[1:], sides(earlier, later), strict=True) if is_left]
    prior = left[0]
    for one in left[1:]:
        prior = node_hash(one, prior)
    if not hmac.compare_digest(prior, earlier_root):
        raise ProofInvalid("the proof does not lead to the earlier root")


def _metadata(size: int) -> dict[str, object]:
    return {"algorithm": "sha256", "security": True, "size": size}


def _rule(leaf: int, size: int) -> list[int]:
    return [*map(int, sides(leaf, size)), 0]


def _subset(earlier: int, later: int) -> list[int]:
    return [0, *map(int, sides(earlier, later))]


def _read(proof: Mapping[str, object], stated: Mapping[str, object]) -> list[bytes]:
    """Return the path of a proof that states just this; a hash for each number of its rule."""
    path = proof.get("path")
    rest = {name: value for name, value in proof.items() if name != "path"}
    if rest != stated or not isinstance(path, list) or len(path) > _MAX_PATH:
        raise ProofInvalid("the proof is not of the form, or for another position")
    if not all(isinstance(one, str) and len(one) == 64 and one.isascii() for one in path):
        raise ProofInvalid("the proof is not a path of SHA-256 hashes")
    try:
        return [bytes.fromhex(one) for one in path]
    except ValueError as error:
        raise ProofInvalid("the proof is not hexadecimal") from error
