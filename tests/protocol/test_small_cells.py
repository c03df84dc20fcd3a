"""No number of people below five can be read, or computed, from what is told."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import MalformedMessage
from protocol.small_cells import LEAST_SHOWN, Small, Told, check_shown, shown_rows, told_of


def told(kinds: Sequence[int], at_once: Sequence[int] = (0, 0, 0)) -> list[Told] | None:
    """What is told of one row; None if it is not."""
    shown, which = shown_rows(
        [sum(kinds)], np.array([kinds], np.uint32), np.array([at_once], np.uint32)
    )
    assert len(shown) == len(which)
    return [told_of(int(value)) for value in shown[0]] if which else None


FEW, WITHHELD = Small.FEW, Small.WITHHELD


def test_fewer_than_five_people_are_not_told_at_all() -> None:
    assert told((4, 0, 0, 0)) is None
    assert told((0, 0, 0, 0)) is None


def test_who_are_many_of_every_kind_are_told() -> None:
    assert told((7, 9, 5, 6), (5, 12, 6)) == [27, 7, 9, 5, 6, 5, 12, 6]


def test_a_single_small_number_takes_others_with_it_until_it_could_be_any() -> None:
    assert told((10, 8, 1, 9)) == [28, 10, WITHHELD, FEW, 9, FEW, FEW, FEW]
    assert told((10, 8, 1, 6)) == [25, 10, WITHHELD, FEW, WITHHELD, FEW, FEW, FEW]


def test_where_nearly_all_are_of_one_kind_no_kind_is_told() -> None:
    assert told((12, 0, 0, 0), (6, 0, 3)) == [12, WITHHELD, FEW, FEW, FEW, 6, FEW, FEW]


def test_where_even_the_sum_would_tell_the_sum_is_not_told() -> None:
    assert told((6, 0, 0, 0)) == [WITHHELD] * 8
    assert told((4, 4, 4, 4)) == [WITHHELD] * 8


def _fits(shown: Sequence[Told], kinds: Sequence[int]) -> bool:
    """Whether these kinds could be behind what is told."""
    for said, true in zip(shown[1:5], kinds, strict=True):
        if said is FEW and true >= LEAST_SHOWN:
            return False
        if said is WITHHELD and true < LEAST_SHOWN and shown[0] is not WITHHELD:
            return False
        if isinstance(said, int) and said != true:
            return False
    return shown[0] is WITHHELD or sum(kinds) == shown[0]


@given(kinds=st.tuples(*[st.integers(0, 14)] * 4))
@settings(max_examples=examples(300), deadline=None)
def test_each_small_number_could_be_any_below_five(kinds: tuple[int, int, int, int]) -> None:
    shown = told(kinds)
    if shown is None:
        return
    assert not any(isinstance(one, int) and one < LEAST_SHOWN for one in shown)
    for at, true in enumerate(kinds):
        if true >= LEAST_SHOWN:
            continue
        hidden = [n for n in range(4) if not isinstance(shown[1 + n], int)]
        ranges = [range(60) if n in hidden else [kinds[n]] for n in range(4)]
        ranges[at] = range(LEAST_SHOWN)
        reachable: set[int] = set()
        most = sum(kinds) + 1
        for one in product(*(r if len(r) == 1 else range(min(len(r), most)) for r in ranges)):
            if len(reachable) == LEAST_SHOWN:
                break
            if _fits(shown, one):
                reachable.add(one[at])
        assert reachable == set(range(LEAST_SHOWN)), (kinds, shown)


def test_what_is_made_here_is_believed_elsewhere() -> None:
    for kinds in product((0, 2, 5, 9), repeat=4):
        shown, which = shown_rows(
            [sum(kinds)], np.array([kinds], np.uint32), np.array([[5, 1, 0]], np.uint32)
        )
        for row in shown.tolist():
            check_shown(row, kinds=4)
        assert bool(which) == (sum(kinds) >= LEAST_SHOWN)


@pytest.mark.parametrize(
    "row",
    [
        (4, 4, 0, 0, 0, 0, 0, 0),
        (20, 10, 10, 0, 0, 5, 5, 5),
        (20, 10, 11, 5, 5, 5, 5, 5),
        (20, 5, 5, 5, 6, 5, 5, 5),
        (20, 5, 5, 5, 5, 25, 5, 5),
        (0xFFFFFFFF,) * 8,
        (0xFFFFFFFE, 12, *(0xFFFFFFFE,) * 6),
        (1 << 21, *(0xFFFFFFFE,) * 7),
    ],
)
def test_a_row_that_tells_what_it_should_not_is_refused(row: tuple[int, ...]) -> None:
    with pytest.raises(MalformedMessage):
        check_shown(row, kinds=4)
