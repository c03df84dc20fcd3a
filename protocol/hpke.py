"""Sealing to a public key: HPKE (RFC 9180) with MLKEM768_X25519, HKDF-SHA256 and AES-256-GCM.

Private keys travel and rest as 96-byte seeds (ML-KEM-768 seed, 64; X25519, 32), public keys as
1,216 bytes (ML-KEM-768 encapsulation key, 1,184; X25519, 32). Every use names its purpose and
context in HPKE's ``info``, so that a sealed message opens only for what it was made for.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from protocol.encoding import encode
from protocol.errors import AuthenticationFailed, MalformedMessage

SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
SEED_BYTES = 96
PUBLIC_BYTES = 1216
_MLKEM_SEED = 64
_MLKEM_PUBLIC = 1184
_P = 2**255 - 19
_LOW_ORDER_U = frozenset(
    {
        0,
        1,
        _P - 1,
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
    }
)
"""The X25519 coordinates whose multiples are all zero: nothing can be agreed on with them."""
_TRIAL = b"sealtrace/v1/trial"
_TRIED = 512
"""Public keys known to be good: a directory and its days' keys are read again and again."""


@lru_cache(maxsize=_TRIED)
def _tried(raw: bytes) -> MLKEM768X25519PublicKey:
    """Return the library's key once it has been sealed to; trying it takes 0.2 ms.

    Raises:
        MalformedMessage: nothing can be sealed to it.
    """
    u = int.from_bytes(raw[_MLKEM_PUBLIC:], "little") % 2**255 % _P  # RFC 7748, section 5
    if u in _LOW_ORDER_U:
        raise MalformedMessage("a sealing public key of low order: it would seal to nobody")
    try:
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC]),
            X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC:]),
        )
        SUITE.encrypt(b"", key, info=_TRIAL)
    except ValueError as error:
        raise MalformedMessage("not a sealing public key: nothing can be sealed to it") from error
    return key


class PublicKey:
    """A sealing key's public half, 1,216 bytes, that has been sealed to once.

    Whoever gives out a point of small order (RFC 7748, 6.1) gives out a key that no library seals
    to: found out only when there is something to seal, that would be too late.

    Raises:
        MalformedMessage: it is none, or nothing can be sealed to it.
    """

    __slots__ = ("_key", "raw")

    def __init__(self, raw: bytes) -> None:
        if len(raw) != PUBLIC_BYTES:
            raise MalformedMessage(f"a sealing public key has {PUBLIC_BYTES} bytes")
        self._key = _tried(raw)
        self.raw = raw

    @classmethod
    def _of(cls, mlkem: MLKEM768PublicKey, x25519: X25519PublicKey) -> PublicKey:
        """Return the public half of a key of our own: no seed gives a point of small order."""
        made = cls.__new__(cls)
        made._key = MLKEM768X25519PublicKey(mlkem, x25519)
        made.raw = mlkem.public_bytes_raw() + x25519.public_bytes_raw()
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    @property
    def key_id(self) -> bytes:
        """First 16 bytes of the key's SHA-256."""
        return hashlib.sha256(self.raw).digest()[:16]

    def seal(self, plaintext: bytes, *, purpose: str, context: list[object]) -> bytes:
        """Seal ``plaintext`` to this key; it opens only with the same purpose and context.

        Raises:
            MalformedMessage: nothing can be sealed to it: its X25519 half has a small order.
        """
        try:
            return SUITE.encrypt(plaintext, self._key, info=_info(purpose, context))
        except ValueError as error:
            raise MalformedMessage(
                f"nothing can be sealed to the key {self.key_id.hex()} for a {purpose}"
            ) from error


class PrivateKey:
    """A sealing key, held as its 96-byte seed."""

    __slots__ = ("_key", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise MalformedMessage(f"a sealing key's seed has {SEED_BYTES} bytes")
        self._hold(
            MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED]),
            X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED:]),
        )

    def _hold(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.seed = mlkem.private_bytes_raw() + x25519.private_bytes_raw()
        self.public = PublicKey._of(mlkem.public_key(), x25519.public_key())

    @classmethod
    def generate(cls) -> PrivateKey:
        """Draw a new key."""
        made = cls.__new__(cls)
        made._hold(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())
        return made

    def open(self, sealed: bytes, *, purpose: str, context: list[object]) -> bytes:
        """Open what was sealed to this key for ``purpose`` and ``context``.

        Raises:
            AuthenticationFailed: altered, sealed to another key, or for another purpose.
        """
        try:
            return SUITE.decrypt(sealed, self._key, info=_info(purpose, context))
        except (InvalidTag, ValueError) as error:
            raise AuthenticationFailed(
                f"a sealed {purpose} does not open: altered, or not sealed to this key"
            ) from error

    def __repr__(self) -> str:
        return f"PrivateKey(key_id={self.public.key_id.hex()})"


def _info(purpose: str, context: list[object]) -> bytes:
    return encode(["sealtrace/v1", purpose, context])
