"""The aggregator's one SQLite file: what came in, sealed, and what was asked of it."""

from __future__ import annotations

from aggregator.store.envelopes import (
    ModelNumbers,
    drop_replaced_live,
    insert_announcement,
    insert_envelope,
    read_envelope,
    segment_blocks,
)
from aggregator.store.schema import MIGRATIONS
from aggregator.store.store import (
    Purged,
    ScopeCount,
    Store,
    StoredAnnouncement,
)

__all__ = [
    "MIGRATIONS",
    "ModelNumbers",
    "Purged",
    "ScopeCount",
    "Store",
    "StoredAnnouncement",
    "drop_replaced_live",
    "insert_announcement",
    "insert_envelope",
    "read_envelope",
    "segment_blocks",
]
