"""What a box keeps of a sighting, found and read only by who names it: its disk holds no name."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_MARK_BYTES, _NONCE_BYTES = 16, 12


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sighting's row is, and what opens it; both follow from its encoded name alone.

    A sighting's id is eight random bytes, so who has the file alone can make neither.

    Args:
        mark: 16 bytes, what the row is found by.
    """

    mark: bytes
    _key: bytes = field(repr=False)

    @classmethod
    def of(cls, name: bytes) -> Place:
        """Return the place of an encoded name."""
        made = hashlib.sha512(b"sealtrace still ring" + name).digest()
        return cls(made[:_MARK_BYTES], made[32:])

    def close(self, sealed: bytes) -> bytes:
        """Return what stands in the file for a sealed still; nothing for nothing."""
        if not sealed:
            return b""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self._key).encrypt(nonce, sealed, self.mark)

    def open(self, closed: bytes) -> bytes:
        """Return the sealed still again.

        Raises:
            InvalidTag: it is not what was put there.
        """
        if not closed:
            return b""
        nonce, rest = closed[:_NONCE_BYTES], closed[_NONCE_BYTES:]
        return AESGCM(self._key).decrypt(nonce, rest, self.mark)
