"""Numbers of people below five are told to nobody, and none that would let one be computed.

A number below `LEAST_SHOWN` is nearly a sighting. It is not told as it is; and where the sum of a
row would narrow it down, the sum is withheld. When that is so hangs on small numbers alone, of
which any could be behind either; so that who knows this rule, which everybody may read here, and
all else that is told, learns of each small number only that it is one from 0 to 4. It is done
before the numbers are sealed to officers, so that no program of theirs can show what it was not
given.
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
    """With it a number below five could be computed."""


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
    large, few = sum(value for value in parts if value <= _MOST), parts.count(_FEW)
    contradicts = _WITHHELD in parts
    if people == _WITHHELD:
        contradicts |= not few or any(large <= value <= _MOST for value in at_once)
    else:
        most = max((value for value in at_once if value <= _MOST), default=0)
        whole = people == large if not few else _may_be_told(people - large, few, kinds)
        contradicts |= not whole or most > people or _WITHHELD in at_once
    if contradicts:
        raise MalformedMessage("counts: what is told of a quarter hour contradicts itself")


def _row(kinds: Sequence[int], at_once: Sequence[int]) -> list[int]:
    small = [one for one in kinds if one < LEAST_SHOWN]
    people = sum(kinds)
    told = [*map(_shown, kinds)]
    if not small or _may_be_told(sum(small), len(small), len(kinds)):
        return [people, *told, *map(_shown, at_once)]
    # So many people there were at least; that there were more is not told either.
    large = people - sum(small)
    return [_WITHHELD, *told, *(_WITHHELD if one >= large else _shown(one) for one in at_once)]


def _shown(number: int) -> int:
    return _FEW if number < LEAST_SHOWN else number


def _may_be_told(total: int, small: int, kinds: int) -> bool:
    """Tell whether the sum of small numbers may be known: each could be any from 0 to 4 then.

    And each could be any where this says no. A row of small numbers alone has `LEAST_SHOWN` people
    or would not be told of; with just so many it is on the side of those whose sum is withheld,
    which would all be large numbers otherwise.

    Args:
        total: the sum.
        small: of how many.
        kinds: how many numbers a row has.
    """
    least = LEAST_SHOWN + 1 if small == kinds else _MOST_SMALL
    return least <= total <= _MOST_SMALL * (small - 1)
