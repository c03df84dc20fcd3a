"""Reading CBOR costs what the message weighs, and only the one deterministic spelling is read."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import cbor2
import protocol_samples as s
import pytest
from hostile_cbor import BIG_BOMBS, BOMBS, head, read_in_a_small_process, within
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.cbor_reading import MAX_DEPTH
from protocol.encoding import (
    byte_strings,
    decode,
    encode,
    encode_unsigned,
    field_of,
)
from protocol.errors import MalformedMessage
from protocol.sealing import Envelope, Header
from protocol.signing import Signed

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats()
    | st.floats(width=16)
    | st.floats(width=32)
    | st.text()
    | st.binary()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=8),
    max_leaves=20,
)
SAMPLES = [
    s.case().query.payload,
    s.announcement().sign(s.signing_key("box-1")).payload,
    s.directory().sign(s.authority()).payload,
    s.envelope().to_bytes(),
    s.envelope().header_bytes,
]


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def same(first: object, second: object) -> bool:
    return repr(first) == repr(second)  # also tells -0.0 from 0.0, 1 from 1.0 and True


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_message_that_would_grow_is_refused_for_nothing(name: str) -> None:
    data = BOMBS[name]
    assert len(data) < 512

    def refused() -> None:
        with pytest.raises(MalformedMessage):
            decode(data, what="message")

    within(0.1, 64 << 10, refused)


@pytest.mark.parametrize("name", BIG_BOMBS)
def test_a_large_message_of_many_tiny_items_is_refused_for_nothing(name: str) -> None:
    data = BIG_BOMBS[name]
    assert len(data) == 8 << 20

    def refused() -> None:
        with pytest.raises(MalformedMessage):
            decode(data, what="message")

    within(1, 1 << 20, refused)


@pytest.mark.processes
@pytest.mark.parametrize("name", [*BOMBS, *BIG_BOMBS])
def test_no_such_message_needs_memory_or_time_that_a_small_process_lacks(name: str) -> None:
    ended = read_in_a_small_process(
        "from protocol.encoding import decode",
        "decode(data, what='message')",
        (BOMBS | BIG_BOMBS)[name],
    )
    assert ended in {"MalformedMessage", "MessageTooLarge"}


@pytest.mark.slow
def test_what_is_still_read_costs_at_most_a_hundred_bytes_for_each_item_that_its_size_allows() -> (
    None
):
    inner = encode([{"": []}] * 10_000)  # 30,001 items in 40,003 bytes: more than a fourth
    with pytest.raises(MalformedMessage, match="more items"):
        decode(inner, what="message")
    padded = encode([[{"": []}, b"x" * 19] for _ in range(4_000)])
    within(10, 25 * len(padded), lambda: decode(padded, what="message"))


@pytest.mark.parametrize(
    "read",
    [
        lambda data: Signed.parse(data, kind="query"),
        Envelope.parse,
        lambda data: Header.parse(data[:4096]),
    ],
)
def test_before_a_signature_is_checked_only_as_many_items_are_built_as_the_frame_has(
    read: object,
) -> None:
    data = encode([[b"abcdefgh"] * 1000, "box-1", b"", b""])

    def refused() -> None:
        with pytest.raises(MalformedMessage):
            read(data)  # type: ignore[operator]

    within(0.1, 32 << 10, refused)


@given(VALUES)
@example(math.nan)
@example(math.inf)
@example(-0.0)
@example([2**64 - 1, -(2**64)])
def test_whatever_is_encoded_is_read_back_the_same(value: object) -> None:
    if depth(value) > MAX_DEPTH:
        with pytest.raises(MalformedMessage, match="deep"):
            decode(encode(value), what="value")
    else:
        assert same(decode(encode(value), what="value"), cbor2.loads(encode(value)))
        assert encode(decode(encode(value), what="value")) == encode(value)


@given(st.integers(0, 2**64 - 1))
@example(2**8 - 1)
@example(2**16)
@example(2**32)
@example(2**64 - 1)
def test_a_number_encoded_alone_is_spelt_as_in_any_message(value: int) -> None:
    assert encode_unsigned(value) == encode(value)


@pytest.mark.parametrize("value", [-1, -(2**40), 2**64])
def test_a_number_that_is_not_of_64_bits_has_no_spelling_alone(value: int) -> None:
    with pytest.raises(OverflowError):
        encode_unsigned(value)


@given(st.data())
def test_every_altered_message_is_refused_or_is_the_one_spelling_of_another(
    data: st.DataObject,
) -> None:
    genuine = data.draw(st.sampled_from(SAMPLES) | VALUES.map(encode))
    altered = bytearray(genuine)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(altered) - 1))
        altered[place] = data.draw(st.integers(0, 255))
    try:
        value = decode(bytes(altered), what="message")
    except MalformedMessage:
        return
    assert encode(value) == bytes(altered)
    assert same(value, cbor2.loads(bytes(altered)))


@given(st.binary(max_size=40))
def test_all_bytes_are_refused_or_the_one_spelling_of_their_value(data: bytes) -> None:
    try:
        value = decode(data, what="message")
    except MalformedMessage:
        return
    assert encode(value) == data
    assert same(value, cbor2.loads(data))


@pytest.mark.slow
def test_of_all_messages_of_one_or_two_bytes_those_are_read_that_are_canonical_and_plain() -> None:
    for number in (*range(0x100), *range(0x1_0000)):
        data = number.to_bytes(1 if number < 0x100 else 2, "big")
        try:
            canonical = encode(cbor2.loads(data)) == data
        except Exception:
            canonical = False
        try:
            decode(data, what="message")
            read = True
        except MalformedMessage:
            read = False
        tag_or_simple = data[0] >> 5 == 6 or data[0] in {*range(0xE0, 0xF4), 0xF7, 0xF8}
        inner_simple = (
            data[0] == 0x81
            and len(data) == 2
            and (data[1] >> 5 == 6 or data[1] in {*range(0xE0, 0xF4), 0xF7})
        )
        assert read == (canonical and not tag_or_simple and not inner_simple), data.hex()


@pytest.mark.parametrize(
    ("spelling", "what"),
    [
        (b"\x18\x17", "23 in two bytes"),
        (b"\x19\x00\xff", "255 in three"),
        (b"\x1a\x00\x00\xff\xff", "65535 in five"),
        (b"\x1b\x00\x00\x00\x00\xff\xff\xff\xff", "2^32 - 1 in nine"),
        (b"\x58\x01x", "a short string with a long head"),
        (b"\xb8\x01\x61a\x01", "a short map with a long head"),
        (b"\xa1\x78\x01a\x01", "a short key with a long head"),
        (b"\xa1\x01\x01", "a number as a key"),
        (b"\xa1\x41a\x01", "a byte string as a key"),
        (b"\xa2\x61a\x01\x61a\x01", "a key twice"),
        (b"\xa2\x62aa\x01\x61b\x01", "keys out of order"),
        (b"\xfa\x3f\x80\x00\x00", "1.0 in five bytes"),
        (b"\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00", "1.0 in nine bytes"),
        (b"\xfa\x7f\x80\x00\x00", "infinity in five bytes"),
        (b"\xf9\x7e\x01", "a not-a-number with a payload"),
        (b"\xf9\xfe\x00", "a negative not-a-number"),
        (b"\xfa\x7f\xc0\x00\x00", "a wide not-a-number"),
        (b"\xf7", "undefined"),
        (b"\xe0", "an unassigned simple value"),
        (b"\xf8\xff", "a simple value in two bytes"),
        (b"\xf8\x14", "false in two bytes"),
        (b"\xff", "a break with nothing to end"),
        (b"\x1c", "a reserved length"),
        (b"\x61\xff", "a text that is not UTF-8"),
        (b"\x63\xed\xa0\x80", "half of a surrogate pair"),
        (b"\x01\x01", "a second item"),
        (b"", "nothing"),
        (b"\x81", "an array without its item"),
        (b"\x19\x01", "a head cut short"),
        (b"\xa1\x61", "a key cut short"),
        (b"\xfb\x3f\xf1", "a float cut short"),
        (b"\xc1\x01", "a tag"),
    ],
)
def test_another_spelling_is_refused(spelling: bytes, what: str) -> None:
    with pytest.raises(MalformedMessage):
        decode(spelling, what=what)


def test_every_tag_is_refused() -> None:
    for tag in [*range(300), 1000, 55799, 2**32, 2**64 - 1]:
        with pytest.raises(MalformedMessage, match="tag"):
            decode(b"\x81" + head(6, tag) + b"\x80", what="message")


def test_a_sequence_gives_back_its_byte_strings_and_nothing_else() -> None:
    entries = [b"", b"a" * 23, b"b" * 24, b"c" * 70_000]
    assert list(byte_strings(b"".join(map(encode, entries)), what="log")) == entries
    for wrong in (
        b"\x42a",
        b"\x01",
        b"\x58\x01a",
        b"\x5f\x41a\xff",
        b"\xc2\x41a",
        b"\x5b" + b"\xff" * 8,
    ):
        with pytest.raises(MalformedMessage):
            list(byte_strings(encode(b"genuine") + wrong, what="log"))


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5), st.data())
def test_one_field_of_a_map_is_what_its_whole_has_there(
    fields: dict[str, object], data: st.DataObject
) -> None:
    encoded = encode(fields)
    for name, value in fields.items():
        assert field_of(encoded, name, what="map") == encode(value)
        for likely in (encode(value), encode(0), encode("b")):
            assert field_of(encoded, name, what="map", likely=likely) == encode(value)
    with pytest.raises(MalformedMessage, match="no field"):
        field_of(encoded, "longer than any", what="map")
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(MalformedMessage):
        field_of(encoded[:cut], "longer than any", what="map")


@pytest.mark.parametrize(
    "data",
    [
        encode({"a": [0] * 10_000, "b": 1}),
        b"\xa2\x61a" + b"\x81" * 1_000_000,
        b"\xbb" + b"\xff" * 8 + b"\x60\x00" * 1_000_000,
        b"\xa2\x61a\x9b" + b"\xff" * 8,
    ],
)
def test_too_much_before_a_field_is_refused_for_nothing(data: bytes) -> None:
    def refused() -> None:
        with pytest.raises(MalformedMessage):
            field_of(data, "b", what="map", max_items=64)

    within(0.1, 32 << 10, refused)


@given(st.binary(max_size=40))
def test_of_any_bytes_a_field_is_found_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        assert len(field_of(b"\xa1" + data, "a", what="map")) <= len(data)


def test_only_one_module_imports_the_cbor_library() -> None:
    root = Path(__file__).parents[2]
    packages = ("protocol", "runtime", "custodian", "aggregator", "edge_agent", "provisioning")
    importing = [
        str(path.relative_to(root))
        for package in packages
        for path in (root / package).rglob("*.py")
        if "cbor2" in path.read_text()
    ]
    assert importing == ["protocol/encoding.py"]
