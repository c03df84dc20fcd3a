"""Deterministic CBOR (RFC 8949 section 4.2) and strict reading of what others encoded.

A message is accepted only if it is the one deterministic encoding of its value, so that a signed
byte string has exactly one meaning and one spelling. :func:`decode` reads the small part of CBOR
that our messages use, in one pass, and refuses everything else at the byte where it stands: what a
message can cost is bounded by its own size, whoever sent it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import cbor2

from protocol.cbor_reading import Refused, end_of, field_at, read_item, string_at
from protocol.errors import MalformedMessage, MessageTooLarge, UnsupportedVersion
from protocol.names import require_name

PROTOCOL_VERSION = 1
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
MAX_ITEMS = 1 << 20
"""No message has more items, whatever its size: each costs up to about 100 bytes of memory."""

FREE_ITEMS, BYTES_AN_ITEM = 4096, 4
_MISSING = object()
T = TypeVar("T")


def encode(value: object) -> bytes:
    """Encode ``value`` (maps with text keys, arrays, text, bytes, ints, floats, bool, null)."""
    return cbor2.dumps(value, canonical=True)


def encode_unsigned(value: int) -> bytes:
    """Encode an integer from 0 to 2**64 - 1 as :func:`encode` does, in less time.

    Raises:
        OverflowError: it is negative, or larger.
    """
    if 0 <= value < 24:
        return bytes((value,))
    if value <= 0xFF:
        return b"\x18" + value.to_bytes(1, "big")
    if value <= 0xFFFF:
        return b"\x19" + value.to_bytes(2, "big")
    if value <= 0xFFFFFFFF:
        return b"\x1a" + value.to_bytes(4, "big")
    return b"\x1b" + value.to_bytes(8, "big")


def decode(
    data: bytes,
    *,
    what: str,
    max_bytes: int = MAX_MESSAGE_BYTES,
    max_items: int = MAX_ITEMS,
) -> Any:
    """Decode one deterministic CBOR item.

    Read are unsigned and negative integers of 64 bits, byte and text strings, arrays, maps with
    text keys, floats, false, true and null. Refused where they are met, before anything is built
    of them: every tag (so no big numbers, no shared values, no references), indefinite lengths, any
    longer spelling than needed, keys out of order or twice, other simple values, more than
    ``MAX_DEPTH`` arrays and maps within one another, and more items than ``max_items`` or than the
    size allows: ``FREE_ITEMS`` and one more for every ``BYTES_AN_ITEM`` bytes.

    Args:
        what: what the bytes should be, for the error text.
        max_items: how many items (keys counted) the schema can have at most; a parser that reads
            what nobody has signed yet says it as tightly as it can.

    Raises:
        MessageTooLarge: over ``max_bytes``; nothing has been parsed.
        MalformedMessage: not CBOR, not deterministic, too deep, too many items, or followed by more
            bytes.
    """
    if len(data) > max_bytes:
        raise MessageTooLarge(f"{what} has {len(data)} bytes; the limit is {max_bytes}")
    most = min(max_items, most_items(len(data)))
    try:
        return read_item(bytes(data), most)
    except IndexError:
        raise MalformedMessage(f"{what} is not valid CBOR: it is cut short") from None
    except (Refused, UnicodeDecodeError) as error:
        raise MalformedMessage(f"{what} is not valid CBOR: {error}") from error


def most_items(size: int) -> int:
    """Return how many items (itself, and keys, counted) a message of ``size`` bytes can have."""
    return min(MAX_ITEMS, FREE_ITEMS + size // BYTES_AN_ITEM)


def byte_strings(data: bytes, *, what: str) -> Iterator[bytes]:
    """Yield the byte strings of a CBOR sequence (RFC 8742), one after the other.

    Raises:
        MalformedMessage: something else is met, or the last one is cut short.
    """
    at = 0
    while at < len(data):
        try:
            begins, at = string_at(data, at)
        except IndexError:
            raise MalformedMessage(f"{what} is not a CBOR sequence: it is cut short") from None
        except Refused as error:
            raise MalformedMessage(f"{what} is not a CBOR sequence: {error}") from error
        yield data[begins:at]


def field_of(
    data: bytes,
    name: str,
    *,
    what: str,
    max_items: int = FREE_ITEMS,
    likely: bytes | None = None,
) -> bytes:
    """Return the encoding of one field of a map, passing over what stands before it.

    For whoever wants a little of much: what is passed over is not checked, what is returned is to
    be decoded.

    Args:
        max_items: so many items are passed over at most, keys counted.
        likely: what it returns most often: it is found without looking at its parts.

    Raises:
        MalformedMessage: it is not a map, has no such field, or too many items before it.
    """
    try:
        begins, room = field_at(data, name.encode(), max_items)
        if likely is not None and begins >= 0 and data.startswith(likely, begins):
            return likely  # no other item begins with the bytes of a whole one
        found = None if begins < 0 else data[begins : end_of(data, begins, room)]
    except IndexError:
        raise MalformedMessage(f"{what} is not valid CBOR: it is cut short") from None
    except Refused as error:
        raise MalformedMessage(f"{what} is not valid CBOR: {error}") from error
    if found is None:
        raise MalformedMessage(f"{what} has no field '{name}'")
    return found


def decode_base64(text: str | bytes, *, what: str) -> bytes:
    """Return the bytes of the one base64 (RFC 4648 section 4, padded) that spells them.

    The last character of other readings has bits to spare: one value would have several spellings.

    Raises:
        MalformedMessage: it is not base64, or not as an encoder writes it.
    """
    spelt = text.encode("utf-8", "replace") if isinstance(text, str) else bytes(text)
    try:
        data = base64.b64decode(spelt, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedMessage(f"{what} is not base64") from error
    if base64.b64encode(data) != spelt:
        raise MalformedMessage(f"{what} is not base64 as an encoder writes it")
    return data


class Fields:
    """Reads a decoded map field by field; whatever is missing, extra or of a wrong type is refused.

    Use: ``fields = Fields(value, what="query")``, one call a field, then ``fields.done()``.
    Every method raises :class:`MalformedMessage`.
    """

    def __init__(self, value: object, *, what: str) -> None:
        if not isinstance(value, Mapping):
            raise MalformedMessage(f"{what} is not a map")
        self._values = dict(value)
        self._what = what

    def _take(self, name: str) -> Any:
        value = self._values.pop(name, _MISSING)
        if value is _MISSING:
            raise MalformedMessage(f"{self._what} has no field '{name}'")
        return value

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def _refuse(self, name: str, wanted: str) -> MalformedMessage:
        return MalformedMessage(f"{self._what}: field '{name}' is not {wanted}")

    def version(self, expected: int = PROTOCOL_VERSION) -> None:
        """Require the version of the format that the caller reads."""
        stated = self.integer("v")
        if stated != expected:
            raise UnsupportedVersion(
                f"{self._what} is of version {stated} of the protocol, not {expected}: "
                "one of the two machines needs its update"
            )

    def one_of_versions(self, *known: int) -> int:
        """Take the version of the format, which must be one of those that the caller reads."""
        stated = self.integer("v")
        if stated not in known:
            raise UnsupportedVersion(
                f"{self._what} is of version {stated} of the protocol, not {known[-1]}: "
                "one of the two machines needs its update"
            )
        return stated

    def value(self, name: str) -> object:
        """Take whatever is there, for a reader of its own."""
        return self._take(name)

    def integer(self, name: str, low: int = 0, high: int = 2**63 - 1) -> int:
        """Take an integer in ``[low, high]``."""
        value = self._take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._refuse(name, f"an integer from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        """Take a finite number in ``[low, high]``."""
        value = self._take(name)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise self._refuse(name, f"a number from {low} to {high}")
        return float(value)

    def boolean(self, name: str) -> bool:
        """Take true or false."""
        value = self._take(name)
        if not isinstance(value, bool):
            raise self._refuse(name, "true or false")
        return value

    def text(self, name: str, *, max_length: int = 256, multiline: bool = False) -> str:
        """Take a printable, non-empty text of at most ``max_length`` characters.

        Control and formatting characters are refused, because these texts are shown to people;
        ``multiline`` permits line feeds.
        """
        value = self._take(name)
        if (
            not isinstance(value, str)
            or not 0 < len(value) <= max_length
            or not (value.replace("\n", "") if multiline else value).isprintable()
        ):
            raise self._refuse(name, f"a printable text of 1 to {max_length} characters")
        return value

    def name(self, name: str) -> str:
        """Take the name of a thing (:func:`protocol.names.require_name`)."""
        return require_name(self._take(name), what=f"{self._what}: field '{name}'")

    def choice(self, name: str, among: frozenset[str]) -> str:
        """Take a text string that is one of ``among``."""
        value = self._take(name)
        if not isinstance(value, str) or value not in among:
            raise self._refuse(name, f"one of {', '.join(sorted(among))}")
        return value

    def raw(
        self, name: str, *, size: int | None = None, max_size: int = MAX_MESSAGE_BYTES
    ) -> bytes:
        """Take a byte string, of exactly ``size`` bytes when given."""
        value = self._take(name)
        if (
            not isinstance(value, bytes)
            or len(value) > max_size
            or (size is not None and len(value) != size)
        ):
            raise self._refuse(name, "a byte string" + (f" of {size} bytes" if size else ""))
        return value

    def array(self, name: str, *, max_items: int, min_items: int = 0) -> list[Any]:
        """Take an array of ``min_items`` to ``max_items`` items."""
        value = self._take(name)
        if not isinstance(value, list) or not min_items <= len(value) <= max_items:
            raise self._refuse(name, f"an array of {min_items} to {max_items} items")
        return value

    def raws(self, name: str, *, max_items: int) -> tuple[bytes, ...]:
        """Take an array of byte strings."""
        value = self.array(name, max_items=max_items)
        if not all(isinstance(item, bytes) for item in value):
            raise self._refuse(name, "an array of byte strings")
        return tuple(value)

    def texts(self, name: str, *, max_items: int, min_items: int = 0) -> tuple[str, ...]:
        """Take an array of distinct, non-empty texts."""
        value = self.array(name, max_items=max_items, min_items=min_items)
        if not all(
            isinstance(item, str) and 0 < len(item) <= 256 and item.isprintable() for item in value
        ):
            raise self._refuse(name, "an array of printable texts")
        if len(set(value)) != len(value):
            raise self._refuse(name, "an array of distinct texts")
        return tuple(value)

    def mapping(self, name: str, *, max_items: int) -> dict[str, Any]:
        """Take a map with printable text keys."""
        value = self._take(name)
        if not isinstance(value, Mapping) or len(value) > max_items:
            raise self._refuse(name, f"a map of at most {max_items} entries")
        if not all(
            isinstance(key, str) and 0 < len(key) <= 256 and key.isprintable() for key in value
        ):
            raise self._refuse(name, "a map with printable text keys")
        return dict(value)

    def optional(self, name: str, read: Callable[[str], T]) -> T | None:
        """Read the field with ``read`` unless it is null."""
        if self._values.get(name, _MISSING) is None:
            del self._values[name]
            return None
        return read(name)

    def done(self) -> None:
        """Refuse fields that nobody asked for."""
        if self._values:
            names = sorted(map(ascii, self._values))
            extra = ", ".join(name[:40] for name in names[:8])
            raise MalformedMessage(f"{self._what} has unknown fields: {extra}")
