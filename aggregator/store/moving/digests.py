"""Tell by number and content whether the same rows stand in two databases, in whatever order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

_BYTES = 16
_MODULUS = 1 << (8 * _BYTES)


class Content:
    """A count of rows, and the sum of their hashes."""

    def __init__(self, rows: Iterable[Sequence[object]] = ()) -> None:
        self.count = 0
        self._sum = 0
        for row in rows:
            self.add(row)

    def add(self, row: Sequence[object]) -> None:
        """Count a row in."""
        digest = hashlib.blake2b(b"".join(map(_told, row)), digest_size=_BYTES).digest()
        self._sum = (self._sum + int.from_bytes(digest)) % _MODULUS
        self.count += 1

    def __eq__(self, other: object) -> bool:
        """Tell whether these are the same rows."""
        if not isinstance(other, Content):
            return NotImplemented
        return (self.count, self._sum) == (other.count, other._sum)

    __hash__ = None  # type: ignore[assignment]


def _told(value: object) -> bytes:
    """Return a value so that no two are told alike, with a boolean as the number that it is."""
    if value is None:
        return b"n"
    if isinstance(value, bytes | memoryview):
        return b"b%d:" % len(value) + bytes(value)
    if isinstance(value, int):
        return b"i%d:" % value
    text = str(value).encode()
    return b"t%d:" % len(text) + text
