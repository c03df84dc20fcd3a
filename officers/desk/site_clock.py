"""A moment by the site's clocks, also one that a box made up."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo


def by_clocks(time_ms: int, zone: tzinfo | None) -> datetime:
    """Return a moment in a zone, or by this machine's; the calendar's last for what is beyond."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(zone)
    except (ValueError, OverflowError, OSError):  # a box may claim any time
        return datetime.max.replace(tzinfo=UTC)
