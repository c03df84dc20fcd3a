"""Deterministic CBOR (RFC 8949 section 4.2) and strict reading of what others encoded.

A message is accepted only if it is the one deterministic encoding of its value, so that a signed
byte string has exactly one meaning and one spelling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import cbor2

from protocol.errors import MalformedMessage, MessageTooLarge, UnsupportedVersion
from protocol.names import require_name

PROTOCOL_VERSION = 1
MAX_DEPTH = 12
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
_MISSING = object()
T = TypeVar("T")


def encode(value: object) -> bytes:
    """Encode ``value`` (maps with text keys, arrays, text, bytes, ints, floats, bool, null)."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, *, what: str, max_bytes: int = MAX_MESSAGE_BYTES) -> Any:
    """Decode one deterministic CBOR item.

    :param what: what the bytes should be, for the error text.
    :raises MessageTooLarge: over ``max_bytes``; nothing has been parsed.
    :raises MalformedMessage: not CBOR, not deterministic, too deep, or followed by more bytes.
    """
    if len(data) > max_bytes:
        raise MessageTooLarge(f"{what} has {len(data)} bytes; the limit is {max_bytes}")
    try:
        value = cbor2.loads(
            data,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        canonical = encode(value)
    except Exception as error:  # cbor2 lets errors of many types out for hostile input
        raise MalformedMessage(f"{what} is not valid CBOR: {error}") from error
    if canonical != bytes(data):
        raise MalformedMessage(f"{what} is not in deterministic encoding, or bytes follow it")
    return value


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

    def _refuse(self, name: str, wanted: str) -> MalformedMessage:
        return MalformedMessage(f"{self._what}: field '{name}' is not {wanted}")

    def version(self, name: str = "v") -> None:
        """Require the protocol version of this code."""
        if self.integer(name) != PROTOCOL_VERSION:
            raise UnsupportedVersion(
                f"{self._what} is of another protocol version than {PROTOCOL_VERSION}"
            )

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
