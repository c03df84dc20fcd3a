"""No number of people below five can be read, or computed, from what is told."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

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


def test_where_the_sum_narrows_nothing_down_it_is_told() -> None:
    assert told((25, 3, 0, 2), (9, 3, 0)) == [30, 25, FEW, FEW, FEW, 9, FEW, FEW]
    assert told((2, 2, 2, 2)) == [8, FEW, FEW, FEW, FEW, FEW, FEW, FEW]


def test_where_the_sum_would_narrow_a_small_number_down_it_is_withheld() -> None:
    assert told((10, 8, 1, 9)) == [WITHHELD, 10, 8, FEW, 9, FEW, FEW, FEW]
    assert told((4, 4, 7, 7)) == [WITHHELD, FEW, FEW, 7, 7, FEW, FEW, FEW]
    assert told((4, 4, 4, 4)) == [WITHHELD, FEW, FEW, FEW, FEW, WITHHELD, WITHHELD, WITHHELD]


def test_with_the_sum_goes_what_would_bound_it() -> None:
    assert told((12, 0, 0, 0), (12, 11, 3)) == [WITHHELD, 12, FEW, FEW, FEW, WITHHELD, 11, FEW]
    assert told((12, 1, 0, 0), (13, 11, 3)) == [WITHHELD, 12, FEW, FEW, FEW, WITHHELD, 11, FEW]


def test_each_small_number_could_be_any_below_five_also_for_who_knows_the_rule() -> None:
    behind: dict[tuple[Told, ...], list[set[int]]] = {}
    for kinds in product((0, 1, 2, 3, 4, 5, 7), repeat=4):
        for most in (0, 5, 7, 12):
            shown = told(kinds, (most, 0, 0)) if most <= sum(kinds) else None
            if shown is None:
                continue
            sets = behind.setdefault(tuple(shown), [set() for _ in kinds])
            for known, true in zip(sets, kinds, strict=True):
                known.add(true)
    for row, sets in behind.items():
        assert not any(isinstance(one, int) and one < LEAST_SHOWN for one in row)
        for said, known in zip(row[1:5], sets, strict=True):
            assert said is not FEW or known == set(range(LEAST_SHOWN)), (row, sets)


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
        (0xFFFFFFFE, 12, 8, 9, 6, 5, 5, 5),
        (0xFFFFFFFE, 12, *(0xFFFFFFFF,) * 3, 13, 5, 5),
        (20, 12, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFE, 5, 5, 5),
        (13, 12, *(0xFFFFFFFF,) * 3, 5, 5, 5),
        (24, 12, *(0xFFFFFFFF,) * 3, 5, 5, 5),
        (1 << 21, *(0xFFFFFFFE,) * 7),
    ],
)
def test_a_row_that_tells_what_it_should_not_is_refused(row: tuple[int, ...]) -> None:
    with pytest.raises(MalformedMessage):
        check_shown(row, kinds=4)
