"""Whom to ask for which rows: who holds a share and has not answered; in requests of fair size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aggregator.row_requests import generation_of
from aggregator.store.rows import EpochName
from aggregator.wanted_rows import WantedRow, WantedRows
from protocol.epoch import Announcement
from protocol.names import SightingName

ROWS_A_REQUEST = 1000
ANNOUNCEMENTS_A_REQUEST = 256
Announced = Mapping[EpochName, tuple[bytes, Announcement]]
"""Announcements that are there and can be read: as the box signed them, and read."""


def groups(
    rows: WantedRows, announced: Announced, in_force: frozenset[str]
) -> Iterator[tuple[frozenset[str], list[SightingName]]]:
    """Yield whom to ask for which rows at once: those that the same custodians owe."""
    by_whom: dict[frozenset[str], list[SightingName]] = {}
    for name in sorted(rows.waiting):
        known = announced.get(generation_of(name))
        if known is None:
            continue
        whom = frozenset(owing(rows.waiting[name], known[1], in_force))
        if whom:
            by_whom.setdefault(whom, []).append(name)
    for whom, names in by_whom.items():
        part: list[SightingName] = []
        generations: set[EpochName] = set()
        for name in names:
            generations.add(generation_of(name))
            if len(part) == ROWS_A_REQUEST or len(generations) > ANNOUNCEMENTS_A_REQUEST:
                yield whom, part
                part, generations = [], {generation_of(name)}
            part.append(name)
        yield whom, part


def owing(row: WantedRow, announcement: Announcement, in_force: frozenset[str]) -> Iterator[str]:
    """Yield the custodians with a share of the box that have not said yes or no."""
    for custodian in announcement.custodians:
        if (
            custodian in announcement.shares
            and custodian in in_force
            and custodian not in row.values
            and custodian not in row.refused
        ):
            yield custodian
