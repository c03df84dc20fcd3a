"""Numbers of people below five are told to nobody, and none that would let one be computed.

A number below `LEAST_SHOWN` is nearly a sighting. It is not told as it is; and where what else is
told would narrow it down (the sum, and how numbers are withheld, which everybody may read here),
more is withheld, until each small number could be any from 0 to 4. It is done before the numbers
are sealed to officers, so that no program of theirs can show what it was not given.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from protocol.errors import MalformedMessage

Table = npt.NDArray[np.uint32]
LEAST_SHOWN = 5
_MOST_SMALL = LEAST_SHOWN - 1
_FEW, _WITHHELD = 0xFFFFFFFF, 0xFFFFFFFE
_MOST = 1 << 20


class Small(StrEnum):
    """What stands in the place of a number that is not told."""

    FEW = "<5"
    """It is 0 to 4."""
    WITHHELD = "withheld"
    """It could be any; with it another could be computed."""


Told = int | Small
"""A number as officers read it."""


def told_of(value: int) -> Told:
    """Return how a number of a table of `shown_rows` is read."""
    return {_FEW: Small.FEW, _WITHHELD: Small.WITHHELD}.get(value, value)


def shown_rows(people: Sequence[int], kinds: Table, at_once: Table) -> tuple[Table, list[int]]:
    """Return what is told of how many people were where, and of which rows.

    Rows of fewer than `LEAST_SHOWN` people are not told at all.

    Args:
        people: of n rows, each the sum of its ``kinds``.
        kinds: (n, c), the same people by what they wore.
        at_once: (n, p), the most at one moment.

    Returns:
        (m, 1 + c + p): people, kinds and most at once, with `Small` numbers in their places; and
        the m numbers of their rows.
    """
    told = [number for number, many in enumerate(people) if many >= LEAST_SHOWN]
    width = 1 + kinds.shape[1] + at_once.shape[1]
    shown = np.zeros((len(told), width), np.uint32)
    for at, number in enumerate(told):
        shown[at] = _row(kinds[number].tolist(), at_once[number].tolist())
    return shown, told


def check_shown(row: Sequence[int], *, kinds: int) -> None:
    """Check a row that somebody else made.

    Args:
        row: people, then so many kinds, then the most at once.
        kinds: how many.

    Raises:
        MalformedMessage: it tells a number that is not to be told, or contradicts itself.
    """
    if any(value < LEAST_SHOWN or _MOST < value < _WITHHELD for value in row):
        raise MalformedMessage("counts: a number below five, or beyond what is counted, is told")
    people, parts, at_once = row[0], row[1 : 1 + kinds], row[1 + kinds :]
    if people == _FEW:
        raise MalformedMessage("counts: a row tells of fewer than five people")
    known = sum(value for value in parts if value <= _MOST)
    if people == _WITHHELD:
        contradicts = any(value != _WITHHELD for value in row)
    else:
        most = max((value for value in at_once if value <= _MOST), default=0)
        whole = all(value <= _MOST for value in parts)
        contradicts = known > people or most > people or (whole and known != people)
    if contradicts:
        raise MalformedMessage("counts: what is told of a quarter hour contradicts itself")


def _row(kinds: Sequence[int], at_once: Sequence[int]) -> list[int]:
    people = sum(kinds)
    shown = list(range(len(kinds)))
    small = [one for one in shown if kinds[one] < LEAST_SHOWN]
    shown = sorted(set(shown) - set(small), key=lambda one: (kinds[one], one))
    withheld: list[int] = []
    while not _protected(kinds, small, withheld):
        if not shown:
            return [_WITHHELD] * (1 + len(kinds) + len(at_once))
        withheld.append(shown.pop(0))
    told = list(kinds)
    for one in small:
        told[one] = _FEW
    for one in withheld:
        told[one] = _WITHHELD
    return [people, *told, *(_FEW if one < LEAST_SHOWN else one for one in at_once)]


def _protected(kinds: Sequence[int], small: Sequence[int], withheld: Sequence[int]) -> bool:
    """Tell whether each small number could be any below five, for who knows the sum of the rest.

    They know that small ones are at most 4 and withheld ones at least 5.
    """
    if not small:
        return True
    rest = sum(kinds[one] for one in (*small, *withheld))
    highest = rest - LEAST_SHOWN * len(withheld)
    lowest = 0 if withheld else rest - _MOST_SMALL * (len(small) - 1)
    return highest >= _MOST_SMALL and lowest <= 0
