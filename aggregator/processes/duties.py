"""What a process of the aggregator does: everything, or the duties that it was started with."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Duty(StrEnum):
    """One part of an aggregator's work."""

    API = "api"
    """Answers officers, auditors and custodians; as many processes as wanted."""
    INGEST = "ingest"
    """Takes in what boxes send; as many processes as wanted, each with its own partitions."""
    QUERIES = "queries"
    """Carries queries forward; as many processes as wanted, each with its own share of them."""
    UPKEEP = "upkeep"
    """Writes the audit log, relays keys, gives notice, deletes what is past retention; one process
    at a time, others stand by."""


ALL = frozenset(Duty)


def words_of(duties: Iterable[Duty]) -> str:
    """Return duties as they are listed: in the order above, with commas."""
    chosen = set(duties)
    return ",".join(duty for duty in Duty if duty in chosen)
