"""Every parser answers hostile bytes with a protocol error, never with another exception."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

import cbor2
import protocol_samples as s
import pytest
from cbor_mutator import CborMutator
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol_parsers import NO_CBOR, PARSERS, SCOPE

from protocol.auditlog import parse_checkpoint
from protocol.encoding import Fields, decode, encode
from protocol.errors import (
    MalformedMessage,
    MessageTooLarge,
    ModelMismatch,
    ProtocolError,
    ScopeExceeded,
)
from protocol.grant import GrantedKeys
from protocol.names import parse_camera_topic
from protocol.policy import parse_policy
from protocol.sealing import model_dimension, read_models
from protocol.templates import Template

POLICY = s.POLICY_TEXT
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=8),
    max_leaves=12,
)
EACH = settings(
    max_examples=examples(40), deadline=None
)  # of each of two dozen parsers; `make fuzz`: more

MAPS = sorted(
    name
    for name, (_, genuine) in PARSERS.items()
    if name not in NO_CBOR and isinstance(cbor2.loads(genuine), dict)
)


@pytest.mark.parametrize("name", PARSERS)
def test_the_genuine_message_is_read(name: str) -> None:
    parse, genuine = PARSERS[name]
    assert parse(genuine) is not None


@pytest.mark.parametrize("name", PARSERS)
@EACH
@given(data=st.data())
def test_altered_bytes_are_refused_or_read_but_never_crash(name: str, data: st.DataObject) -> None:
    parse, genuine = PARSERS[name]
    altered = bytearray(genuine)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(altered) - 1))
        altered[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(altered)), st.integers(0, len(altered))))
    with contextlib.suppress(ProtocolError):
        parse(bytes(altered[:cut]))


@pytest.mark.parametrize("name", sorted(set(PARSERS) - NO_CBOR))
@EACH
@given(seed=st.integers(0, 2**64))
def test_values_of_other_types_anywhere_inside_are_refused_by_name_or_read(
    name: str, seed: int
) -> None:
    parse, genuine = PARSERS[name]
    with contextlib.suppress(MalformedMessage, ModelMismatch, ScopeExceeded):
        parse(CborMutator(random.Random(seed)).confused(genuine))


@pytest.mark.parametrize(
    "wrong",
    [
        POLICY.replace(b'["face", "appearance"]', b'[["face"]]'),
        POLICY.replace(b'["face", "appearance"]', b"[{}]"),
        POLICY.replace(b"2030-01-01T00:00:00Z", b"0001-01-01T00:00:00+23:59"),
        POLICY.replace(b"2030-01-01T00:00:00Z", b"9999-12-31T23:59:59-23:59"),
        POLICY.replace(b"= 0.4", b"= true"),
        POLICY.replace(b"= 0.4", b"= nan"),
        POLICY + b"\nx = " + b"[" * 100_000,
        POLICY + b"\nx = " + b"9" * 5000,
    ],
)
def test_a_policy_of_odd_values_is_refused_by_name(wrong: bytes) -> None:
    assert wrong != POLICY
    with pytest.raises(MalformedMessage):
        parse_policy(wrong)


MAY_BE_MISSING = {"afterwards_min"}
"""Keys that a genuine message may lack."""


# Byte strings of any content may be sealed blocks: what is in them shows when they are opened.
@pytest.mark.parametrize("name", sorted(set(PARSERS) - {"blocks"}))
@EACH
@given(garbage=st.binary(max_size=300) | VALUES.map(encode))
def test_garbage_is_refused(name: str, garbage: bytes) -> None:
    parse, _ = PARSERS[name]
    with pytest.raises(ProtocolError):
        parse(garbage)


@pytest.mark.parametrize("name", MAPS)
@EACH
@given(data=st.data())
def test_a_field_of_another_type_is_refused(name: str, data: st.DataObject) -> None:
    parse, genuine = PARSERS[name]
    value = cbor2.loads(genuine)
    key = data.draw(st.sampled_from(sorted(value)))
    action = data.draw(st.sampled_from(["drop", "add", "replace"]))
    if action == "drop" and key not in MAY_BE_MISSING:
        del value[key]
    elif action == "add":
        value["no such field"] = 1
    else:
        value[key] = data.draw(st.sampled_from([-1, "\x1b[31m", [[[]]], {"": 0}, 2**70, -7.5]))
    with pytest.raises(ProtocolError):
        parse(encode(value))


def test_a_second_encoding_of_the_same_value_is_refused() -> None:
    twice = b"\xa2\x61b\x01\x61a\x02"  # keys out of order
    with pytest.raises(MalformedMessage):
        decode(twice, what="map")
    with pytest.raises(MalformedMessage):
        decode(b"\x18\x01", what="longer than needed")
    with pytest.raises(MalformedMessage):
        decode(b"\x01\x02", what="trailing")
    with pytest.raises(MalformedMessage):
        decode(b"\xa2\x61a\x01\x61a\x02", what="duplicate key")
    with pytest.raises(MalformedMessage):
        decode(b"\x81" * 50 + b"\x00", what="deep")


def test_size_is_checked_before_anything_is_parsed() -> None:
    with pytest.raises(MessageTooLarge):
        decode(b"\xff" * 101, what="garbage", max_bytes=100)


@given(VALUES.filter(lambda v: not isinstance(v, float)))
def test_decoding_gives_back_what_was_encoded(value: object) -> None:
    try:
        decoded = decode(encode(value), what="value")
    except MalformedMessage:
        return  # NaN inside, or over 64 bit: never produced by our own messages
    assert encode(decoded) == encode(value)


@given(st.text(max_size=80))
def test_only_a_cameras_topic_is_one(topic: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_camera_topic(topic)


def test_a_cameras_topic_gives_its_address() -> None:
    assert parse_camera_topic("st/v1/vectors/box-1/cam-1/envelope") == (s.ADDRESS, "envelope")


def test_granted_keys_of_no_form_are_refused() -> None:
    values: tuple[object, ...] = (
        None, [], [1], [[], {}], [SCOPE.to_value(), {"face": 3}], "text",
    )  # fmt: skip
    for value in values:
        with pytest.raises(ProtocolError):
            GrantedKeys.from_value(value)


CONTROL = "x\x1b[2J-192@00000000"


@pytest.mark.parametrize(
    "parse",
    [
        lambda: model_dimension(CONTROL),
        lambda: read_models({"face": CONTROL}),
        lambda: Fields({CONTROL: 1}, what="map").done(),
        lambda: Fields({"figures": {CONTROL: 1}}, what="map").mapping("figures", max_items=1),
    ],
)
def test_what_is_refused_for_its_control_characters_is_not_repeated(
    parse: Callable[[], object],
) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse()
    assert str(caught.value).isprintable()


def test_templates_of_no_form_are_refused() -> None:
    genuine = s.template().to_value()
    for place, wrong in ((0, "smell"), (1, 4), (2, b"short"), (3, b"short")):
        with pytest.raises(ProtocolError):
            Template.from_value([*genuine[:place], wrong, *genuine[place + 1 :]])
    row = genuine[3]
    assert isinstance(row, bytes)
    long = row[:-4] + b"\x00\x00\x80\x7f"  # an infinite scale
    with pytest.raises(ProtocolError):
        Template.from_value([*genuine[:3], long])


@given(st.text(max_size=400))
def test_checkpoints_of_no_form_are_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_checkpoint(text)
