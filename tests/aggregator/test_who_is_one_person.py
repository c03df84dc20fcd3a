"""Templates are joined by the mean of all scores between two groups, and never against evidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from aggregator.matching.linking import Floats, Member, Space, count_pairs, link

FACE: Space = ("face", "m")
CLOTHES: Space = ("appearance", "c")
THRESHOLDS = {FACE: 0.5, CLOTHES: 0.7}


def at(degrees: float) -> Floats:
    radians = np.radians(degrees)
    return np.array([np.cos(radians), np.sin(radians)], np.float32)


def member(
    face: float | None = None,
    *,
    clothes: float | None = None,
    camera: str = "",
    spans: Sequence[tuple[int, int]] = ((0, 10),),
    subjects: frozenset[str] = frozenset({"P-17"}),
    day: int = 1,
) -> Member:
    means = {}
    if face is not None:
        means[FACE] = at(face)
    if clothes is not None:
        means[CLOTHES] = at(clothes)
    return Member(means, camera or object(), spans, subjects, day)


def groups(*members: Member) -> set[frozenset[int]]:
    linked = link(members, THRESHOLDS, by_day=frozenset({CLOTHES}))
    return {frozenset(group) for group in linked}


def test_who_reaches_the_threshold_is_one_and_who_does_not_is_another() -> None:
    assert groups(member(0), member(40), member(130)) == {frozenset({0, 1}), frozenset({2})}


def test_a_chain_of_likeness_is_not_one_person() -> None:
    # 0 and 55 reach it, 55 and 110 do, 0 and 110 are far from it: on average they do not.
    assert groups(member(0), member(55), member(110)) == {frozenset({0, 1}), frozenset({2})}


def test_the_most_alike_are_joined_first() -> None:
    # 0 and 59 reach it too, but not once 59 is one with 65.
    assert groups(member(59), member(0), member(65)) == {frozenset({0, 2}), frozenset({1})}


def test_everybody_is_in_one_group_also_who_has_no_template() -> None:
    linked = link([member(), member(10), member()], THRESHOLDS)
    assert sorted(number for group in linked for number in group) == [0, 1, 2]
    assert len(linked) == 3
    assert link([], THRESHOLDS) == []


def test_two_at_one_time_on_one_camera_are_never_joined_not_even_by_a_third() -> None:
    one, two = member(0, camera="cam-1"), member(1, camera="cam-1")
    third = member(0.4, camera="cam-2")
    linked = groups(one, two, third)
    assert frozenset({0, 1, 2}) not in linked
    assert not any({0, 1} <= group for group in linked)


def test_at_one_time_on_two_cameras_somebody_may_be_one_since_views_overlap() -> None:
    assert groups(member(0, camera="cam-1"), member(0, camera="cam-2")) == {frozenset({0, 1})}


def test_one_after_the_other_on_one_camera_may_be_one() -> None:
    assert groups(
        member(0, camera="cam-1", spans=[(0, 10)]), member(0, camera="cam-1", spans=[(10, 20)])
    ) == {frozenset({0, 1})}


def test_companions_of_different_subjects_are_not_compared() -> None:
    one = member(0, subjects=frozenset({"P-17"}))
    other = member(0, subjects=frozenset({"P-18"}))
    assert groups(one, other) == {frozenset({0}), frozenset({1})}
    assert count_pairs([one, other, member(0)], FACE) == 1


def test_clothes_link_on_one_day_alone() -> None:
    assert groups(member(clothes=0), member(clothes=5)) == {frozenset({0, 1})}
    assert groups(member(clothes=0), member(clothes=5, day=2)) == {frozenset({0}), frozenset({1})}


def test_faces_that_differ_are_not_outweighed_by_clothes() -> None:
    assert groups(member(0, clothes=0), member(120, clothes=0)) == {frozenset({0}), frozenset({1})}


def test_clothes_do_not_join_by_a_detour_whom_faces_tell_apart() -> None:
    linked = groups(member(0, clothes=0), member(clothes=0), member(120, clothes=0))
    assert not any({0, 2} <= group for group in linked)


def test_a_mean_of_sightings_that_do_not_agree_scores_lower_than_one_that_fits() -> None:
    unsure = Member(
        {FACE: (at(0) + at(120)) * np.float32(0.5)}, "x", [(0, 1)], frozenset({"P-17"}), 1
    )
    assert groups(unsure, member(0)) == {frozenset({0}), frozenset({1})}


def test_a_template_that_is_no_number_joins_nobody() -> None:
    broken = Member(
        {FACE: np.array([np.nan, 1], np.float32)}, "x", [(0, 1)], frozenset({"P-17"}), 1
    )
    with np.errstate(invalid="ignore"):
        assert groups(broken, member(0), member(1)) == {frozenset({0}), frozenset({1, 2})}


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_companions_changes_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    degrees = [0, 10, 20, 100, 110, 200, 215]
    plain = [member(angle) for angle in degrees]
    order = random.permutation(len(plain))
    shuffled = link([plain[number] for number in order], THRESHOLDS)
    back = {frozenset(int(order[number]) for number in group) for group in shuffled}
    assert back == groups(*plain)


def test_whoever_was_near_again_and_again_is_told_apart_by_any_moment_and_soon() -> None:
    times = np.random.default_rng(3)

    def spans() -> list[tuple[int, int]]:
        starts = np.arange(0, 80, 8) + times.integers(0, 4, 10)
        return [(begin, begin + int(times.integers(0, 4))) for begin in starts.tolist()][::2]

    for _ in range(200):
        mine, theirs = spans(), [(begin + 4, end + 4) for begin, end in spans()]
        one, other = (member(0, camera="cam-1", spans=both) for both in (mine, theirs))
        meets = any(a < d and c < b for a, b in mine for c, d in theirs)
        assert one.cannot_be(other) == other.cannot_be(one) == meets
    often = [(at_ms, at_ms + 1) for at_ms in range(0, 200_000, 2)]
    between = [(at_ms, at_ms + 1) for at_ms in range(1, 200_001, 2)]
    one, other = (member(0, camera="cam-1", spans=both) for both in (often, between))
    assert not one.cannot_be(other)
