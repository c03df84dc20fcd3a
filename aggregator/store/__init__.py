"""The aggregator's one SQLite file: what came in, sealed, and what was asked of it."""

from __future__ import annotations

from aggregator.store.envelopes import (
    drop_replaced_live,
    insert_envelope,
    model_number,
    read_envelope,
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
    "Purged",
    "ScopeCount",
    "Store",
    "StoredAnnouncement",
    "drop_replaced_live",
    "insert_envelope",
    "model_number",
    "read_envelope",
]
