"""Remove what is past its retention, in transactions so short that nobody waits for them."""

from __future__ import annotations

from collections.abc import Callable

from aggregator.store.interface import Store, Unit
from aggregator.store.rows import Purged
from protocol.names import EPOCH_MS, SLOT_MS, SLOTS_PER_EPOCH

_AT_ONCE = 500
HEALTH_DAYS = 14
"""How long the history of boxes' health is kept."""
DIGEST_DAYS = 2
"""How many whole days it is known what came under a number; later only that something came."""


def purge(store: Store, *, now_ms: int, retention_days: int) -> Purged:
    """Remove what is older than the retention and one day: its keys are destroyed anyway.

    Raises:
        StorageError: the store cannot be written; what was removed before stays removed.
    """
    oldest = now_ms // EPOCH_MS - retention_days - 1
    oldest_ms = oldest * EPOCH_MS
    envelopes = _repeat(
        store, lambda unit: unit.segments.drop_days(before_epoch=oldest, most=_AT_ONCE)
    )
    announcements = _repeat(
        store, lambda unit: unit.ledger.drop_announcements(before_epoch=oldest, most=_AT_ONCE)
    )
    quarantined = _repeat(
        store, lambda unit: unit.ledger.drop_quarantined(before_ms=oldest_ms, most=_AT_ONCE)
    )
    _repeat(store, lambda unit: unit.ledger.drop_gaps(before_ms=oldest_ms, most=_AT_ONCE))
    kept_from = now_ms // SLOT_MS - HEALTH_DAYS * SLOTS_PER_EPOCH
    _repeat(store, lambda unit: unit.ledger.drop_health(before_slot=kept_from, most=_AT_ONCE))
    with store.writing() as unit:
        unit.ledger.drop_rejects(before_ms=oldest_ms)
        unit.ledger.drop_runs(before_ms=oldest_ms)
    stream: int | None = 0
    while stream is not None:
        with store.writing() as unit:
            stream = unit.ledger.forget_messages(
                before_day=now_ms // EPOCH_MS - DIGEST_DAYS, after=stream
            )
    return Purged(envelopes, announcements, quarantined)


def _repeat(store: Store, drop: Callable[[Unit], int]) -> int:
    removed = 0
    while True:
        with store.writing() as unit:
            gone = drop(unit)
        removed += gone
        if gone < _AT_ONCE:
            return removed
