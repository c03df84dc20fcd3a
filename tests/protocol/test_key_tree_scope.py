"""Nothing outside a granted window is derivable, and m - 1 custodians hold too little."""

from __future__ import annotations

from itertools import combinations

import protocol_samples as s
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.epoch import announce, excluded_subsets, roots_of
from protocol.epoch_keys import combine
from protocol.errors import MalformedMessage, ScopeExceeded, ShareInvalid, SharesMissing
from protocol.grant import GrantedKeys, Scope, release
from protocol.keytree import (
    DEPTH,
    LABELS,
    Node,
    PuncturableTree,
    SlotKeys,
    cover,
    descend,
    expand,
    modality_key,
    tree_top,
    window_nodes,
)

SLOTS = st.integers(0, 95)
WINDOWS = st.tuples(SLOTS, SLOTS).map(sorted)
ROOT = b"r" * 32


@given(WINDOWS, st.sampled_from(LABELS))
def test_a_window_opens_exactly_its_slots(window: list[int], label: str) -> None:
    first, last = window
    nodes = window_nodes(ROOT, label, first, last)
    full = expand([tree_top(ROOT, label)])
    assert expand(nodes) == {slot: full[slot] for slot in range(first, last + 1)}
    assert len(nodes) <= 2 * DEPTH


@given(WINDOWS, SLOTS)
def test_no_slot_outside_descends_from_a_granted_node(window: list[int], slot: int) -> None:
    first, last = window
    nodes = window_nodes(ROOT, "face", first, last)
    reachable = False
    for node in nodes:
        try:
            descend(node, DEPTH, slot)
            reachable = True
        except ScopeExceeded:
            pass
    assert reachable == (first <= slot <= last)


@given(WINDOWS)
def test_no_node_on_the_way_to_an_outside_slot_is_granted(window: list[int]) -> None:
    first, last = window
    granted = {node.key for node in window_nodes(ROOT, "face", first, last)}
    above = set()
    for slot in set(range(96)) - set(range(first, last + 1)):
        node = tree_top(ROOT, "face")
        for shift in range(DEPTH - 1, -1, -1):
            above.add(node.key)
            node = node.children()[(slot >> shift) & 1]
        above.add(node.key)
    assert not granted & above


def test_labels_have_separate_trees() -> None:
    leaves = [expand([tree_top(ROOT, label)])[3] for label in LABELS]
    assert len(set(leaves)) == len(LABELS)


@given(st.lists(SLOTS, min_size=1, max_size=6).map(sorted))
def test_a_punctured_tree_keeps_the_future_alone(steps: list[int]) -> None:
    tree, full = PuncturableTree(ROOT, "meta"), expand([tree_top(ROOT, "meta")])
    for step in steps:
        tree.forget_before(step)
    for slot in range(96):
        if slot >= steps[-1]:
            assert tree.leaf(slot) == full[slot]
        else:
            with pytest.raises(ScopeExceeded):
                tree.leaf(slot)


def test_a_wholly_punctured_tree_holds_nothing() -> None:
    tree = PuncturableTree(ROOT, "meta", first_slot=90)
    tree.forget_before(96)
    with pytest.raises(ScopeExceeded):
        tree.leaf(95)


@pytest.mark.parametrize(("first", "last"), [(-1, 3), (4, 3), (0, 96)])
def test_a_cover_refuses_what_is_no_range_of_slots(first: int, last: int) -> None:
    with pytest.raises(ScopeExceeded):
        cover(first, last)


@pytest.mark.parametrize("bad", [(8, 0, b"k" * 32), (2, 4, b"k" * 32), (2, 1, b"k" * 31)])
def test_nodes_outside_the_tree_are_refused(bad: tuple[int, int, bytes]) -> None:
    with pytest.raises(MalformedMessage):
        Node(*bad)


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_any_m_custodians_hold_all_roots_and_no_fewer_do(sharing: tuple[int, int]) -> None:
    threshold, count = sharing
    names = [f"c{number}" for number in range(count)]
    subsets = excluded_subsets(names, threshold)
    everything = set(range(len(subsets)))
    for group in combinations(names, threshold):
        assert set().union(*(roots_of(name, subsets) for name in group)) == everything
    for group in combinations(names, threshold - 1):
        assert set().union(*(roots_of(name, subsets) for name in group), set()) != everything


@given(WINDOWS, st.sampled_from(s.CUSTODIANS))
def test_one_custodian_of_two_needed_opens_nothing(window: list[int], name: str) -> None:
    announced = ANNOUNCED
    scope = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, window[0], window[1])
    mine = release(announced.open_share(name, s.day_key(name)), scope, ["face"])
    with pytest.raises(SharesMissing):
        combine(announced, [mine])
    with pytest.raises(SharesMissing):
        combine(announced, [mine, mine])


@given(WINDOWS)
def test_two_custodians_open_exactly_the_window(window: list[int]) -> None:
    scope = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, window[0], window[1])
    released = [
        release(ANNOUNCED.open_share(name, s.day_key(name)), scope, ["face", "meta"])
        for name in ("c2", "c3")
    ]
    keys = combine(ANNOUNCED, released)
    assert list(keys.slots()) == list(range(window[0], window[1] + 1))
    if window[0] <= s.SLOT <= window[1]:
        assert keys.key(s.SLOT, "face") == s.slot_keys()["face"]
    for slot in {window[0] - 1, window[1] + 1}:
        with pytest.raises(ScopeExceeded):
            keys.key(slot, "face")
    with pytest.raises(ScopeExceeded):
        keys.key(window[0], "appearance")


def test_a_lying_custodian_is_noticed() -> None:
    scope = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 3, 5)
    honest = release(ANNOUNCED.open_share("c1", s.day_key("c1")), scope, ["face"])
    roots = ANNOUNCED.open_share("c2", s.day_key("c2"))
    lying = release(dict.fromkeys(roots, b"x" * 32), scope, ["face"])
    with pytest.raises(ShareInvalid):
        combine(ANNOUNCED, [honest, lying])


def test_a_grant_with_more_than_its_scope_is_refused() -> None:
    scope, wide = (Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 3, last) for last in (5, 9))
    roots = ANNOUNCED.open_share("c1", s.day_key("c1"))
    too_much = GrantedKeys(scope, release(roots, wide, ["face"]).nodes)
    with pytest.raises(ScopeExceeded):
        GrantedKeys.from_value(too_much.to_value())


@pytest.mark.parametrize(
    "node",
    [[7, 3, list(b"k" * 32)], [7, 3, "k" * 32], [7, 3.0, b"k" * 32], [7.0, 3, b"k" * 32]],
)
def test_a_grant_with_nodes_of_other_types_is_refused(node: list[object]) -> None:
    scope = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 3, 3)
    genuine = [scope.to_value(), {"face": [[0, [[7, 3, b"k" * 32]]]]}]
    assert GrantedKeys.from_value(genuine)
    with pytest.raises(MalformedMessage):
        GrantedKeys.from_value([scope.to_value(), {"face": [[0, [node]]]}])
    with pytest.raises(MalformedMessage):
        GrantedKeys.from_value([scope.to_value(), {"face": [[0.0, [[7, 3, b"k" * 32]]]]}])


def test_a_share_that_does_not_fit_its_commitment_is_refused() -> None:
    poisoned = announce(
        [b"p" * 32, *s.roots()[1:]],
        address=s.ADDRESS, epoch=s.EPOCH, generation=1, sequence=0, threshold=2,
        custodians=s.CUSTODIANS, day_keys={n: s.day_key(n).public for n in s.CUSTODIANS},
        models={}, announced_at_ms=0,
    )  # fmt: skip
    object.__setattr__(poisoned, "commitments", ANNOUNCED.commitments)
    holders = [n for n in s.CUSTODIANS if 0 in roots_of(n, poisoned.subsets())]
    assert holders
    for name in holders:
        with pytest.raises(ShareInvalid):
            poisoned.open_share(name, s.day_key(name))


def test_too_few_day_keys_announce_nothing() -> None:
    with pytest.raises(ShareInvalid):
        announce(
            s.roots(), address=s.ADDRESS, epoch=s.EPOCH, generation=1, sequence=0, threshold=2,
            custodians=s.CUSTODIANS, day_keys={"c1": s.day_key("c1").public}, models={},
            announced_at_ms=0,
        )  # fmt: skip


ANNOUNCED = s.announcement()


@given(SLOTS, st.sampled_from(LABELS), st.integers(1, 2**62), st.sampled_from([1, 2]))
def test_keys_made_for_many_slots_are_those_made_for_each(
    slot: int, label: str, generation: int, version: int
) -> None:
    leaves = [ROOT, b"s" * 32]
    many = SlotKeys(
        site="site",
        box="box-1",
        camera="cam-1",
        epoch=20_500,
        generation=generation,
        version=version,
    )
    assert many.key(leaves, slot, label) == modality_key(
        leaves,
        site="site",
        box="box-1",
        camera="cam-1",
        epoch=20_500,
        generation=generation,
        slot=slot,
        label=label,
        version=version,
    )
    with pytest.raises(MalformedMessage):
        many.key([], slot, label)
