"""Derives what opens single sightings, rows or stills, of what a request may have opened.

What cannot be derived is left out and counted by its reason, without saying which sighting it was:
log entries are read by auditors, who need not learn where somebody was found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from custodian.answering import Desk, reason_of
from custodian.verification import Decision, Opening, place_of
from protocol.epoch import Announcement
from protocol.errors import ProtocolError, ScopeExceeded
from protocol.names import SightingName
from protocol.v2.release import Values

Derive = Callable[[Mapping[int, bytes], Announcement, Sequence[SightingName]], Values]


@dataclass(frozen=True, slots=True)
class Derived:
    """The values of what opens, and how many are left out for which reason."""

    values: Values
    left_out: tuple[tuple[str, int], ...]


def derive(
    desk: Desk, decision: Decision, names: Sequence[SightingName], values_of: Derive
) -> Derived:
    """Derive the values of those of ``names`` that the decision covers.

    Raises:
        ProtocolError: nothing opens; the first reason why.
    """
    errors: list[tuple[ProtocolError, int]] = []
    values: dict[SightingName, Mapping[int, bytes]] = {}
    for opening, listed in _by_opening(decision, names, errors):
        try:
            values |= values_of(desk.roots(opening), opening.announcement, listed)
        except ProtocolError as error:
            errors.append((error, len(listed)))
    if not values:
        first = errors[0][0]
        raise type(first)(f"nothing can be opened: {first}")
    reasons: Counter[str] = Counter()
    for why, count in errors:
        reasons[reason_of(why)] += count
    return Derived(values, tuple(sorted(reasons.items())))


def _by_opening(
    decision: Decision, names: Sequence[SightingName], errors: list[tuple[ProtocolError, int]]
) -> list[tuple[Opening, list[SightingName]]]:
    openings = {place_of(opening.announcement): opening for opening in decision.openings}
    refused = {one.place: one.error for one in decision.refused}
    found: dict[tuple[str, str, int, int], list[SightingName]] = {}
    for name in names:
        place = (name.box, name.camera, name.epoch, name.generation)
        opening = openings.get(place)
        if opening is None:
            unknown = ScopeExceeded("the request brings no announcement of its generation")
            errors.append((refused.get(place, unknown), 1))
        elif not opening.scope.first_slot <= name.slot <= opening.scope.last_slot:
            errors.append((ScopeExceeded("its slot is not covered by the query now"), 1))
        else:
            found.setdefault(place, []).append(name)
    return [(openings[place], listed) for place, listed in found.items()]
