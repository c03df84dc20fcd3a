"""HMAC-SHA256 and HKDF for keys of 32 bytes, by the plainest calls that `hashlib` has.

RFC 2104 and RFC 5869, and nothing but them: a key tree is millions of HMACs of one byte each, and
both `hmac.digest` and an HKDF object cost twice as much as the hashes that they are made of.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

KEY_BYTES = 32
_BLOCK_BYTES = 64
_XOR_INNER = bytes(byte ^ 0x36 for byte in range(256))
_XOR_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_INNER_REST = b"\x36" * (_BLOCK_BYTES - KEY_BYTES)
_OUTER_REST = b"\x5c" * (_BLOCK_BYTES - KEY_BYTES)
_NO_SALT_INNER = sha256(b"\x36" * _BLOCK_BYTES)
_NO_SALT_OUTER = sha256(b"\x5c" * _BLOCK_BYTES)
LEFT, RIGHT, BOTH = 0, 1, 2
"""Which of a node's children are wanted."""


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return the HMAC-SHA256 of a message under a key of 32 bytes."""
    inner = sha256(key.translate(_XOR_INNER) + _INNER_REST + message).digest()
    return sha256(key.translate(_XOR_OUTER) + _OUTER_REST + inner).digest()


def grow(keys: list[bytes], steps: Iterable[tuple[int, int]]) -> None:
    """Append children of keys of a tree to them: HMAC of 0x00 the left, of 0x01 the right one.

    Args:
        keys: 32 bytes each.
        steps: the place in ``keys`` of a node, which may have been appended by a step before, and
            `LEFT`, `RIGHT` or `BOTH` of its children, the left one first.
    """
    append = keys.append
    for place, sides in steps:
        key = keys[place]
        inner = sha256(key.translate(_XOR_INNER) + _INNER_REST)
        outer = sha256(key.translate(_XOR_OUTER) + _OUTER_REST)
        if sides == BOTH:  # what both begin with is hashed once
            other_inner, other_outer = inner.copy(), outer.copy()
            inner.update(b"\x00")
            outer.update(inner.digest())
            append(outer.digest())
            other_inner.update(b"\x01")
            other_outer.update(other_inner.digest())
            append(other_outer.digest())
        else:
            inner.update(b"\x01" if sides == RIGHT else b"\x00")
            outer.update(inner.digest())
            append(outer.digest())


def hkdf_pair(secret: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Return the two halves of 64 bytes of HKDF-SHA256 without a salt.

    Args:
        secret: of any length.
        info: what the key is for.
    """
    first, second = hkdf_pairs([secret], [info])
    return first[0], second[0]


def hkdf_pairs(secrets: Iterable[bytes], infos: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return what :func:`hkdf_pair` does for each of them: the first halves, and the second."""
    firsts: list[bytes] = []
    seconds: list[bytes] = []
    for secret, info in zip(secrets, infos, strict=True):
        inner, outer = _NO_SALT_INNER.copy(), _NO_SALT_OUTER.copy()
        inner.update(secret)
        outer.update(inner.digest())
        key = outer.digest()
        inner = sha256(key.translate(_XOR_INNER) + _INNER_REST)
        outer = sha256(key.translate(_XOR_OUTER) + _OUTER_REST)
        other_inner, other_outer = inner.copy(), outer.copy()
        inner.update(info + b"\x01")
        outer.update(inner.digest())
        first = outer.digest()
        other_inner.update(first + info + b"\x02")
        other_outer.update(other_inner.digest())
        firsts.append(first)
        seconds.append(other_outer.digest())
    return firsts, seconds
