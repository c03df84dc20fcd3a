"""One passage that a camera's box watched and a film of it shows as well: one stay, told once.

A camera may have several boxes, and a film may be imported of an hour that was watched. Each box
gives its own sightings, contacts and ids of one and the same passage. Counted both, the subject
would have been there twice as long, with twice as many people.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from officers.desk.traces import Stay

_SHARE = 0.5
"""Of the shorter of two stays so much has to lie within the longer."""


def told_once(stays: Iterable[Stay]) -> list[Stay]:
    """Return stays with each passage once: the longest account of it, and the others' numbers.

    Taken for one are stays of one subject and camera of which different boxes, or a box and its
    film, tell at the same time, and on which the same has been decided. Contacts are those of the
    longest account alone: another's ids of the same people are others.
    """
    groups: dict[tuple[object, ...], list[Stay]] = {}
    for stay in stays:
        place = (stay.subject, stay.address.site, stay.address.camera)
        groups.setdefault((*place, stay.verdict, stay.modality, stay.follows), []).append(stay)
    return [one for group in groups.values() for one in _once(group)]


def _once(group: Sequence[Stay]) -> list[Stay]:
    if len({_view(stay) for stay in group}) == 1:
        return list(group)
    accounts: list[list[Stay]] = []
    for stay in sorted(group, key=lambda one: (one.from_ms - one.to_ms, one.origin or "")):
        same = max(
            (one for one in accounts if _is_of(stay, one)),
            key=lambda one: _overlap_ms(stay, one[0]),
            default=None,
        )
        if same is None:
            accounts.append([stay])
        else:
            same.append(stay)
    return [_told(first, others) for first, *others in accounts]


def _is_of(stay: Stay, account: Sequence[Stay]) -> bool:
    """Tell whether a stay is of the passage that an account's first stay tells longest of."""
    first, *others = account
    if _view(stay) == _view(first):
        return False
    shorter_ms = max(1, stay.to_ms - stay.from_ms)
    if _overlap_ms(stay, first) < _SHARE * shorter_ms:
        return False
    # Two at one moment in one view are two people.
    return not any(_view(stay) == _view(one) and _overlap_ms(stay, one) > 0 for one in others)


def _told(first: Stay, others: Sequence[Stay]) -> Stay:
    if not others:
        return first
    numbers = {number for one in others for number in one.numbers}
    unmatched = {number for one in (first, *others) for number in one.unmatched}
    confirmed = set(first.confirmed_by).intersection(*(one.confirmed_by for one in others))
    return replace(
        first,
        numbers=tuple(sorted({*first.numbers, *numbers})),
        unmatched=tuple(sorted(unmatched)),
        confirmed_by=tuple(sorted(confirmed)),
        doubles=tuple(sorted(numbers)),
    )


def _view(stay: Stay) -> tuple[object, ...]:
    return (stay.address.box, stay.origin)


def _overlap_ms(one: Stay, other: Stay) -> int:
    """Return how long both tell of; a moment lasts a millisecond."""
    ends_ms = min(max(one.to_ms, one.from_ms + 1), max(other.to_ms, other.from_ms + 1))
    return ends_ms - max(one.from_ms, other.from_ms)
