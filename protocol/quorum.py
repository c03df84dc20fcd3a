"""Who must cosign a log, and how many of them, so that it cannot show two histories.

A log of one role is cosigned by the *other* roles. Assume what the site assumes anyway: of the
custodians fewer than ``m`` (the threshold) collude, and the aggregator may be with them. A log that
forks is kept by one of the colluders. Of the ``w`` other roles these may sign both histories:

* a custodian's log: ``m - 2`` further custodians and the aggregator,
* the aggregator's log: ``m - 1`` custodians,

so ``f = m - 1`` either way. An honest witness signs what continues the root that it signed last, so
of two histories that differ in entry *i* it never signs both beyond *i*. Two quorums of ``q``
witnesses share at least ``2 q - w`` of them; with ``2 q - w > f`` one of those is honest, and two
different histories cannot both have a quorum. The least such ``q`` is ``floor((w + f) / 2) + 1``;
with one aggregator ``w = n``, and that is ``ceil((n + m) / 2)`` of the ``n`` others: all three for
2 of 3, four for 2 of 5. It counts for whoever reads a log, however they came by it, and is computed
from the directory, never configured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.auditlog import origin_of
from protocol.directory import AGGREGATOR, CUSTODIAN, Directory, Principal


@dataclass(frozen=True, slots=True)
class Quorum:
    """The roles in force that witness one log, by name, and how many of them it takes."""

    witnesses: tuple[str, ...]
    needed: int


def quorum_size(witnesses: int, liars: int) -> int:
    """Return how many of ``witnesses`` make a quorum when ``liars`` of them may sign anything."""
    return (witnesses + max(0, liars)) // 2 + 1


def site_quorum(custodians: int, threshold: int) -> int:
    """Return how many of the other roles must cosign each log of a site with one aggregator."""
    return quorum_size(custodians, threshold - 1)


def log_keepers(directory: Directory) -> dict[str, str]:
    """Return who must keep a log: origin to actor, for every role in force."""
    keepers = [*directory.with_duty(CUSTODIAN), *directory.with_duty(AGGREGATOR)]
    return {origin_of(directory.site, p.name): p.name for p in keepers}


def cosigning_quorum(directory: Directory, keeper: str) -> Quorum:
    """Return the quorum for the log that ``keeper`` keeps (or kept, before it was revoked)."""
    others = {name for name in log_keepers(directory).values() if name != keeper}
    aggregators = sum(AGGREGATOR in directory.principals[name].duties for name in others)
    kept_by = directory.principals.get(keeper)
    itself = int(kept_by is not None and CUSTODIAN in kept_by.duties)
    liars = directory.threshold - 1 - itself + aggregators
    return Quorum(tuple(sorted(others)), quorum_size(len(others), liars))


def distinct_reach(
    reach: Mapping[str, int], principals: Mapping[str, Principal], keeper: str
) -> list[int]:
    """Return how far each *key* among the witnesses has cosigned, furthest first.

    Two names with one key are one witness, and the keeper's own key is none.

    Args:
        reach: witness to the size of the newest checkpoint that it has cosigned.
    """
    kept_by = principals.get(keeper)
    by_key: dict[bytes, int] = {}
    for name, size in reach.items():
        key = principals[name].verify_key
        if kept_by is None or key != kept_by.verify_key:
            by_key[key.raw] = max(size, by_key.get(key.raw, 0))
    return sorted(by_key.values(), reverse=True)
