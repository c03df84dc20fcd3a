"""Which process takes which boxes in, and that nothing of what they sent is missing."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from publishing_box import PublishingBox
from running_site import RunningSite

from aggregator.ingest.partitions import partition_of


def held(site: RunningSite) -> dict[str, set[int]]:
    """Return the partitions of each process that takes in."""
    found: dict[str, set[int]] = {}
    rows = site.rows(
        "SELECT holder, number FROM leases WHERE kind = 'partition' AND holder <> ''"
        " AND until_ms > ?",
        time.time_ns() // 1_000_000,
    )
    for holder, number in rows:
        found.setdefault(holder, set()).add(number)
    return found


def shared_by(site: RunningSite, processes: int) -> bool:
    """Tell whether so many processes have all partitions between them."""
    found = held(site)
    return len(found) == processes and sum(map(len, found.values())) == 64


def who_has(site: RunningSite, box: str, among: Collection[str]) -> str:
    """Return the process that takes in a box."""
    holder = next(name for name, share in held(site).items() if partition_of(box) in share)
    processes = ((name, site.local.services[name].process) for name in among)
    return next(name for name, it in processes if it and holder.startswith(f"{it.pid}-"))


def nothing_is_missing(site: RunningSite, boxes: Sequence[PublishingBox]) -> None:
    """Fail where something that boxes sent is not stored, stands twice, or was told as a gap."""
    for box in boxes:
        assert site.stored(box.camera) == list(range(box.sent))
    assert site.rows("SELECT first, last FROM gaps WHERE reported_ms IS NOT NULL") == []
    assert [state["rejects"] for state in site.boxes().values()] == [[]] * len(site.plan.boxes)
