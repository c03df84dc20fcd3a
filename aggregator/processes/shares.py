"""What the processes of an aggregator share out among them, by kind and number."""

from __future__ import annotations

from aggregator.ingest.partitions import PARTITIONS
from aggregator.processes.duties import Duty
from aggregator.processes.keeper import Shared
from aggregator.store.leases import PARTITION, QUERY

QUERY_SHARES = 64
UPKEEP_NUMBER = 0
"""Of the kind ``duty``: the process that writes the audit log and does all that is done once."""


def share_of_query(query_id: bytes) -> int:
    """Return the share that a query is in: by its id, which is random."""
    return query_id[0] % QUERY_SHARES


def partitions() -> Shared:
    """Return the boxes' partitions, none of them ours yet."""
    return Shared(PARTITION, PARTITIONS, Duty.INGEST)


def query_shares() -> Shared:
    """Return the shares of queries, none of them ours yet."""
    return Shared(QUERY, QUERY_SHARES, Duty.QUERIES)
