"""A moment by the site's clocks, also one that a box made up."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo


def by_clocks(time_ms: int, zone: tzinfo) -> datetime:
    """Return a moment in a zone; the calendar's last one for what lies beyond it."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(zone)
    except (ValueError, OverflowError, OSError):  # a box may claim any time
        return datetime.max.replace(tzinfo=UTC)
