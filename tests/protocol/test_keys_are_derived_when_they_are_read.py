"""Combined keys hold what was granted and no more, and derive a slot's key when it is read."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import cache
from itertools import starmap

import protocol_samples as s
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.epoch_keys import EpochKeys, combine
from protocol.errors import MalformedMessage, ScopeExceeded
from protocol.grant import GrantedKeys, Scope, release
from protocol.keytree import ModalityKey, cover, expand, leaves_below, modality_key, plan, tree_top

LABELS = ("face", "live", "meta")
ROOTS = [s.fixed(f"root {number}", 32) for number in range(3)]
SLOTS = st.integers(0, 95)
WINDOWS = st.tuples(SLOTS, SLOTS).map(sorted)
ANNOUNCED = s.announcement()


def granted(first: int, last: int) -> EpochKeys:
    scope = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, first, last)
    return combine(ANNOUNCED, [release(dict(enumerate(ROOTS)), scope, LABELS)])


@cache
def trees(label: str) -> list[dict[int, bytes]]:
    return [expand([tree_top(root, label)]) for root in ROOTS]


def true_key(slot: int, label: str) -> ModalityKey:
    leaves = [tree[slot] for tree in trees(label)]
    return modality_key(
        leaves, site=s.SITE, camera=s.ADDRESS.camera, epoch=s.EPOCH,
        generation=s.GENERATION, slot=slot, label=label,
    )  # fmt: skip


def many(keys: EpochKeys, slots: Sequence[int], label: str) -> list[ModalityKey]:
    return [*starmap(ModalityKey, zip(*keys.keys(slots, label), strict=True))]


@given(WINDOWS, st.lists(SLOTS, max_size=12), st.sampled_from(LABELS))
@settings(max_examples=examples(40))
def test_keys_of_many_slots_and_of_one_are_those_of_the_whole_tree(
    window: list[int], wanted: list[int], label: str
) -> None:
    keys = granted(*window)
    inside = [slot for slot in wanted if slot in keys.slots()]
    true = [true_key(slot, label) for slot in inside]
    assert many(keys, inside, label) == true
    assert [keys.key(slot, label) for slot in inside] == true
    for slot in set(wanted).difference(inside):
        with pytest.raises(ScopeExceeded):
            keys.key(slot, label)
        with pytest.raises(ScopeExceeded):
            keys.keys([*inside, slot], label)


@given(WINDOWS, WINDOWS)
@settings(max_examples=examples(40))
def test_narrowed_keys_open_their_slots_and_no_others(outer: list[int], inner: list[int]) -> None:
    keys, slots = granted(*outer), range(inner[0], inner[1] + 1)
    if not outer[0] <= inner[0] <= inner[1] <= outer[1]:
        with pytest.raises(ScopeExceeded):
            keys.narrowed(slots)
        return
    narrow = pickle.loads(pickle.dumps(keys.narrowed(slots)))  # noqa: S301 - our own
    assert many(narrow, slots, "face") == [true_key(slot, "face") for slot in slots]
    for slot in {slots.start - 1, slots.stop}:
        with pytest.raises(ScopeExceeded):
            narrow.key(slot, "face")
    assert narrow.narrowed(slots[:1]).key(slots[0], "meta") == true_key(slots[0], "meta")


def test_a_label_that_was_not_granted_is_not_among_what_is_kept() -> None:
    scope = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 0, 95)
    keys = combine(ANNOUNCED, [release(dict(enumerate(ROOTS)), scope, ["face"])])
    with pytest.raises(ScopeExceeded):
        keys.key(3, "meta")
    with pytest.raises(ScopeExceeded):
        keys.keys([3], "meta")
    packed = pickle.dumps(keys)
    others = [tree_top(root, label).key for root in ROOTS for label in ("live", "meta")]
    assert not any(key in packed for key in [*ROOTS, *others])


def test_a_day_of_keys_is_pickled_in_less_than_a_kilobyte_before_and_after_its_use() -> None:
    keys = granted(0, 95)
    fresh = pickle.dumps(keys)
    keys.key(50, "face")
    keys.keys(range(96), "meta")
    assert pickle.dumps(keys) == fresh
    assert len(fresh) < 1024
    again = pickle.loads(fresh)  # noqa: S301 - our own
    assert again.key(50, "face") == true_key(50, "face")


def test_nodes_at_other_places_than_the_scopes_are_not_combined() -> None:
    scope, wide = (Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 4, last) for last in (5, 7))
    nodes = release(dict(enumerate(ROOTS)), wide, LABELS).nodes
    with pytest.raises(ScopeExceeded):
        combine(ANNOUNCED, [GrantedKeys(scope, nodes)])


def test_a_plan_reaches_no_slot_beside_its_nodes_and_takes_no_cut_keys() -> None:
    places = tuple(cover(3, 9))
    with pytest.raises(ScopeExceeded):
        plan(places, (3, 10))
    with pytest.raises(MalformedMessage):
        leaves_below(bytes(32 * len(places) - 1), plan(places, (3,)))
