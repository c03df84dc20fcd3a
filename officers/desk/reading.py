"""In which order an approver reads a query: what it costs first, then for whom, why, how.

Each fact comes once. What headquarters say stands apart from what was verified here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from officers.desk.facts import Fact

_COST = ("would open", "cameras", "from", "until", "live", "rows", "stills", "false candidates")
_WHOM = ("looks for", "by words", "by example", "document", "witnessed")
_WHY = ("asked by", "purpose", "purpose kind", "legal basis", "policy", "approvals")
_STANDING = ("state", "found", "withdrawn by")
_BY = ("approved by", "refused by", "does not count")


@dataclass(frozen=True, slots=True)
class Reading:
    """A query's facts in the order of reading; ``others`` is all that has no place of its own.

    Where it stands is left out: pages say that on top (`officers.desk.standings`).
    """

    cost: tuple[Fact, ...]
    whom: tuple[Fact, ...]
    why: tuple[Fact, ...]
    others: tuple[Fact, ...]
    voices: tuple[Fact, ...]
    headquarters: tuple[Fact, ...]


def in_order(facts: Sequence[Fact]) -> Reading:
    """Put facts in order of reading."""
    ours = [one for one in facts if not one.headquarters]
    placed = {*_COST, *_WHOM, *_WHY, *_BY}
    return Reading(
        cost=_those(ours, _COST),
        whom=_those(ours, _WHOM),
        why=_those(ours, _WHY),
        others=tuple(one for one in ours if str(one.about) not in placed),
        voices=_those(ours, _BY),
        headquarters=tuple(
            one for one in facts if one.headquarters and str(one.about) not in _STANDING
        ),
    )


def _those(facts: Sequence[Fact], names: Sequence[str]) -> tuple[Fact, ...]:
    return tuple(fact for name in names for fact in facts if str(fact.about) == name)
