"""Merkle trees are those of RFC 9162, and their proofs prove what they say and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from merkle_reference import LEAVES, ROOTS

from protocol.errors import ProofInvalid
from protocol.merkle import (
    EMPTY_ROOT,
    MerkleTree,
    completed_by,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from protocol.merkle_proofs import (
    check_consistency_form,
    check_inclusion_form,
    consistency_form,
    inclusion_form,
)

# The proofs that implementations of the reference tree are tested against.
INCLUSION = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CONSISTENCY = [
    (1, 1, []),
    (1, 8, INCLUSION[1][2]),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
SIZES = st.integers(1, 130)


def tree_of(size: int) -> MerkleTree:
    """A tree whose leaf ``n`` is the number n."""
    return MerkleTree(leaf_hash(b"%d" % number) for number in range(size))


def defined_root(hashes: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word for word."""
    if not hashes:
        return EMPTY_ROOT
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    return node_hash(defined_root(hashes[:split]), defined_root(hashes[split:]))


def test_the_reference_tree_has_the_known_roots_and_proofs() -> None:
    tree = MerkleTree(map(leaf_hash, LEAVES))
    assert [tree.root(size).hex() for size in range(9)] == ROOTS
    for leaf, size, path in INCLUSION:
        assert [one.hex() for one in inclusion_path(leaf, size, tree.subtree)] == path
    for earlier, later, path in CONSISTENCY:
        assert [one.hex() for one in consistency_path(earlier, later, tree.subtree)] == path


def test_the_example_of_the_rfc_is_proved_by_the_nodes_that_it_names() -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(7)]
    a, b, c, d, e, f, j = leaves
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, m = node_hash(g, h), node_hash(i, j)
    subtree = MerkleTree(leaves).subtree
    assert inclusion_path(0, 7, subtree) == [b, h, m]
    assert inclusion_path(3, 7, subtree) == [c, g, m]
    assert inclusion_path(4, 7, subtree) == [f, j, k]
    assert inclusion_path(6, 7, subtree) == [i, k]
    assert consistency_path(3, 7, subtree) == [c, d, g, m]
    assert consistency_path(4, 7, subtree) == [m]
    assert consistency_path(6, 7, subtree) == [i, j, k]


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_a_root_is_as_the_rfc_defines_it_at_every_size(entries: list[bytes]) -> None:
    hashes = list(map(leaf_hash, entries))
    tree = MerkleTree(hashes)
    for size in range(len(hashes) + 1):
        assert tree.root(size) == defined_root(hashes[:size])


def test_the_levels_that_a_leaf_completes() -> None:
    assert [list(completed_by(leaf)) for leaf in range(8)] == [
        [], [1], [], [1, 2], [], [1], [], [1, 2, 3],
    ]  # fmt: skip


@given(SIZES, st.data())
def test_inclusion_is_proved_for_the_leaf_and_its_place(size: int, data: st.DataObject) -> None:
    tree = tree_of(size)
    leaf = data.draw(st.integers(0, size - 1))
    hashed, root = tree.subtree(0, leaf), tree.root()
    path = inclusion_path(leaf, size, tree.subtree)
    verify_inclusion(hashed, leaf, size, path, root)
    form = inclusion_form(leaf, size, tree.subtree)
    check_inclusion_form(form, hashed, leaf, size, root)
    wrongs: tuple[Callable[[], None], ...] = (
        lambda: verify_inclusion(leaf_hash(b"other"), leaf, size, path, root),
        lambda: verify_inclusion(hashed, leaf, size, [*path, root], root),
        lambda: verify_inclusion(hashed, leaf, size, path, EMPTY_ROOT),
        lambda: verify_inclusion(hashed, size, size, path, root),
        lambda: check_inclusion_form(form, leaf_hash(b"other"), leaf, size, root),
        lambda: check_inclusion_form(form, hashed, leaf + 1, size + 1, root),
        lambda: check_inclusion_form(form, hashed, leaf, size, EMPTY_ROOT),
    )
    for wrong in wrongs:
        with pytest.raises(ProofInvalid):
            wrong()
    if path:
        other = data.draw(st.integers(0, size - 1).filter(lambda one: one != leaf))
        with pytest.raises(ProofInvalid):
            verify_inclusion(hashed, other, size, path, root)
        with pytest.raises(ProofInvalid):
            verify_inclusion(hashed, leaf, size, path[:-1], root)


@given(SIZES, st.integers(0, 130), st.data())
def test_growth_is_proved_and_rewriting_is_not(
    earlier: int, more: int, data: st.DataObject
) -> None:
    later = earlier + more
    tree = tree_of(later)
    old, new = tree.root(earlier), tree.root()
    path = consistency_path(earlier, later, tree.subtree)
    verify_consistency(earlier, later, path, old, new)
    altered = MerkleTree(
        leaf_hash(b"altered") if number == 0 else tree.subtree(0, number)
        for number in range(earlier)
    )
    with pytest.raises(ProofInvalid):
        verify_consistency(earlier, later, path, altered.root(), new)
    with pytest.raises(ProofInvalid):
        verify_consistency(earlier, later, path, old, EMPTY_ROOT)
    with pytest.raises(ProofInvalid):
        verify_consistency(earlier, later, [*path, new], old, new)
    with pytest.raises(ProofInvalid):
        verify_consistency(later + 1, later, path, old, new)
    if path:
        position = data.draw(st.integers(0, len(path) - 1))
        spoilt = [*path[:position], leaf_hash(b"spoilt"), *path[position + 1 :]]
        with pytest.raises(ProofInvalid):
            verify_consistency(earlier, later, spoilt, old, new)


@given(SIZES, st.integers(1, 130), st.data())
def test_the_form_on_the_wire_proves_growth_and_no_rewriting(
    earlier: int, more: int, data: st.DataObject
) -> None:
    later = earlier + more
    tree = tree_of(later)
    old, new = tree.root(earlier), tree.root()
    form = consistency_form(earlier, later, tree.subtree)
    check_consistency_form(form, earlier, later, old, new)
    path = list(form["path"])  # type: ignore[call-overload]
    position = data.draw(st.integers(0, len(path) - 1))
    spoilt = [*path[:position], leaf_hash(b"spoilt").hex(), *path[position + 1 :]]
    wrongs: tuple[Callable[[], None], ...] = (
        lambda: check_consistency_form(form, earlier, later, EMPTY_ROOT, new),
        lambda: check_consistency_form(form, earlier, later, old, EMPTY_ROOT),
        lambda: check_consistency_form(form, earlier, later + 1, old, new),
        lambda: check_consistency_form(form | {"path": spoilt}, earlier, later, old, new),
        lambda: check_consistency_form(form | {"path": path[1:]}, earlier, later, old, new),
        lambda: check_consistency_form(form | {"path": None}, earlier, later, old, new),
        lambda: check_consistency_form(form | {"path": ["zz" * 32]}, earlier, later, old, new),
        lambda: check_consistency_form(form | {"rule": []}, earlier, later, old, new),
        lambda: check_consistency_form(form | {"more": 1}, earlier, later, old, new),
        lambda: check_consistency_form({}, earlier, later, old, new),
    )
    for wrong in wrongs:
        with pytest.raises(ProofInvalid):
            wrong()


def test_there_is_no_proof_of_what_is_not_there() -> None:
    tree = tree_of(5)
    for leaf, size in ((5, 5), (-1, 5), (0, 0)):
        with pytest.raises(ProofInvalid):
            inclusion_path(leaf, size, tree.subtree)
        with pytest.raises(ProofInvalid):
            inclusion_form(leaf, size, tree.subtree)
    for earlier, later in ((0, 5), (5, 4)):
        with pytest.raises(ProofInvalid):
            consistency_path(earlier, later, tree.subtree)
        with pytest.raises(ProofInvalid):
            consistency_form(earlier, later, tree.subtree)
