"""Reads CBOR byte by byte, in one pass: where an item stands, what it is, or why it is refused.

What of CBOR is read, and what is refused, is said in `protocol.encoding.decode`.
"""

from __future__ import annotations

import struct
from typing import Any

MAX_DEPTH = 8
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = range(7)  # major types; 7: the rest
_SIMPLE = {20: False, 21: True, 22: None}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_SHORT_BYTES = 0x58  # the head of a byte string of 24 to 255 bytes
_NAN = b"\x7e\x00"  # the one spelling of it: half precision, quiet, no payload


class Refused(Exception):
    """What is wrong, in words that repeat nothing of the message."""


def read_item(data: bytes, most: int) -> Any:  # noqa: PLR0912, PLR0915 - flat: it is fast so
    """Return the value of ``data``; ``most`` is how many items it may have.

    Raises:
        Refused, IndexError, UnicodeDecodeError: see `protocol.encoding.decode`.
    """
    size = len(data)
    at = 0
    room = most - 1  # items that may yet be announced; the outermost is one
    outer: list[Any] = []
    frames: list[tuple[Any, int, Any, bytes]] = []
    container: Any = outer
    left = 1  # values still to come in this container
    key: str | None = None
    last = b""  # encoded form of the last key of this map
    in_map = False
    while True:
        if left == 0:
            if not frames:
                break
            container, left, key, last = frames.pop()
            in_map = key is not None
            continue
        if in_map:
            begins = at
            head = data[at]
            if head >> 5 != _TEXT:
                raise Refused("a map has a key that is not a text")
            length, at = (head & 31, at + 1) if head < 0x78 else _argument(data, head & 31, at + 1)
            ends = at + length
            if ends > size:
                raise IndexError
            key, at = data[at:ends].decode(), ends
            spelt = data[begins:ends]
            if spelt <= last:
                raise Refused("a map has a key twice, or its keys out of order")
            last = spelt
        head = data[at]
        at += 1
        major, argument = head >> 5, head & 31
        value: Any
        if major == 7:
            value, at = _simple(data, argument, at)
        else:
            if argument >= 24:
                argument, at = _argument(data, argument, at)
            if major == _UNSIGNED:
                value = argument
            elif major in (_TEXT, _BYTES):
                ends = at + argument
                if ends > size:
                    raise IndexError
                value, at = data[at:ends], ends
                if major == _TEXT:
                    value = value.decode()
            elif major == _NEGATIVE:
                value = -1 - argument
            elif major == _TAG:
                raise Refused("it holds a tag, which no message does")
            else:
                needs = argument if major == _ARRAY else 2 * argument
                if needs > size - at:
                    raise IndexError
                room -= needs
                if room < 0:
                    raise Refused(f"it has more items than the {most} that it may have")
                if len(frames) >= MAX_DEPTH:
                    raise Refused(f"it is more than {MAX_DEPTH} arrays and maps deep")
                value = [] if major == _ARRAY else {}
                if in_map:
                    container[key] = value
                else:
                    container.append(value)
                frames.append((container, left - 1, key if in_map else None, last))
                container, left, key, last = value, argument, None, b""
                in_map = major == _MAP
                continue
        if in_map:
            container[key] = value
        else:
            container.append(value)
        left -= 1
    if at != size:
        raise Refused("more bytes follow it")
    return outer[0]


def string_at(data: bytes, at: int) -> tuple[int, int]:
    """Return where the byte string whose head is ``at`` begins and ends.

    Raises:
        Refused, IndexError: see `protocol.encoding.byte_strings`.
    """
    head = data[at]
    if head >> 5 != _BYTES:
        raise Refused("an item is not a byte string")
    size, begins = (head & 31, at + 1) if head < 0x58 else _argument(data, head & 31, at + 1)
    if begins + size > len(data):
        raise IndexError
    return begins, begins + size


def field_at(data: bytes, wanted: bytes, room: int) -> tuple[int, int]:
    """Return where a field's value begins, -1 where there is none, and what is left of ``room``.

    Raises:
        Refused, IndexError: see `protocol.encoding.field_of`.
    """
    major, count, at = _head(data, 0)
    if major != _MAP:
        raise Refused("it is not a map")
    for _ in range(count):
        head = data[at]
        if head >> 5 != _TEXT:
            raise Refused("a map has a key that is not a text")
        size, begins = (head & 31, at + 1) if head < 0x78 else _argument(data, head & 31, at + 1)
        at = begins + size
        if data[begins:at] == wanted:
            return at, room
        head = data[at]
        if head == _SHORT_BYTES and data[at + 1] >= 24 and room > 1:  # what most values are
            at, room = at + 2 + data[at + 1], room - 2
            continue
        at, passed = _behind(data, at, room)
        room -= passed + 1
    return -1, room


def end_of(data: bytes, at: int, room: int) -> int:
    """Return where an item ends; it may have ``room`` items in it.

    Raises:
        Refused, IndexError: see `protocol.encoding.field_of`.
    """
    return _behind(data, at, room)[0]


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Return the major type of an item, its argument, and where what follows its head begins."""
    head = data[at]
    argument, at = head & 31, at + 1
    if argument >= 24 and head >> 5 != 7:
        argument, at = _argument(data, argument, at)
    return head >> 5, argument, at


def _behind(data: bytes, at: int, room: int) -> tuple[int, int]:
    """Return where an item ends, with all that is in it, and how many items those are."""
    items, passed, size = 1, 0, len(data)
    while items:
        if items > room - passed:
            raise Refused("it has more items than are passed over")
        head = data[at]
        major, argument, at = head >> 5, head & 31, at + 1
        if argument >= 24 and major != 7:
            argument, at = _argument(data, argument, at)
        items, passed = items - 1, passed + 1
        if major in (_TEXT, _BYTES):
            at += argument
        elif major in (_ARRAY, _MAP):
            items += argument if major == _ARRAY else 2 * argument
        elif major == _TAG:
            raise Refused("it holds a tag, which no message does")
        elif major == 7:
            _, at = _simple(data, argument, at)
        if items > size - at:
            raise IndexError
    return at, passed


def _argument(data: bytes, info: int, at: int) -> tuple[int, int]:
    """Return the argument that follows a head, and where the head ends."""
    if info == 24:
        value = data[at]
        if value < 24:
            raise Refused("a number is spelt longer than needed")
        return value, at + 1
    if info > 27:
        raise Refused("it holds an indefinite or reserved length")
    width = 1 << (info - 24)
    ends = at + width
    if ends > len(data):
        raise IndexError
    value = int.from_bytes(data[at:ends], "big")
    if value >> (4 * width) == 0:
        raise Refused("a number is spelt longer than needed")
    return value, ends


def _simple(data: bytes, info: int, at: int) -> tuple[Any, int]:
    """Return the simple value or float that follows a head of major type 7, and where it ends."""
    if info in _SIMPLE:
        return _SIMPLE[info], at
    form = _FLOATS.get(info)
    if form is None:
        raise Refused("it holds a simple value other than false, true and null")
    ends = at + (1 << (info - 24))
    if ends > len(data):
        raise IndexError
    spelt = data[at:ends]
    value = struct.unpack(form, spelt)[0]
    if value != value:  # noqa: PLR0124 - only a NaN differs from itself
        if spelt != _NAN:
            raise Refused("it holds a second spelling of not-a-number")
    elif info > 25 and _fits(_FLOATS[info - 1], value):
        raise Refused("a number is spelt longer than needed")
    return value, ends


def _fits(form: str, value: float) -> bool:
    """Tell whether a float of half the width holds the very same number."""
    try:
        return bool(struct.unpack(form, struct.pack(form, value))[0] == value)
    except OverflowError:
        return False
