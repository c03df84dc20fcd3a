"""With at most n - m liars among n custodians the right keys come out; exactly they are named."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations

import protocol_samples as s
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.epoch import Announcement, announce, excluded_subsets, roots_of
from protocol.epoch_keys import EpochKeys
from protocol.errors import (
    KeyCommitmentMismatch,
    ScopeExceeded,
    ShareInvalid,
    SharesMissing,
)
from protocol.grant import GrantedKeys, Scope, release
from protocol.keytree import ModalityKey, Node, PuncturableTree, modality_key
from protocol.reconcile import DisputedKeys, check_released, reconcile

LABELS = ("face", "live", "meta")
SCOPE = Scope(s.ADDRESS, s.EPOCH, s.GENERATION, 38, 45)


def roots_for(names: Sequence[str], threshold: int) -> list[bytes]:
    return [s.fixed(f"root {n}", 32) for n in range(len(excluded_subsets(names, threshold)))]


@cache
def announced(names: tuple[str, ...], threshold: int) -> Announcement:
    return announce(
        roots_for(names, threshold), address=s.ADDRESS, epoch=s.EPOCH, generation=s.GENERATION,
        sequence=0, threshold=threshold, custodians=names,
        day_keys={name: s.sealing_key(name).public for name in names}, models={},
        announced_at_ms=s.NOW_MS,
    )  # fmt: skip


def honest(announcement: Announcement, name: str, scope: Scope = SCOPE) -> GrantedKeys:
    roots = roots_for(announcement.custodians, announcement.threshold)
    own = roots_of(name, announcement.subsets())
    return release({number: roots[number] for number in own}, scope, LABELS)


def spoilt(keys: GrantedKeys, label: str, root: int, place: int, by: str) -> GrantedKeys:
    """Return keys with one node of one root and label replaced."""
    nodes = list(keys.nodes[label][root])
    nodes[place] = replace(nodes[place], key=s.fixed(f"lie {by} {label} {root} {place}", 32))
    by_root = {**keys.nodes[label], root: tuple(nodes)}
    return GrantedKeys(keys.scope, {**keys.nodes, label: by_root})


def true_key(announcement: Announcement, slot: int, label: str) -> ModalityKey:
    return key_of(announcement.custodians, announcement.threshold, slot, label)


@cache
def key_of(names: tuple[str, ...], threshold: int, slot: int, label: str) -> ModalityKey:
    roots = roots_for(names, threshold)
    leaves = [PuncturableTree(root, label).leaf(slot) for root in roots]
    return modality_key(
        leaves, site=s.SITE, camera=s.ADDRESS.camera, epoch=s.EPOCH,
        generation=s.GENERATION, slot=slot, label=label,
    )  # fmt: skip


def openings(keys: EpochKeys, announcement: Announcement) -> tuple[set[ModalityKey], set[str]]:
    """Open every slot and label by its true commitment; return who was named."""
    named: set[str] = set()
    found = set()
    for slot in keys.slots():
        for label in LABELS:
            true = true_key(announcement, slot, label)
            opening = keys.opening(slot, label, true.commitment, doubted=frozenset(named))
            assert opening.key == true
            found.add(opening.key)
            named |= opening.liars
    return found, named


@st.composite
def sites_with_liars(draw: st.DrawFn) -> tuple[Announcement, dict[str, GrantedKeys], set[str]]:
    count = draw(st.integers(1, 6))
    threshold = draw(st.integers(1, count))
    names = tuple(f"c{number}" for number in range(count))
    announcement = announced(names, threshold)
    liars = set(draw(st.lists(st.sampled_from(names), max_size=count - threshold, unique=True)))
    together = draw(st.booleans())
    released = {name: honest(announcement, name) for name in names}
    for name in liars:
        lies = draw(
            st.lists(
                st.tuples(
                    st.sampled_from(LABELS),
                    st.sampled_from(roots_of(name, announcement.subsets())),
                    st.integers(0, len(next(iter(released[name].nodes["face"].values()))) - 1),
                ),
                min_size=1,
                max_size=6,
            )
        )
        for label, root, place in lies:
            by = "all" if together else name
            released[name] = spoilt(released[name], label, root, place, by)
    return announcement, released, liars


@given(sites_with_liars())
@settings(deadline=None)
def test_the_right_keys_come_out_and_exactly_the_liars_are_named(
    drawn: tuple[Announcement, dict[str, GrantedKeys], set[str]],
) -> None:
    announcement, released, liars = drawn
    keys = reconcile(announcement, released)
    found, named = openings(keys, announcement)
    assert len(found) == len(LABELS) * len(SCOPE_SLOTS)
    assert named == liars


@given(sites_with_liars())
@settings(deadline=None, max_examples=examples(20))
def test_any_m_honest_ones_beside_the_liars_are_enough(
    drawn: tuple[Announcement, dict[str, GrantedKeys], set[str]],
) -> None:
    announcement, released, liars = drawn
    truthful = [name for name in released if name not in liars]
    for group in combinations(truthful, announcement.threshold):
        answered = {name: released[name] for name in (*group, *liars)}
        _, named = openings(reconcile(announcement, answered), announcement)
        assert named == liars


THREE = announced(s.CUSTODIANS, 2)
SCOPE_SLOTS = range(SCOPE.first_slot, SCOPE.last_slot + 1)


def everyone() -> dict[str, GrantedKeys]:
    return {name: honest(THREE, name) for name in s.CUSTODIANS}


def with_lie(name: str = "c3") -> dict[str, GrantedKeys]:
    released = everyone()
    root = roots_of(name, THREE.subsets())[0]
    return {**released, name: spoilt(released[name], "face", root, 0, name)}


def test_where_all_agree_nothing_is_tried() -> None:
    keys = reconcile(THREE, everyone())
    assert not isinstance(keys, DisputedKeys)


def test_a_lone_liar_that_nobody_contradicts_opens_nothing_and_frames_nobody() -> None:
    released = with_lie()
    lied_root = roots_of("c3", THREE.subsets())[0]
    silent = next(n for n in ("c1", "c2") if lied_root in roots_of(n, THREE.subsets()))
    del released[silent]
    keys = reconcile(THREE, released)
    with pytest.raises(KeyCommitmentMismatch):
        keys.opening(s.SLOT - 3, "face", true_key(THREE, s.SLOT - 3, "face").commitment)


def test_a_block_sealed_under_no_key_of_the_day_frames_nobody() -> None:
    keys = reconcile(THREE, with_lie())
    with pytest.raises(KeyCommitmentMismatch, match="c1, c2, c3"):
        keys.opening(38, "face", b"x" * 32)


def test_what_is_disputed_is_not_guessed() -> None:
    keys = reconcile(THREE, with_lie())
    with pytest.raises(ShareInvalid):
        keys.key(38, "face")
    assert keys.key(38, "meta") == true_key(THREE, 38, "meta")


def test_disputed_keys_open_no_other_slot_or_label() -> None:
    keys = reconcile(THREE, with_lie()).narrowed(range(40, 42))
    assert keys.slots() == range(40, 42)
    for slot, label in ((39, "face"), (42, "face"), (40, "appearance")):
        with pytest.raises(ScopeExceeded):
            keys.opening(slot, label, true_key(THREE, 40, "face").commitment)
    with pytest.raises(ScopeExceeded):
        keys.narrowed(range(41, 43))


def test_disputed_keys_reach_another_process_whole() -> None:
    keys = pickle.loads(pickle.dumps(reconcile(THREE, with_lie())))  # noqa: S301 - our own
    _, named = openings(keys, THREE)
    assert named == {"c3"}


def test_a_clock_that_is_behind_keeps_no_slot_closed_and_is_no_lie() -> None:
    released = everyone()
    released["c2"] = honest(THREE, "c2", replace(SCOPE, last_slot=SCOPE.last_slot - 1))
    keys = reconcile(THREE, released)
    assert keys.slots() == SCOPE_SLOTS
    _, named = openings(keys, THREE)
    assert not named


def test_one_that_names_more_slots_opens_none_of_them_alone() -> None:
    released = everyone()
    released["c2"] = honest(THREE, "c2", replace(SCOPE, last_slot=SCOPE.last_slot + 9))
    assert reconcile(THREE, released).slots() == SCOPE_SLOTS


def test_too_few_are_too_few() -> None:
    with pytest.raises(SharesMissing, match="2 are needed"):
        reconcile(THREE, {"c1": honest(THREE, "c1")})


def test_roots_that_the_box_did_not_share_with_a_custodian_are_refused() -> None:
    for name, keys in everyone().items():
        check_released(THREE, name, keys)
    stolen: Mapping[str, Mapping[int, Sequence[Node]]] = {
        label: {**by_root, **honest(THREE, "c1").nodes[label]}
        for label, by_root in honest(THREE, "c3").nodes.items()
    }
    with pytest.raises(ShareInvalid, match="other roots"):
        check_released(THREE, "c3", GrantedKeys(SCOPE, stolen))
    with pytest.raises(ShareInvalid, match="other roots"):
        check_released(THREE, "c3", GrantedKeys(SCOPE, {"face": {}}))
    with pytest.raises(ShareInvalid, match="other roots"):
        check_released(THREE, "c3", GrantedKeys(SCOPE, {}))
    with pytest.raises(ShareInvalid, match="nothing"):
        check_released(THREE, "c9", honest(THREE, "c3"))
    other = GrantedKeys(replace(SCOPE, generation=8), honest(THREE, "c3").nodes)
    with pytest.raises(ScopeExceeded):
        check_released(THREE, "c3", other)
