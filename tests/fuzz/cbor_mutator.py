"""Change messages as an attacker would who knows CBOR: heads, tags, lengths, depth and types."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cbor2
from hostile_cbor import BOMBS, head

from protocol.encoding import decode
from protocol.errors import MalformedMessage

TAGS = (0, 1, 2, 3, 4, 5, 24, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 1004, 43000, 55799)
MAX_GROWN = 1 << 16


@dataclass(frozen=True)
class Raw:
    """Bytes that stand in a message as they are."""

    data: bytes


class CborMutator:
    """Makes hostile messages from genuine ones; the same seed makes the same."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def confused(self, genuine: bytes) -> bytes:
        """Put another value, well encoded, in some place at any depth, also in messages within."""
        value = decode(genuine, what="it")
        for _ in range(self.rng.choice((1, 1, 1, 2, 3))):
            value = self._replaced(value, self._odd_value)
        return cbor2.dumps(value, canonical=True)

    def mutated(self, genuine: bytes) -> bytes:
        """Return a changed message: of other values, otherwise spelt, or of other bytes."""
        way = self.rng.randrange(10)
        if way < 3:
            return self._flipped(genuine)
        try:
            value = decode(genuine, what="it")
            if way < 6:
                return self.confused(genuine)
            for _ in range(self.rng.choice((1, 1, 2))):
                value = self._replaced(value, self._raw_value)
            spelt = self.spelt(value, sloppy=self.rng.random() < 0.3)
        except MalformedMessage:
            return self._flipped(genuine)
        return self._flipped(spelt) if way == 9 else spelt

    def spelt(self, value: Any, *, sloppy: bool) -> bytes:
        """Encode with `Raw` parts as they are; sloppily: long heads, no end given, keys mixed."""
        if isinstance(value, Raw):
            return value.data
        if isinstance(value, dict):
            pairs = [
                self.spelt(k, sloppy=sloppy) + self.spelt(v, sloppy=sloppy)
                for k, v in value.items()
            ]
            if sloppy:
                self.rng.shuffle(pairs)
                pairs += pairs[: self.rng.choice((0, 0, 1))]
            return self._head(5, len(pairs), sloppy) + b"".join(pairs) + self._end
        if isinstance(value, list):
            items = b"".join(self.spelt(item, sloppy=sloppy) for item in value)
            opened = self._head(4, len(value), sloppy)
            return opened + items + self._end
        if isinstance(value, bytes):
            return self._head(2, len(value), sloppy, strings=True) + value
        if isinstance(value, str):
            data = value.encode("utf-8", "replace")
            return self._head(3, len(data), sloppy, strings=True) + data
        return cbor2.dumps(value, canonical=not sloppy)

    _end = b""

    def _head(self, major: int, size: int, sloppy: bool, *, strings: bool = False) -> bytes:
        self._end = b""
        if not sloppy or self.rng.random() < 0.7:
            return head(major, size)
        way = self.rng.randrange(4)
        if way == 0:
            return bytes([major << 5 | 27]) + size.to_bytes(8, "big")
        if way == 1:
            return head(major, self.rng.choice((size + 1, max(0, size - 1), 1 << 32, 1 << 60)))
        if way == 2 and not strings:
            return bytes([major << 5 | 31])
        return head(6, self.rng.choice(TAGS)) + head(major, size)

    def _replaced(self, value: Any, make: Callable[[Any], Any]) -> Any:
        """Return ``value`` with one part, picked at any depth, made anew."""
        inner: Any = None
        if isinstance(value, bytes) and len(value) > 3 and self.rng.random() < 0.5:
            try:
                inner = decode(value, what="it")
            except MalformedMessage:
                inner = None
            if isinstance(inner, (dict, list)):
                return self.spelt(self._replaced(inner, make), sloppy=False)
        if isinstance(value, dict) and value and self.rng.random() < 0.85:
            changed = dict(value)
            key = self.rng.choice(list(changed))
            way = self.rng.randrange(12)
            if way == 0:
                del changed[key]
            elif way == 1:
                changed[self.rng.choice(("", "x", "v", "\x1b[2J", "k" * 300))] = make(None)
            else:
                changed[key] = self._replaced(changed[key], make)
            return changed
        if isinstance(value, list) and value and self.rng.random() < 0.85:
            listed = list(value)
            place = self.rng.randrange(len(listed))
            way = self.rng.randrange(12)
            if way == 0:
                del listed[place]
            elif way == 1:
                listed *= self.rng.choice((2, 3, 40))
                del listed[2000:]
            else:
                listed[place] = self._replaced(listed[place], make)
            return listed
        return make(value)

    def _odd_value(self, value: Any) -> Any:
        """Return a value of another type, or an extreme one of the same."""
        text = value if isinstance(value, str) else "a"
        return self.rng.choice(
            (
                None, True, False, 0, 1, -1, 23, 24, 255, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1,
                -(2**63), -(2**64), 0.0, -0.0, 0.5, 1e300, 5e-324, float("inf"), float("-inf"),
                float("nan"), "", "a", "\x00", "\x1b[31m", "\u202e", "\ud7ff", text * 3,
                text + "\n",
                "x" * 70_000 if self.rng.random() < 0.05 else "x" * 257, b"", b"\x00", bytes(32),
                bytes(self.rng.randrange(200)), [], [[]], [value], [None] * 5, {}, {"": 0},
                {"a": value}, [["face"]], ["face"], [[[[[[]]]]]], "st/v1", "..", "/", "a-192@x",
            )
        )  # fmt: skip

    def _raw_value(self, value: Any) -> Any:  # noqa: PLR0911
        """Return bytes that only somebody who knows CBOR would put here."""
        plain = self.spelt(value, sloppy=False)
        way = self.rng.randrange(9)
        if way == 0:
            return Raw(head(6, self.rng.choice(TAGS)) + plain)
        if way == 1:
            return Raw(self.rng.choice(list(BOMBS.values())))
        if way == 2:
            return Raw(bytes([self.rng.randrange(256)]))
        if way == 3:
            deep = self.rng.choice((2, 6, 9, 13, 200, 5000))
            return Raw(
                self.rng.choice((b"\x81", b"\xa1\x60", b"\xc6", b"\xd8\x1c\x81")) * deep + plain
            )
        if way == 4:
            return Raw(head(self.rng.randrange(8), 1 << self.rng.randrange(64)) + plain)
        if way == 5:
            return Raw(b"\x9f" + plain + b"\xff")
        if way == 6:
            many = self.rng.randrange(MAX_GROWN)
            return Raw(head(4, many) + self.rng.choice((b"\x80", b"\xa0", b"\x60", b"\x00")) * many)
        if way == 7:
            return Raw(head(6, self.rng.choice((2, 3))) + head(2, 40) + b"\xff" * 40)
        return Raw(self.rng.choice((b"\xf9\x7e\x01", b"\xfb" + b"\xff" * 8, b"\xf7", b"\xf8\x20")))

    def _flipped(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.rng.choice((1, 1, 2, 4, 16))):
            place = self.rng.randrange(len(changed) + 1)
            way = self.rng.randrange(5)
            if way == 0 and changed:
                changed[min(place, len(changed) - 1)] ^= 1 << self.rng.randrange(8)
            elif way == 1 and changed:
                changed[min(place, len(changed) - 1)] = self.rng.randrange(256)
            elif way == 2:
                changed[place:place] = self.rng.randbytes(self.rng.choice((1, 1, 2, 8)))
            elif way == 3:
                del changed[place : place + self.rng.choice((1, 1, 4, 64))]
            else:
                start = self.rng.randrange(len(changed) + 1)
                changed[place:place] = changed[start : start + self.rng.randrange(64)]
        return bytes(changed)


class TextMutator(CborMutator):
    """Changes texts (JSON, TOML, XML, checkpoints, HTTP-like answers) and other files."""

    _TOKENS = (
        b"[" * 4000, b"{\"a\":" * 2000, b"9" * 5000, b"-1e999", b"NaN", b"null", b"true", b"\"\"",
        b"\x00", b"\r\n", b"\n\n", b"\xff\xfe", b"\xed\xa0\x80", b"=",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
        b"&b;", b"<a>" * 500, b"\\ud800", b" " * 300, b"\xe2\x80\x94 ", b"[]", b"{}",
        b"0001-01-01T00:00:00Z",
    )  # fmt: skip

    def mutated(self, genuine: bytes) -> bytes:
        """Return changed bytes, with tokens of the formats among them."""
        changed = self._flipped(genuine) if self.rng.random() < 0.6 else genuine
        if self.rng.random() < 0.6:
            place = self.rng.randrange(len(changed) + 1)
            cut = place + self.rng.choice((0, 1, 8))
            changed = changed[:place] + self.rng.choice(self._TOKENS) + changed[cut:]
        return changed
