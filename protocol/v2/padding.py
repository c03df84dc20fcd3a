"""Size classes: what a length in the clear tells is which class, and not how many people.

A size is rounded up to a power of two of its unit, from a smallest class on. Between two classes
the observer learns nothing; a class is left on average after the number of people has doubled.
"""

from __future__ import annotations

import os

from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import MalformedMessage

SMALLEST_ROWS = 8
SMALLEST_BYTES = 512
SMALLEST_METADATA = 2048
"""About eight people who met nobody, so that metadata is of the class of their templates."""
_MARK = b"\x80"


def size_class(size: int, smallest: int) -> int:
    """Return the smallest power of two times ``smallest`` that is not below ``size``."""
    if size < 0:
        raise ValueError("a size is not negative")
    units = -(-size // smallest)
    return smallest << max(0, units - 1).bit_length()


def pad(
    body: bytes | bytearray, *, padded: bool = True, smallest: int = SMALLEST_BYTES
) -> bytearray:
    """Return ``body``, 0x80 and zeros up to its class (ISO/IEC 7816-4), to be sealed.

    Args:
        padded: False adds the mark alone.
        smallest: class, in bytes.
    """
    size = len(body) + 1
    whole = size_class(size, smallest) if padded else size
    return bytearray(body) + _MARK + bytes(whole - size)


def unpad(data: bytes | bytearray | memoryview) -> bytes:
    """Return what :func:`pad` was given.

    Raises:
        MalformedMessage: the mark is missing.
    """
    end = len(data)
    body = bytes(data).rstrip(b"\x00")
    if end > MAX_MESSAGE_BYTES or not body.endswith(_MARK):
        raise MalformedMessage("a sealed block has no padding mark")
    return body[:-1]


def fill(sealed: bytes | bytearray, *, padded: bool = True) -> bytes:
    """Return sealed bytes followed by random ones up to their class: nobody sees where they end."""
    if not padded:
        return bytes(sealed)
    return bytes(sealed) + os.urandom(size_class(len(sealed), SMALLEST_METADATA) - len(sealed))
