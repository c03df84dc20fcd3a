"""Say numbers of things and ids in words, the same on every face."""

from __future__ import annotations


def many(number: int, what: str, plural: str = "") -> str:
    """Return ``1 candidate``, ``1,200 candidates``; ``plural`` where an s does not do."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def short_id(text: str) -> str:
    """Return the first 8 digits of an id: enough to name it by."""
    return text[:8]
