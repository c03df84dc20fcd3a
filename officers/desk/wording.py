"""Say ids shortly, the same on every face."""

from __future__ import annotations


def short_id(text: str) -> str:
    """Return the first 8 digits of an id: enough to name it by."""
    return text[:8]
