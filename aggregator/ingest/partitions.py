"""Which boxes a process takes in: all of them, or those whose partitions it has leased.

A box is of the partition ``SHA-256(its name) mod 64``, its first eight bytes read as a
big-endian number: the same on every machine and in every version. One process has a partition at a
time, because a camera's messages have to be judged in one place: dealt out to several, each would
see gaps where the others' numbers are (docs/decisions/0042-ingest-by-several-processes.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Protocol

from aggregator.store.leases import Lease
from protocol.directory import BOX, Directory
from protocol.names import ENVELOPE, EPOCH, HEALTH, TOPIC_ROOT

PARTITIONS = 64
"""Not to be configured: two processes that counted otherwise would both have a box."""


def partition_of(box: str) -> int:
    """Return the partition of a box, by its name."""
    return int.from_bytes(hashlib.sha256(box.encode()).digest()[:8], "big") % PARTITIONS


class Share(Protocol):
    """The partitions that are this process's own at the moment."""

    def held(self) -> Mapping[int, Lease]:
        """Return the leases by partition, as they are now: a snapshot."""

    def lose(self, lease: Lease) -> None:
        """Note that a lease has passed to another process."""


def filters_of_site(site: str) -> tuple[str, ...]:
    """Return what is subscribed to by who takes in all boxes."""
    root = f"{TOPIC_ROOT}/{site}"
    return (
        f"{root}/+/+/{ENVELOPE}",
        f"{root}/+/+/{EPOCH}",
        f"{root}/+/+/{HEALTH}",
        f"{root}/+/{HEALTH}",
    )


def filters_of_box(site: str, box: str) -> tuple[str, ...]:
    """Return what is subscribed to for one box: its cameras' messages, and its own health."""
    root = f"{TOPIC_ROOT}/{site}/{box}"
    return f"{root}/+/{ENVELOPE}", f"{root}/+/{EPOCH}", f"{root}/{HEALTH}"


def boxes_in(directory: Directory, held: Iterable[int]) -> set[str]:
    """Return the boxes of some partitions, revoked ones too: what those still send is counted."""
    ours = set(held)
    return {
        name
        for name, principal in directory.principals.items()
        if BOX in principal.duties and partition_of(name) in ours
    }
